// How many valid knocks in a second open their door, none lost: npm run bench -- rate [--quick]. Each knock from an address of its own.
import { setTimeout as delay } from 'node:timers/promises';
import { asCount, asTime, digits } from './figures.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import { processorMs } from './processes.ts';
import type { Section, Series } from './section.ts';
import { isWorthMore, type RateRow as Row, sustained } from './sustained.ts';
import { Arena, type Started } from './systems/arena.ts';
import { GRANT_SECONDS } from './systems/system.ts';
import { variant } from './systems/variants.ts';

/** For each system: the rates, rising, as long as it is worth it. */
const ASKED = [
  { key: 'postern', rates: [500, 1000, 1500, 2000, 2500, 3000] },
  { key: 'postern-jit', rates: [500, 1000, 1500, 2000, 2500, 3000] },
  { key: 'fwknopd', rates: [10, 20, 50, 100, 200] },
  { key: 'fwknopd-udp', rates: [10, 20, 50, 100, 200] },
  { key: 'knockd', rates: [10, 20, 50, 100, 200] },
] as const;
const SECONDS = 4;
/** Sixteen knocks of each in a minute. */
const CLIENTS = 2000;
/** The first grants must still be there when the last door is tried. */
const SETTLE_MS = 15_000;
const STUCK_MS = 3_000;
/** How long a door stays open, tried with so many at this pace. */
const STAY = { knocks: 40, perSecond: 20 } as const;

/** `stillOpen`: doors that were open when the watch ended. */
type Stay = { readonly key: string; readonly longestMs: number; readonly stillOpen: number };

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const arena = await Arena.create('rate');
  try {
    const rows: Row[] = [];
    const stays: Stay[] = [];
    for (const { key } of ASKED) await arena.start(variant(key), key.startsWith('postern') ? { clients: CLIENTS } : {});
    // Before the rates: a system that has thousands of grants to end is late with all of them.
    if (!isQuick) stays.push(...(await longestStays(arena)));
    for (const { key, rates } of ASKED) {
      const started = arena.started.find((each) => each.variant.key === key);
      if (started === undefined) continue;
      try {
        // What is compiled or loaded at the first knocks is not what is measured.
        await atRate(arena, started, rates[0], 1);
        for (const perSecond of isQuick ? rates.slice(1, 3) : rates) {
          const row = await atRate(arena, started, perSecond, isQuick ? 1 : SECONDS);
          rows.push(row);
          progress(
            `${started.variant.name}, ${perSecond}/s: ${row.opened} of ${row.sent}, ${row.behind} behind, ${asTime(row.cpuMsEach)} each`,
          );
          if (!isWorthMore(row)) break;
        }
      } catch (error) {
        await arena.leaveOut(started, error);
      }
    }
    return section(arena, rows, stays);
  } finally {
    await arena.close();
  }
}

async function atRate(arena: Arena, { variant: { key }, system }: Started, perSecond: number, seconds: number): Promise<Row> {
  const from = arena.freshAddresses(perSecond * seconds);
  const knocks = await system.knocks(from);
  const to = system.ground.server.ipv4();
  const cpuBefore = processorMs(system.pid());
  await arena.ask('blast', { to, knocks, perSecond });
  let closed = await stillClosed(arena, to, from);
  const behind = closed.length;
  const sentAt = performance.now();
  let movedAt = sentAt;
  while (closed.length > 0 && performance.now() - sentAt < SETTLE_MS && performance.now() - movedAt < STUCK_MS) {
    await delay(200);
    const now = await stillClosed(arena, to, closed);
    if (now.length < closed.length) movedAt = performance.now();
    closed = now;
  }
  const cpuMsEach = (processorMs(system.pid()) - cpuBefore) / from.length;
  return { key, perSecond, sent: from.length, opened: from.length - closed.length, behind, cpuMsEach };
}

async function stillClosed(arena: Arena, to: string, from: readonly string[]): Promise<readonly string[]> {
  const open = new Set(await arena.ask('open', { to, from }));
  return from.filter((address) => !open.has(address));
}

/** How much longer than its lifetime the door that closed last was open; every system in turn, then all are watched together. */
async function longestStays(arena: Arena): Promise<readonly Stay[]> {
  const watched = [];
  const ready = [];
  for (const { variant, system } of arena.started) {
    const doors = arena.freshAddresses(STAY.knocks);
    ready.push({ variant, doors, knocks: await system.knocks(doors), to: system.ground.server.ipv4() });
  }
  for (const { variant, doors, knocks, to } of ready) {
    await arena.ask('blast', { to, knocks, perSecond: STAY.perSecond });
    const lastSentAt = performance.now();
    watched.push({ key: variant.key, to, doors, open: doors, lastSentAt, longestMs: Number.NaN });
  }
  const end = performance.now() + (GRANT_SECONDS + 30) * 1000;
  while (watched.some(({ open }) => open.length > 0) && performance.now() < end) {
    for (const each of watched) {
      each.open = await arena.ask('open', { to: each.to, from: each.open });
      const now = performance.now();
      for (const address of each.open) {
        const sentAt = each.lastSentAt - ((each.doors.length - 1 - each.doors.indexOf(address)) * 1000) / STAY.perSecond;
        const tooLongMs = now - sentAt - GRANT_SECONDS * 1000;
        each.longestMs = Number.isNaN(each.longestMs) ? tooLongMs : Math.max(each.longestMs, tooLongMs);
      }
    }
    await delay(100);
  }
  return watched.map(({ key, longestMs, open }) => ({ key, longestMs, stillOpen: open.length }));
}

function stayText({ longestMs, stillOpen }: Stay): string {
  if (stillOpen > 0) return `${asTime(longestMs)} and more (${stillOpen} of ${STAY.knocks} still open then)`;
  return longestMs < 0 ? 'never' : asTime(longestMs);
}

function section(arena: Arena, rows: readonly Row[], stays: readonly Stay[]): Section {
  const of = (key: string): readonly Row[] => rows.filter((row) => row.key === key);
  const name = (key: string): string => variant(key).name;
  const summary = ASKED.filter(({ key }) => of(key).length > 0).map(({ key, rates }) => {
    const stayed = stays.find((each) => each.key === key);
    const least = Math.min(...of(key).flatMap(({ cpuMsEach, opened, sent }) => (opened === sent ? cpuMsEach : [])));
    const most = sustained(of(key));
    // More was not asked for.
    const best = most === rates.at(-1) ? `${asCount(most)} at least` : asCount(most);
    return { key, best, least, stay: stayed === undefined ? '–' : stayText(stayed) };
  });
  const series: readonly Series[] = ASKED.map(({ key }) => ({
    name: name(key),
    points: of(key).map(({ perSecond, sent, opened }) => ({ x: perSecond, y: (100 * opened) / sent })),
  }));
  const bestOf = (wanted: string): string => summary.find(({ key }) => key === wanted)?.best ?? '–';
  const peer = (key: string): string => {
    const found = summary.find((each) => each.key === key);
    if (found === undefined) return '';
    const stay = found.stay === '–' || found.stay === 'never' ? '' : `, doors open too long by ${found.stay}`;
    return `${name(key)} ${found.best}${stay}; `;
  };
  return {
    key: 'rate',
    title: 'Valid knocks in a second',
    command: 'npm run bench -- rate',
    about: [
      `Knocks made before are sent at a steady pace for ${SECONDS} s, each from an address of its own; then every door is tried. "Behind": not yet open when the
last knock was sent. Lost: not open after ${SETTLE_MS / 1000} s, or when nothing more opened for ${STUCK_MS / 1000} s. Sustained: the highest rate with nothing lost and less than a tenth of
a second behind. Postern knows ${asCount(CLIENTS)} clients, the others one. "Too long": ${STAY.knocks} doors opened at ${STAY.perSecond} a second, and how much longer than the ${GRANT_SECONDS} s
that they were given the last of them stood open (looked at about every tenth of a second). The processor time of \`iptables\` is in fwknopd's figure, not in knockd's.`,
    ],
    tables: [
      {
        title: '',
        head: ['system', 'sustained, knocks a second', 'processor time of a knock, least', 'a door was open too long by'],
        rows: summary.map(({ key, best, least, stay }) => [name(key), best, asTime(least), stay]),
      },
      {
        title: 'Every rate',
        head: ['system', 'knocks a second', 'sent', 'opened', 'lost', 'behind at the end', 'processor time of a knock'],
        rows: rows.map(({ key, perSecond, sent, opened, behind, cpuMsEach }) => [
          ...[name(key), asCount(perSecond), asCount(sent), asCount(opened), `${digits((100 * (sent - opened)) / sent)} %`],
          ...[asCount(behind), asTime(cpuMsEach)],
        ]),
      },
    ],
    charts: [
      {
        ...{ kind: 'lines', name: 'rate', title: 'Valid knocks that opened their door' },
        ...{ x: { label: 'knocks in a second', scale: 'log' }, y: { label: 'opened, %', scale: 'linear' }, series },
      },
    ],
    headlines: [
      {
        figure: 'valid knocks in a second, none lost',
        goal: '2,000',
        ours: `${bestOf('postern')} (compiled: ${bestOf('postern-jit')})`,
        peers: ['fwknopd', 'fwknopd-udp', 'knockd'].map(peer).join('').replace(/; $/, ''),
      },
    ],
    leftOut: arena.leftOut.map(({ variant: { name: left }, why }) => `${left}: ${why}`),
    raw: { rows, stays },
  };
}

await runPart(measure);
