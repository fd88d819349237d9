// How much later the first byte of a service comes through `knock proxy` than through a node that connects directly: npm run bench -- first-byte [--quick].
// All are whole processes, started in turn in the client's namespace; two that connect to nothing show how much of it is starting.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PORT, REQUEST, Stage } from '../lab/stage.ts';
import { asTime, digits, quantile } from './figures.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import { writePlainProfiles } from './plain-profiles.ts';
import type { Section } from './section.ts';

const KNOCK = fileURLToPath(new URL('../../client/knock.cjs', import.meta.url));

type Kind = {
  readonly key: 'node' | 'direct' | 'refused' | 'open' | 'knocking';
  readonly name: string;
  readonly args: (address: string) => readonly string[];
  /** Where the first output comes: a refusal speaks on standard error, and `node -e 0` not at all. */
  readonly until: 'byte' | 'exit';
};

// In this order: `knocking` leaves the door open for those after it.
const KINDS: readonly Kind[] = [
  { key: 'node', name: '`node -e 0`, until it has ended', args: () => ['-e', '0'], until: 'exit' },
  {
    key: 'refused',
    name: '`knock proxy server4 0`: loads, refuses the port, until it has ended',
    args: () => [KNOCK, 'proxy', 'server4', '0'],
    until: 'exit',
  },
  { key: 'knocking', name: '`knock proxy` at a shut door', args: () => [KNOCK, 'proxy', 'server4', String(PORT)], until: 'byte' },
  { key: 'open', name: '`knock proxy` at an open door', args: () => [KNOCK, 'proxy', 'server4', String(PORT)], until: 'byte' },
  { key: 'direct', name: 'a node that connects directly', args: (address) => ['-e', directly(address)], until: 'byte' },
];

async function measure({ isQuick }: PartOptions): Promise<Section> {
  if (!existsSync(KNOCK)) throw new Error('no bundle: npm run build');
  const rounds = isQuick ? 5 : 60;
  const stage = await Stage.create({ label: 'bench', allow: [{ services: [REQUEST], ttl: '30s' }] });
  try {
    writePlainProfiles(stage.alice.home);
    const times = new Map<Kind['key'], number[]>(KINDS.map(({ key }) => [key, []]));
    // One round that does not count: what the first start reads from the disk.
    for (let round = -1; round < rounds; round += 1) {
      await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
      for (const kind of KINDS) {
        const ms = await timeOf(stage, kind);
        if (round >= 0) times.get(kind.key)?.push(ms);
      }
      if (round % 20 === 0) progress(`round ${round} of ${rounds}`);
    }
    return section(times);
  } finally {
    await stage.close();
  }
}

function section(times: ReadonlyMap<Kind['key'], readonly number[]>): Section {
  const at = (key: Kind['key'], share = 0.5): number => quantile(times.get(key) ?? [], share);
  const more = (key: Kind['key'], base: Kind['key']): string => `${digits(at(key) - at(base))} ms`;
  return {
    key: 'first-byte',
    title: 'The first byte through `knock proxy`',
    command: 'npm run bench -- first-byte',
    about: [
      `From the start of a process to the first byte that a service sends, on its standard output. Each is a process of its own in the client's namespace; all in turn.
A directly connecting node is what \`knock proxy\` is compared with, and at an open door both do the same: what is left is the loading of our code and the reading of
configurations ("loads, refuses the port" does little more than the former). At a shut door there is nothing to compare with: the keys, node's own cryptography, the knock, its
way, the grant and the connection come on top.`,
    ],
    tables: [
      {
        title: '',
        head: ['process', 'median', 'p90', 'more than the direct one', 'more than loading', 'samples'],
        rows: KINDS.map(({ key, name }) => [
          name,
          asTime(at(key)),
          asTime(at(key, 0.9)),
          key === 'direct' ? '' : more(key, 'direct'),
          key === 'open' || key === 'knocking' ? more(key, 'refused') : '',
          String(times.get(key)?.length ?? 0),
        ]),
      },
    ],
    charts: [],
    headlines: [
      {
        figure: 'first byte through `knock proxy`, more than a direct connection',
        goal: 'within 10 ms once node has started',
        ours: `${more('open', 'direct')} at an open door, ${more('knocking', 'direct')} at a shut one, with the knock (each with the loading of our code)`,
        peers: '',
      },
    ],
    leftOut: [],
    raw: Object.fromEntries(times),
  };
}

function directly(address: string): string {
  return `require('node:net').connect({host:${JSON.stringify(address)},port:${PORT},allowHalfOpen:true}).pipe(process.stdout)`;
}

/** Milliseconds from the start of the process. */
async function timeOf(stage: Stage, { args, until }: Kind): Promise<number> {
  const [command = '', ...rest] = stage.client.inside([process.execPath, ...args(stage.server.ipv4())]);
  const startedMs = performance.now();
  const child = spawn(command, rest, { env: { ...process.env, HOME: stage.alice.home }, stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (bytes: Buffer) => {
    said += bytes.toString();
  });
  const exited = new Promise<number>((resolve) => child.once('close', () => resolve(performance.now() - startedMs)));
  if (until === 'exit') return await exited;
  const ms = await new Promise<number>((resolve, reject) => {
    child.stdout.once('data', () => resolve(performance.now() - startedMs));
    void exited.then(() => reject(new Error(`${args('').join(' ')}: ended without a byte\n${said}`)));
  });
  child.kill('SIGKILL');
  await exited;
  return ms;
}

await runPart(measure);
