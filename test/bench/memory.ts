// Memory of the daemon: idle, after ten thousand knocks, and after the windows of an hour: npm run bench -- memory [--quick]. The hour is put in front of
// the daemon's clock minute by minute (libfaketime); each minute it arms the tags of new windows, as it would in an hour that passes.
import { setTimeout as delay } from 'node:timers/promises';
import { FakeClock } from '../lab/fake-clock.ts';
import { asCount, asMiB } from './figures.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import { residentMiB } from './processes.ts';
import type { Section } from './section.ts';
import { Arena, firstLine, type Started } from './systems/arena.ts';
import { createPostern } from './systems/postern.ts';
import { GRANT_SECONDS, type Variant } from './systems/system.ts';
import { variant } from './systems/variants.ts';

const OURS = { clients: 200, slots: 64 } as const;
/** The daemon looks at its clock each second. */
const STEP = { seconds: 60, waitMs: 1_300 } as const;
/** Knocks for each system, and their pace: what the slow ones can take. */
const KNOCKS = [
  { key: 'postern', count: 10_000, perSecond: 400 },
  { key: 'fwknopd-udp', count: 300, perSecond: 20 },
  { key: 'knockd', count: 300, perSecond: 20 },
] as const;

type Row = { readonly name: string; readonly when: string; readonly memoryMiB: number };

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const rows: Row[] = [];
  const arena = await Arena.create('memory');
  const leftOut: string[] = [];
  const note = (name: string, when: string, { system }: Started): void => {
    const memoryMiB = residentMiB(system.pid());
    rows.push({ name, when, memoryMiB });
    progress(`${name}, ${when}: ${asMiB(memoryMiB)}`);
  };
  try {
    for (const { key, count, perSecond } of KNOCKS) {
      const started = await arena.start(variant(key), key === 'postern' ? OURS : {});
      if (started === undefined) continue;
      const { name } = started.variant;
      await delay(2_000);
      note(name, 'idle', started);
      const sent = isQuick ? perSecond : count;
      try {
        const knocks = await started.system.knocks(arena.freshAddresses(sent));
        await arena.ask('blast', { to: started.system.ground.server.ipv4(), knocks, perSecond });
        await delay(2_000);
        note(name, `after ${asCount(sent)} knocks, ${perSecond} in a second`, started);
      } catch (error) {
        leftOut.push(`${name}: ${firstLine(error)}`);
      }
    }
    await delay((isQuick ? 1 : GRANT_SECONDS + 3) * 1_000);
    for (const started of arena.started) note(started.variant.name, 'when their grants have ended', started);
    for (const started of [...arena.started]) await arena.end(started);
    await anHour(arena, isQuick ? 3 : 60, note).catch((error: unknown) => leftOut.push(`an hour of windows: ${firstLine(error)}`));
  } finally {
    await arena.close();
  }
  leftOut.push(...arena.leftOut.map(({ variant: { name }, why }) => `${name}: ${why}`));
  return section(rows, leftOut);
}

async function anHour(arena: Arena, minutes: number, note: (name: string, when: string, started: Started) => void): Promise<void> {
  const clock = new FakeClock();
  const usual = variant('postern');
  const shifted: Variant = { ...usual, create: (ground, more) => createPostern(ground, { name: usual.name, env: clock.env, ...more }) };
  try {
    const started = await arena.start(shifted, OURS);
    if (started === undefined) return;
    await delay(2_000);
    note(usual.name, 'idle, under the other clock', started);
    for (let minute = 0; minute < minutes; minute += 1) {
      clock.step(STEP.seconds);
      await delay(STEP.waitMs);
      if ((minute + 1) % (minutes / 3) === 0) note(usual.name, `after the windows of ${minute + 1} minutes`, started);
    }
    await arena.end(started);
  } finally {
    clock.close();
  }
}

function section(rows: readonly Row[], leftOut: readonly string[]): Section {
  const of = (name: string): readonly Row[] => rows.filter((row) => row.name === name);
  const ours = of(variant('postern').name);
  const names = KNOCKS.map(({ key }) => variant(key).name);
  const knocks = ours.flatMap(({ when }) => /^after ([\d,]+) knocks/.exec(when)?.[1] ?? [])[0];
  const figure = (what: string): string => asMiB(ours.find(({ when }) => when.includes(what))?.memoryMiB ?? Number.NaN);
  const idle = (key: string): string => `${variant(key).name} ${asMiB(of(variant(key).name)[0]?.memoryMiB ?? Number.NaN)}`;
  return {
    key: 'memory',
    title: 'Memory over time',
    command: 'npm run bench -- memory',
    about: [
      `Resident memory of the daemon. Postern knows ${asCount(OURS.clients)} clients with ${OURS.slots} knocks a minute. The hour is put in front of its clock minute by minute, a step every
${STEP.waitMs / 1000} s (libfaketime): after each it arms the tags of the windows that are new.`,
    ],
    tables: [
      {
        title: '',
        head: ['system', 'when', 'memory'],
        rows: rows
          .toSorted((a, b) => names.indexOf(a.name) - names.indexOf(b.name))
          .map(({ name, when, memoryMiB }) => [name, when, asMiB(memoryMiB)]),
      },
    ],
    charts: [],
    headlines: [
      {
        figure: `memory idle, after ${knocks ?? 'no'} knocks, after the windows of an hour`,
        goal: 'does not grow for ever',
        ours: `${figure('idle')}, ${figure('ended')}, ${asMiB(ours.at(-1)?.memoryMiB ?? Number.NaN)}`,
        peers: `idle: ${idle('fwknopd-udp')}; ${idle('knockd')}`,
      },
    ],
    leftOut,
    raw: rows,
  };
}

await runPart(measure);
