// What the floods have shown, as a section of the report: a table for each kind, three plots, two lines of the README. Pure.
import { asCount, asTime, digits, quantile } from '../figures.ts';
import type { Chart, Section } from '../section.ts';
import type { Arena } from '../systems/arena.ts';
import type { Cell } from './cell.ts';
import { HELD_BACK, KNOWS, WEAPONS } from './weapons.ts';

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
    `${openedOf([cell])}${late}`,
    asTime(quantile(cell.openedMs, 0.5)),
    asTime(quantile(cell.openedMs, 0.99)),
    cell.backlogMs < 50 ? 'at once' : asTime(cell.backlogMs),
  ];
}

export type FloodRun = {
  readonly arena: Arena;
  readonly cells: readonly Cell[];
  /** Cells that did not come to an end, each with its reason. */
  readonly failed: readonly string[];
  readonly knocksMs: number;
  readonly blast: number;
  readonly aloneMs: number;
  readonly knockDeadlineMs: number;
};

/** `a of b`: those that opened in time, and all that were sent. */
export function openedOf(cells: readonly Cell[]): string {
  const good = cells.reduce((sum, { openedMs, blastOpened }) => sum + openedMs.length + blastOpened, 0);
  return `${good} of ${cells.reduce((sum, { knocks, blast }) => sum + knocks + blast, 0)}`;
}

export function sectionOf({ arena, cells, failed, knocksMs, blast, aloneMs, knockDeadlineMs }: FloodRun): Section {
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
      `Each system on a server of its own, each flood for ${asTime(knocksMs + aloneMs)} and more from a host of its own by one core (trafgen at full speed, tcpreplay at a rate); that core
also does the receiving kernel's work for each packet, so that daemon and honest client share the other one. Meanwhile an honest client knocks steadily, each
time with one packet and from a fresh address, and tries the port: what is not open after ${knockDeadlineMs} ms counts as not opened ("late": let in when the flood was over). Then ${blast} more are sent at a steady pace, whatever becomes of them: in time are those that are let in while the flood goes on. The daemon's
processor time stands twice: with the honest knocks, and in the last ${asTime(aloneMs)}, for the flood alone, after all of them. What libpcap drops cannot be seen from outside: "–". ${lost} packets of all floods were lost before
they reached a server.`,
      `Without the sieve a daemon has to look at every datagram that is as long as a knock; "Postern, iptables" is NFLOG without the sieve. Its queue is served in order, so that
honest knocks wait behind junk, and are lost with it when the queue is full: \`knock\` then tries again. A held-back knock is the one thing that wakes a daemon behind the sieve: each
tag once, as the sieve gives no tag away twice. All ${HELD_BACK} come within a moment, and an honest knock of that moment waits until their boxes have been tried; nobody has more of them than there are knocks that he can hold back.`,
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
        (cell) => (100 * (cell.openedMs.length + cell.blastOpened)) / (cell.knocks + cell.blast),
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
    const times = all.flatMap(({ openedMs }) => openedMs);
    return times.length === 0 ? openedOf(all) : `${openedOf(all)} knocks, p99 ${asTime(quantile(times, 0.99))}`;
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
      peers: peers
        .map(
          (key) =>
            `${nameOf(key)} ${range(atMost(key).map(({ cpuAlonePercent }) => cpuAlonePercent))}, and opens ${openedOf(atMost(key))} knocks`,
        )
        .join('; '),
    },
    {
      figure: 'honest knocks that open the port during those floods',
      goal: '100 %, p99 under 10 ms',
      ours: opened(mine),
      peers: peers.map((key) => `${nameOf(key)} ${opened(atMost(key))}`).join('; '),
    },
  ];
}
