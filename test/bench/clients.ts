// What a system costs that knows 1, 100, 1,000, 10,000 clients: start, memory, the time of a knock by the last of them, and the processor time of a
// packet that it has to try in vain: npm run bench -- clients [--quick].
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { asCount, asMiB, asTime, median, quantile } from './figures.ts';
import type { SentKnock } from './knock-sender-calls.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import { processorMs, residentMiB } from './processes.ts';
import type { Section } from './section.ts';
import { Arena, type Started } from './systems/arena.ts';
import { variant } from './systems/variants.ts';

const ASKED = [
  { key: 'postern', sizes: [1, 100, 1000, 10_000] },
  { key: 'postern-iptables', sizes: [1, 100, 1000, 10_000] },
  { key: 'fwknopd-udp', sizes: [1, 10, 100, 1000, 5000] },
] as const;
/** So that one client can be timed often: more than this in a minute is not asked of the last one. */
const SLOTS_OF_FEW = 64;
const FEW = 100;
/** The last so many take turns where each has 16 knocks in a minute. */
const TURNS = 8;
/** What tries every key gets fewer: with thousands of keys it is busy for seconds. */
const JUNK = { few: { packets: 200, perSecond: 100 }, many: { packets: 3000, perSecond: 1000 } } as const;

type Row = {
  readonly key: string;
  readonly clients: number;
  readonly startMs: number;
  readonly memoryMiB: number;
  readonly knocksMs: number[];
  junkMs: number;
};

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const rounds = isQuick ? 5 : 60;
  const rows: Row[] = [];
  const leftOut: string[] = [];
  for (const { key, sizes } of ASKED) {
    // One system with all its sizes side by side: their knocks are timed in turn.
    const arena = await Arena.create('clients');
    try {
      const found: { readonly started: Started; readonly row: Row }[] = [];
      for (const clients of isQuick ? sizes.slice(0, 3) : sizes) {
        const started = await arena.start(variant(key), { clients, ...(clients <= FEW ? { slots: SLOTS_OF_FEW } : {}) });
        if (started === undefined) continue;
        await delay(2_000);
        const memoryMiB = residentMiB(started.system.pid());
        const row = { key, clients, startMs: started.startMs, memoryMiB, knocksMs: [], junkMs: Number.NaN };
        found.push({ started, row });
        progress(`${started.variant.name}, ${asCount(clients)} clients: started in ${asTime(row.startMs)}, ${asMiB(memoryMiB)}`);
      }
      for (let round = -1; round < rounds; round += 1) {
        for (const { started, row } of found) {
          const last = row.clients - 1 - (row.clients > FEW ? Math.max(0, round) % TURNS : 0);
          const { ms } = await arena.timeKnock(started.system, { client: last });
          if (round >= 0) row.knocksMs.push(ms ?? Number.POSITIVE_INFINITY);
        }
      }
      for (const { started, row } of found)
        row.junkMs = await junkCost(arena, started, started.variant.key.startsWith('fwknopd') ? JUNK.few : JUNK.many);
      rows.push(...found.map(({ row }) => row));
      leftOut.push(...arena.leftOut.map(({ variant: { name }, why }) => `${name}: ${why}`));
    } catch (error) {
      leftOut.push(`${variant(key).name}: ${String(error).slice(0, 300)}`);
    } finally {
      await arena.close();
    }
  }
  return section(rows, leftOut);
}

/** Packets of the right form that no key of this system made, beyond what the idle daemon costs in the same time. */
async function junkCost(
  arena: Arena,
  { variant: { key }, system }: Started,
  junk: { readonly packets: number; readonly perSecond: number },
): Promise<number> {
  const { packets, perSecond } = junk;
  const [example] = await system.knocks(arena.freshAddresses(1), 0);
  const [datagram] = example?.datagrams ?? [];
  if (datagram === undefined) throw new Error('no knock');
  const knocks = arena
    .freshAddresses(packets)
    .map((from): SentKnock => ({ from, datagrams: [{ ...datagram, payload: alike(key, datagram.payload) }] }));
  const seconds = packets / perSecond;
  const idleFrom = processorMs(system.pid());
  await delay(seconds * 1000);
  const idleMs = processorMs(system.pid()) - idleFrom;
  const from = processorMs(system.pid());
  await arena.ask('blast', { to: system.ground.server.ipv4(), knocks, perSecond });
  // A daemon that is slower than the packets goes on for a while.
  let last = processorMs(system.pid());
  for (let quiet = 0; quiet < 2; ) {
    await delay(500);
    const now = processorMs(system.pid());
    quiet = now - last < 20 + (idleMs / seconds) * 0.5 ? quiet + 1 : 0;
    last = now;
  }
  return Math.max(0, last - from - idleMs) / packets;
}

/** A payload of the same length and alphabet; `payload` and the answer are in base64. */
function alike(key: string, payload: string): string {
  const length = Buffer.from(payload, 'base64').length;
  const bytes = randomBytes(length);
  // fwknop sends text in base64.
  return key.startsWith('fwknopd')
    ? Buffer.from(bytes.toString('base64').replaceAll('=', 'A').slice(0, length), 'latin1').toString('base64')
    : bytes.toString('base64');
}

function section(rows: readonly Row[], leftOut: readonly string[]): Section {
  const name = (key: string): string => variant(key).name;
  const of = (key: string, clients: number): Row | undefined => rows.find((row) => row.key === key && row.clients === clients);
  const knock = (row: Row | undefined): number => median(row?.knocksMs ?? []);
  const largest = (key: string): Row | undefined => rows.filter((row) => row.key === key).toSorted((a, b) => b.clients - a.clients)[0];
  const [one, many, peerOne, peerMany] = [of('postern', 1), largest('postern'), of('fwknopd-udp', 1), largest('fwknopd-udp')];
  const lines = (pick: (row: Row) => number) =>
    ASKED.map(({ key }) => ({
      name: name(key),
      points: rows.filter((row) => row.key === key).map((row) => ({ x: row.clients, y: pick(row) })),
    }));
  const clientsAxis = { label: 'clients', scale: 'log' } as const;
  return {
    key: 'clients',
    title: 'Many clients',
    command: 'npm run bench -- clients',
    about: [
      `A system for each number of clients, all of them running; knocks in turn, each by the last client (with 1,000 and more, by the last ${TURNS}), timed as above. Memory
is resident two seconds after the start. Junk: ${asCount(JUNK.many.packets)} packets of a knock's length and alphabet that no key made, ${asCount(JUNK.many.perSecond)} in a second (for fwknopd ${JUNK.few.packets}, ${JUNK.few.perSecond} in a second), and the daemon's processor time beyond what it
takes when idle. Postern's sieve drops them in the kernel; with iptables the daemon looks for the tag in a table; fwknopd tries every key.`,
    ],
    tables: [
      {
        title: '',
        head: ['system', 'clients', 'start', 'memory', 'knock by the last: median', 'p99', 'processor time of a junk packet'],
        rows: rows.map((row) => [
          ...[name(row.key), asCount(row.clients), asTime(row.startMs), asMiB(row.memoryMiB)],
          ...[asTime(knock(row)), asTime(quantile(row.knocksMs, 0.99)), row.junkMs < 0.0005 ? 'none' : asTime(row.junkMs)],
        ]),
      },
    ],
    charts: [
      {
        ...{ kind: 'lines', name: 'clients-knock', title: 'Time of a knock by the last client, median' },
        ...{ x: clientsAxis, y: { label: 'milliseconds', scale: 'log' }, series: lines(knock) },
      },
      {
        ...{ kind: 'lines', name: 'clients-memory', title: 'Memory of the daemon' },
        ...{ x: clientsAxis, y: { label: 'MiB', scale: 'linear' }, series: lines(({ memoryMiB }) => memoryMiB) },
      },
    ],
    headlines: [
      {
        figure: `time of a knock, with 1 and with ${asCount(many?.clients ?? Number.NaN)} clients`,
        goal: 'flat (within 1.3 times)',
        ours: `${asTime(knock(one))} and ${asTime(knock(many))}: ${(knock(many) / knock(one)).toFixed(2)} times`,
        peers: `fwknopd, UDP server ${asTime(knock(peerOne))} and (${asCount(peerMany?.clients ?? Number.NaN)}) ${asTime(knock(peerMany))}; ${asTime(peerMany?.junkMs ?? Number.NaN)} of processor for each junk packet`,
      },
      {
        figure: `memory, with 1 and with ${asCount(many?.clients ?? Number.NaN)} clients`,
        goal: 'under 70 MiB and 150 MiB',
        ours: `${asMiB(one?.memoryMiB ?? Number.NaN)} and ${asMiB(many?.memoryMiB ?? Number.NaN)}`,
        peers: `fwknopd ${asMiB(peerOne?.memoryMiB ?? Number.NaN)} and (${asCount(peerMany?.clients ?? Number.NaN)}) ${asMiB(peerMany?.memoryMiB ?? Number.NaN)}`,
      },
    ],
    leftOut,
    raw: rows,
  };
}

await runPart(measure);
