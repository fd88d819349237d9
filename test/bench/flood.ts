// Junk, forged packets and replays at several rates against every system, with honest knocks in between: npm run bench -- flood [--quick] [--json FILE].
//
//   attacker ─┐
//   client ───┼─ a switch for each server ── server: the system, a TCP service behind the door
//
// The attacker has one core for sending, which also does the receiving kernel's work for each packet; daemon and honest client share what is left.
import { asCount, asTime, digits, quantile } from './figures.ts';
import { type Assault, type Cell, runCell } from './flood/cell.ts';
import type { Rate } from './flood/generator.ts';
import { type Target, targetOf } from './flood/target.ts';
import { KNOWS, WEAPONS } from './flood/weapons.ts';
import { type PartOptions, progress, runPart } from './part.ts';
import type { Chart, Section } from './section.ts';
import { Arena, firstLine } from './systems/arena.ts';
import { createPostern } from './systems/postern.ts';
import type { Variant } from './systems/system.ts';
import { variant } from './systems/variants.ts';

const RATES: readonly Rate[] = [1_000, 10_000, 50_000, 'max'];
/** Where the sieve does the same as for the first one, two rates show it. */
const FEW: readonly Rate[] = [10_000, 'max'];
const NO_SIEVE = 'with `firewall: iptables`, which has no sieve';

type Contender = { readonly variant: Variant; readonly rates: readonly Rate[]; readonly clients?: number; readonly knockEveryMs: number };

/** Many knocks a minute: the clients of a small company. A knock of fwknopd is made by a program of its own, and takes longer anyway. */
const ours = (made: Variant, rates: readonly Rate[]): Contender => ({ variant: made, rates, clients: 160, knockEveryMs: 12 });
const theirs = (made: Variant): Contender => ({ variant: made, rates: RATES, knockEveryMs: 60 });

const CONTENDERS: readonly Contender[] = [
  ours(variant('postern'), RATES),
  ours(variant('postern-raw'), FEW),
  ours(variant('postern-udp'), FEW),
  ours(variant('postern-iptables'), RATES),
  ours(withoutSieve('raw', { capture: 'raw', unmatched: 'pass' }), RATES),
  ours(withoutSieve('udp', { capture: 'udp' }), RATES),
  theirs(variant('fwknopd')),
  theirs(variant('fwknopd-udp')),
];

const QUIET: Assault = { weapon: 'quiet', rate: 0 };
const ASSAULTS: readonly Assault[] = WEAPONS.flatMap((weapon) => RATES.map((rate) => ({ weapon, rate })));
const QUICK_ASSAULTS: readonly Assault[] = [
  { weapon: 'form', rate: 10_000 },
  { weapon: 'form', rate: 'max' },
  { weapon: 'seal', rate: 'max' },
];

const TIMES = { knocksMs: 1_200, aloneMs: 300, knockDeadlineMs: 400 };
const QUICK_TIMES = { knocksMs: 400, aloneMs: 100, knockDeadlineMs: 200 };

function withoutSieve(capture: string, config: Readonly<Record<string, unknown>>): Variant {
  const name = `Postern, ${capture}, no sieve`;
  return {
    key: `postern-${capture}-iptables`,
    name,
    setup: `\`capture: ${capture}\` ${NO_SIEVE}`,
    create: (ground, more) => createPostern(ground, { name, config: { firewall: 'iptables', ...config }, ...more }),
  };
}

async function measure({ isQuick }: PartOptions): Promise<Section> {
  const times = isQuick ? QUICK_TIMES : TIMES;
  const assaults: readonly Assault[] = [QUIET, ...(isQuick ? QUICK_ASSAULTS : ASSAULTS)];
  const arena = await Arena.create('flood', 1_200_000, { attacker: true });
  const cells: Cell[] = [];
  const failed: string[] = [];
  try {
    const targets: { readonly target: Target; readonly contender: Contender }[] = [];
    for (const contender of CONTENDERS) {
      const { clients, variant: each } = contender;
      const started = await arena.start(each, clients === undefined ? {} : { clients });
      progress(`${each.name}: ${started === undefined ? 'did not start' : `started in ${asTime(started.startMs)}`}`);
      if (started !== undefined) targets.push({ target: targetOf(arena, started), contender });
    }
    for (const assault of assaults) {
      const done: string[] = [];
      for (const { target, contender } of targets) {
        if (assault.weapon !== 'quiet' && !contender.rates.includes(assault.rate)) continue;
        try {
          const cell = await runCell(arena, target, assault, { ...times, knockEveryMs: contender.knockEveryMs });
          cells.push(cell);
          done.push(inShort(cell));
        } catch (error) {
          failed.push(`${target.name}, ${assault.weapon} at ${assault.rate}: ${firstLine(error)}`);
          done.push(failed.at(-1) ?? '');
        }
      }
      progress(`${assault.weapon} at ${assault.rate}: ${done.join('; ')}`);
    }
    return sectionOf(arena, cells, times, failed);
  } finally {
    await arena.close();
  }
}

function inShort(cell: Cell): string {
  return `${cell.system} ${digits(cell.cpuPercent)} (${digits(cell.cpuAlonePercent)}) %, ${cell.openedMs.length} of ${cell.knocks} in ${asTime(quantile(cell.openedMs, 0.99))}`;
}

const HEAD = [
  'system',
  'packets sent in a second',
  'daemon: processor, with honest knocks',
  'for the flood alone',
  'read by the daemon',
  'dropped, queue full',
  'honest knocks that opened',
  'median',
  'p99',
  'worked off after',
];

function rowOf(cell: Cell): readonly string[] {
  const late = cell.openedLate === 0 ? '' : `, ${cell.openedLate} late`;
  const isCounted = cell.seen !== undefined || cell.system !== 'fwknopd';
  return [
    cell.system,
    cell.weapon === 'quiet' ? '–' : asCount(cell.sentPerSecond),
    `${digits(cell.cpuPercent)} %`,
    `${digits(cell.cpuAlonePercent)} %`,
    cell.seen === undefined ? '–' : asCount(cell.seen),
    isCounted ? asCount(cell.dropped) : '–',
    `${cell.openedMs.length} of ${cell.knocks}${late}`,
    asTime(quantile(cell.openedMs, 0.5)),
    asTime(quantile(cell.openedMs, 0.99)),
    cell.backlogMs < 50 ? 'at once' : asTime(cell.backlogMs),
  ];
}

function sectionOf(arena: Arena, cells: readonly Cell[], times: typeof TIMES, failed: readonly string[]): Section {
  const of = (weapon: Cell['weapon']): readonly Cell[] => cells.filter((cell) => cell.weapon === weapon);
  const systems = arena.started.map(({ variant: { name } }) => name);
  const weapons = WEAPONS.filter((weapon) => of(weapon).length > 0);
  const chart = (name: string, title: string, label: string, value: (cell: Cell) => number): Chart => ({
    kind: 'lines',
    name,
    title,
    x: { label: 'packets in a second', scale: 'log' },
    y: { label, scale: 'linear' },
    series: systems.map((system) => ({
      name: system,
      points: of('form')
        .filter((cell) => cell.system === system)
        .map((cell) => ({ x: cell.sentPerSecond, y: Number.isFinite(value(cell)) ? value(cell) : null })),
    })),
  });
  const lost = cells.reduce((sum, cell) => sum + cell.lostOnTheWay, 0);
  return {
    key: 'flood',
    title: 'Under a flood',
    command: 'npm run bench -- flood',
    about: [
      `Each system on a server of its own, each flood for ${asTime(times.knocksMs + times.aloneMs)} from a host of its own by one core (trafgen at full speed, tcpreplay at a rate); that core
also does the receiving kernel's work for each packet, so that daemon and honest client share the other one. Meanwhile an honest client knocks steadily, each
time with one packet and from a fresh address, and tries the port: what is not open after ${times.knockDeadlineMs} ms counts as not opened ("late": let in when the flood was over). The daemon's
processor time stands twice: with the honest knocks, and in the last ${asTime(times.aloneMs)}, for the flood alone. What libpcap drops cannot be seen from outside: "–". ${lost} packets of all floods were lost before
they reached a server.`,
      'Without the sieve (iptables, raw, udp) a daemon has to look at every datagram that is as long as a knock. "Postern, iptables" is NFLOG without the sieve.',
      arena.started.map(({ variant: { name, setup } }) => `- ${name}: ${setup}`).join('\n'),
    ],
    tables: [
      { title: 'No flood', head: HEAD, rows: of('quiet').map(rowOf) },
      ...weapons.map((weapon) => ({
        title: KNOWS[weapon],
        head: HEAD,
        rows: systems.flatMap((system) =>
          of(weapon)
            .filter((cell) => cell.system === system)
            .map(rowOf),
        ),
      })),
    ],
    charts: [
      chart(
        'flood-opened',
        'Honest knocks that open the port under a flood of the right form',
        'percent',
        (cell) => (100 * cell.openedMs.length) / cell.knocks,
      ),
      chart('flood-processor', 'The daemon under a flood of the right form', 'percent of a core', (cell) => cell.cpuAlonePercent),
      chart('flood-p99', 'Honest knocks under a flood of the right form: p99 of those that open', 'milliseconds', (cell) =>
        quantile(cell.openedMs, 0.99),
      ),
    ],
    headlines: headlinesOf(cells, arena),
    leftOut: [...arena.leftOut.map(({ variant: { name }, why }) => `${name}: ${why}`), ...failed],
    raw: cells,
  };
}

function headlinesOf(cells: readonly Cell[], arena: Arena): Section['headlines'] {
  const atMost = (key: string): readonly Cell[] => {
    const name = arena.started.find((each) => each.variant.key === key)?.variant.name;
    return cells.filter(({ system, rate }) => system === name && rate === 'max');
  };
  const mine = atMost('postern');
  const range = (values: readonly number[]): string => `${digits(Math.min(...values))} to ${digits(Math.max(...values))} %`;
  const opened = (all: readonly Cell[]): string => {
    const [good, tried] = [all.reduce((sum, { openedMs }) => sum + openedMs.length, 0), all.reduce((sum, { knocks }) => sum + knocks, 0)];
    return `${good} of ${tried}, p99 ${asTime(
      quantile(
        all.flatMap(({ openedMs }) => openedMs),
        0.99,
      ),
    )}`;
  };
  const peers = ['fwknopd', 'fwknopd-udp'].filter((key) => atMost(key).length > 0);
  const nameOf = (key: string): string => atMost(key)[0]?.system ?? key;
  return [
    {
      figure: `daemon's processor under floods of every kind, as fast as one core can send (${asCount(
        quantile(
          mine.map(({ sentPerSecond }) => sentPerSecond),
          0.5,
        ),
      )} packets/s)`,
      goal: '0 (with the sieve)',
      ours: range(mine.map(({ cpuAlonePercent }) => cpuAlonePercent)),
      peers: peers.map((key) => `${nameOf(key)} ${range(atMost(key).map(({ cpuAlonePercent }) => cpuAlonePercent))}`).join('; '),
    },
    {
      figure: 'honest knocks that open the port during those floods',
      goal: '100 %, p99 under 10 ms',
      ours: opened(mine),
      peers: peers.map((key) => `${nameOf(key)} ${opened(atMost(key))}`).join('; '),
    },
  ];
}

await runPart(measure);
