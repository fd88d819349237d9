// The whole client command: from its start to its end, and to the open port, beside `fwknop`, knockd's `knock` and a node that does nothing:
// npm run bench -- client-command [--quick].
import { asTime, median, quantile } from './figures.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import type { Section } from './section.ts';
import { Arena, type Started } from './systems/arena.ts';
import { clientAddress, type SystemUnderTest } from './systems/system.ts';
import { variant } from './systems/variants.ts';

const KEYS = ['postern', 'fwknopd', 'fwknopd-udp', 'knockd'] as const;
const DEADLINE_MS = 5_000;
/** In a minute, by one client; some are left for one that is sent again. */
const MOST_KNOCKS = 60;
const NODE = 'node -e 0';

type Times = { readonly name: string; readonly command: string; readonly ended: number[]; readonly opened: number[]; lost: number };

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const rounds = isQuick ? 5 : 50;
  const arena = await Arena.create('command');
  try {
    for (const key of KEYS) await arena.start(variant(key));
    const bare: Times = { name: 'bare node', command: NODE, ended: [], opened: [], lost: 0 };
    const all = new Map<string, Times>();
    // The first of each does not count: what the first start reads from the disk.
    for (let round = -1; round < rounds; round += 1) {
      const node = await arena.ask('run', { argv: [process.execPath, '-e', '0'], env: {} });
      if (round >= 0) bare.ended.push(node.ms);
      for (const started of [...arena.started]) {
        try {
          if (started.variant.key === 'postern') await roomForTwo();
          const { ended, opened } = await once(arena, started.system);
          if (round < 0) continue;
          const times = all.get(started.variant.key) ?? emptyTimes(started);
          all.set(started.variant.key, times);
          times.ended.push(ended);
          if (opened === null) times.lost += 1;
          else times.opened.push(opened);
        } catch (error) {
          await arena.leaveOut(started, error);
        }
      }
      if (round % 10 === 0) progress(`round ${round} of ${rounds}`);
    }
    return section(arena, bare, [...all.values()]);
  } finally {
    await arena.close();
  }
}

function emptyTimes({ variant: { name }, system }: Started): Times {
  const [program = '', script = ''] = system.clientCommand().argv;
  return { name, command: script.endsWith('knock.cjs') ? 'knock' : (program.split('/').at(-1) ?? ''), ended: [], opened: [], lost: 0 };
}

async function once(arena: Arena, system: SystemUnderTest): Promise<{ readonly ended: number; readonly opened: number | null }> {
  const [to, from] = [system.ground.server.ipv4(), clientAddress(system.ground)];
  await system.shut();
  const ended = await arena.ask('run', system.clientCommand());
  await untilShut(arena, system);
  const opened = await arena.ask('runToOpen', { ...system.clientCommand(), to, from, deadlineMs: DEADLINE_MS });
  await untilShut(arena, system);
  return { ended: ended.ms, opened: opened.ms };
}

let room = { minute: 0, rounds: 0 };

/** One client has 64 knocks in a minute (SPEC 4.1): the 65th waits for the next, which is not what is measured. */
async function roomForTwo(): Promise<void> {
  const minute = Math.floor(Date.now() / 60_000);
  if (minute !== room.minute) room = { minute, rounds: 0 };
  room.rounds += 1;
  if (room.rounds * 2 <= MOST_KNOCKS) return;
  await new Promise((resolve) => setTimeout(resolve, (minute + 1) * 60_000 - Date.now() + 100));
  room = { minute: minute + 1, rounds: 1 };
}

/** A command's packet may be on its way when the command has ended: the door is shut when it opened and was shut again. */
async function untilShut(arena: Arena, system: SystemUnderTest): Promise<void> {
  const ask = { to: system.ground.server.ipv4(), from: [clientAddress(system.ground)] };
  const startedAt = performance.now();
  while ((await arena.ask('open', ask)).length === 0 && performance.now() - startedAt < 1_000);
  await system.shut();
}

function section(arena: Arena, bare: Times, all: readonly Times[]): Section {
  const ours = all.find(({ name }) => name.startsWith('Postern'));
  const base = median(bare.ended);
  const cells = (values: readonly number[]): readonly string[] => [asTime(median(values)), asTime(quantile(values, 0.99))];
  const more = (times: readonly number[] = []): string => `${asTime(median(times))}, ${asTime(median(times) - base)} more`;
  const peers = all.filter(({ name }) => !name.startsWith('Postern'));
  return {
    key: 'client-command',
    title: 'The whole client command',
    command: 'npm run bench -- client-command',
    about: [
      `From starting the process to its end (\`knock\` ends when it has seen the port open; the others when the packet is sent), and, in a run of its own, to the
open port, which another program tries every quarter of a millisecond. In turn, ${bare.ended.length} of each, with an environment of PATH and HOME alone. \`${NODE}\` is what
any program in Node costs before it does anything.`,
    ],
    tables: [
      {
        title: '',
        head: ['system', 'command', 'to its end: median', 'p99', 'to the open port: median', 'p99', 'samples', 'never open'],
        rows: [bare, ...all].map(({ name, command, ended, opened, lost }) => [
          ...[name, `\`${command}\``, ...cells(ended), ...cells(opened)],
          ...[`${ended.length}`, name === bare.name ? '–' : `${lost}`],
        ]),
      },
    ],
    charts: [],
    headlines: [
      {
        figure: 'the whole `knock` command, to an open port',
        goal: `within 30 ms of bare \`${NODE}\` (here ${asTime(base)})`,
        ours: `${more(ours?.opened)}; to its end, when it has seen the port open, ${more(ours?.ended)}`,
        peers: peers.map(({ name, opened }) => `${name} ${asTime(median(opened))}`).join('; '),
      },
    ],
    leftOut: arena.leftOut.map(({ variant: { name }, why }) => `${name}: ${why}`),
    raw: [bare, ...all],
  };
}

await runPart(measure);
