// The daemon is killed (SIGKILL) while a door is open: how long the door stays open then. npm run bench -- kill [--quick].
import { setTimeout as delay } from 'node:timers/promises';
import { asTime } from './figures.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import type { Section } from './section.ts';
import { Arena } from './systems/arena.ts';
import { GRANT_SECONDS, type SystemUnderTest } from './systems/system.ts';
import { variant } from './systems/variants.ts';

const KEYS = ['postern', 'postern-iptables', 'fwknopd', 'fwknopd-udp', 'knockd'] as const;
/** Whoever has not closed so long after the end is taken for one who never does. */
const PATIENCE_SECONDS = 30;
const LOOK_MS = 100;
/** Looks, and the whole seconds that ipset counts. */
const ON_TIME_MS = 1_000;

/** `closedAfterMs` counts from the end that the grant should have had; null: open when the watch ended. */
type Row = { readonly name: string; readonly closedAfterMs: number | null };

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const arena = await Arena.create('kill');
  try {
    for (const key of isQuick ? KEYS.slice(0, 1) : KEYS) await arena.start(variant(key));
    const doors = [];
    for (const started of [...arena.started]) {
      try {
        doors.push(await openAndKill(arena, started.system));
      } catch (error) {
        await arena.leaveOut(started, error);
      }
    }
    progress(`${doors.length} daemons killed, each with a door open for ${GRANT_SECONDS} s`);
    const lastEnd = Math.max(...doors.map(({ endsAt }) => endsAt));
    while (doors.some(({ closedAt }) => Number.isNaN(closedAt)) && performance.now() < lastEnd + PATIENCE_SECONDS * 1000) {
      for (const door of doors) {
        if (!Number.isNaN(door.closedAt)) continue;
        if ((await arena.ask('open', { to: door.to, from: door.from })).length === 0) door.closedAt = performance.now();
      }
      await delay(LOOK_MS);
    }
    const rows = doors.map(
      ({ name, endsAt, closedAt }): Row => ({ name, closedAfterMs: Number.isNaN(closedAt) ? null : closedAt - endsAt }),
    );
    return section(
      rows,
      arena.leftOut.map(({ variant: { name }, why }) => `${name}: ${why}`),
    );
  } finally {
    await arena.close();
  }
}

async function openAndKill(arena: Arena, system: SystemUnderTest) {
  const [from, to] = [arena.freshAddresses(1), system.ground.server.ipv4()];
  await arena.ask('blast', { to, knocks: await system.knocks(from), perSecond: 1 });
  const knockedAt = performance.now();
  while ((await arena.ask('open', { to, from })).length === 0) {
    if (performance.now() - knockedAt > 5_000) throw new Error('the knock opened nothing');
    await delay(20);
  }
  process.kill(system.pid(), 'SIGKILL');
  return { name: system.name, to, from, endsAt: knockedAt + GRANT_SECONDS * 1000, closedAt: Number.NaN };
}

function says({ closedAfterMs }: Row): string {
  if (closedAfterMs === null) return `still open ${PATIENCE_SECONDS} s after its end`;
  if (closedAfterMs < 0) return `closed, ${asTime(-closedAfterMs)} early`;
  if (closedAfterMs > ON_TIME_MS) return `closed ${asTime(closedAfterMs)} late`;
  return `closed on time (${asTime(closedAfterMs)} later, as it was looked at)`;
}

function section(rows: readonly Row[], leftOut: readonly string[]): Section {
  const ours = rows.find(({ name }) => name === variant('postern').name);
  const peers = rows.filter(({ name }) => !name.startsWith('Postern'));
  return {
    key: 'kill',
    title: 'A daemon that is killed while a door is open',
    command: 'npm run bench -- kill',
    about: [
      `Each daemon opens one door for ${GRANT_SECONDS} s and is then killed with SIGKILL, alone, as the kernel does when memory runs out. The door is tried every ${LOOK_MS} ms until it is shut, or
${PATIENCE_SECONDS} s beyond its end. Nothing is started again.`,
    ],
    tables: [{ title: '', head: ['system', 'the door'], rows: rows.map((row) => [row.name, says(row)]) }],
    charts: [],
    headlines: [
      {
        figure: 'the door that was open when the daemon was killed',
        goal: 'closed on time by the kernel',
        ours: ours === undefined ? '–' : says(ours),
        peers: peers.map((row) => `${row.name}: ${says(row)}`).join('; '),
      },
    ],
    leftOut,
    raw: rows,
  };
}

await runPart(measure);
