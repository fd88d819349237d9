// The lines of the port audit: one for each socket and each published port, for people and as JSON. Pure.
import { formatPortRange } from '../../protocol/ports.ts';
import { safeText } from '../safe-text.ts';
import type { Owners } from './owners.ts';
import type { Published } from './published.ts';
import { boundTo, openingsOf, type Reach, reachOf, type Situation, worst } from './reach.ts';
import type { OpenSocket } from './sockets.ts';

/** One line of the audit. */
export type Row = {
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly label: string;
  readonly bound: string;
  readonly families: ReturnType<typeof reachOf>;
  readonly reach: Reach;
  readonly v6only: boolean | null;
  readonly passing: boolean;
  readonly processes: readonly { readonly pid: number; readonly name: string }[];
  readonly unit: string | null;
  readonly user: string | null;
  readonly publishedTo: string | null;
  readonly rules: ReturnType<typeof openingsOf>;
};

export function socketRow(socket: OpenSocket, owners: Owners, nameOf: (uid: number) => string, situation: Situation): Row {
  const { protocol, port, inode, uid, passing, v6only } = socket;
  const families = reachOf(socket, situation);
  const holders = owners.byInode.get(inode) ?? [];
  return {
    protocol,
    port,
    label: `${protocol}/${port}`,
    bound: boundTo(socket),
    families,
    reach: worst(families),
    v6only: v6only ?? null,
    passing,
    processes: holders.map(({ pid, name }) => ({ pid, name })),
    unit: holders.find(({ unit }) => unit !== undefined)?.unit ?? null,
    user: nameOf(uid),
    publishedTo: null,
    rules: families.some(({ reach }) => reach === 'knock') ? openingsOf(protocol, port, situation.book) : [],
  };
}

/** The gate stands before the translation: the same port is judged. Behind it, another host answers. */
export function publishedRow({ ports, to, by }: Published, situation: Situation): Row {
  const { protocol, first } = ports;
  const address = (by.startsWith('ip6 ') ? [6] : by.startsWith('ip ') ? [4] : [4, 6]) as readonly (4 | 6)[];
  const anywhere = { family: 6, bytes: new Uint8Array(16), text: '::' } as const;
  const families = reachOf({ protocol, port: first, address: anywhere, v6only: false, device: undefined }, situation).filter(
    ({ version }) => address.includes(version),
  );
  return {
    protocol,
    port: first,
    label: formatPortRange(ports),
    bound: '*',
    families,
    reach: worst(families),
    v6only: null,
    passing: false,
    processes: [],
    unit: null,
    user: null,
    publishedTo: to,
    rules: families.some(({ reach }) => reach === 'knock') ? openingsOf(protocol, first, situation.book) : [],
  };
}

/** Workers that share a port (SO_REUSEPORT) are one line. */
export function merged(rows: readonly Row[]): readonly Row[] {
  const found = new Map<string, Row>();
  for (const row of rows) {
    const key = [row.label, row.bound, row.user, row.publishedTo, row.families.map(({ version }) => version).join()].join(' ');
    const other = found.get(key);
    const processes = [
      ...(other?.processes ?? []),
      ...row.processes.filter(({ pid }) => !other?.processes.some((each) => each.pid === pid)),
    ];
    found.set(key, { ...row, processes, unit: other?.unit ?? row.unit });
  }
  return [...found.values()];
}

export const HEADING = ['REACH', 'PORT', 'BOUND TO', 'PROCESS', 'UNIT', 'USER', 'WHY'] as const;
const WORDS = {
  everyone: 'everyone',
  unknown: 'everyone?',
  some: 'some',
  knock: 'knock first',
  trusted: 'trusted',
  nobody: 'nobody',
  loopback: 'loopback',
} as const satisfies Record<Reach, string>;

export function rowCells(row: Row): readonly string[] {
  const [first] = row.processes;
  const more = row.processes.length > 1 ? ` and ${row.processes.length - 1} more` : '';
  const process =
    row.publishedTo !== null ? `-> ${row.publishedTo}` : first === undefined ? '?' : `${safeText(first.name, 30)}[${first.pid}]${more}`;
  return [
    WORDS[row.reach],
    row.label,
    `${row.bound} (${familyWords(row)})`,
    process,
    safeText(row.unit ?? '-', 60),
    safeText(row.user ?? '-', 40),
    reasons(row),
  ];
}

function familyWords({ families }: Row): string {
  return families.map(({ version }) => `v${version}`).join('+');
}

/** One reason for both families, or each by itself where they differ. */
function reasons({ families, rules, passing, publishedTo }: Row): string {
  const same = new Set(families.map(({ reach, by }) => `${reach} ${by}`)).size === 1;
  const why = same ? (families[0]?.by ?? '') : families.map(({ version, reach, by }) => `IPv${version} ${WORDS[reach]}: ${by}`).join('; ');
  const opened = rules.map(
    ({ file, line, clients }) => `${safeText(file, 200)}:${line} (${clients.slice(0, 5).join(', ')}${clients.length > 5 ? ', …' : ''})`,
  );
  return safeText(
    [
      why,
      ...(opened.length === 0 ? [] : [`opened by ${opened.join(', ')}`]),
      ...(publishedTo === null ? [] : ['published by address translation']),
      ...(passing ? ['a port that the kernel picked'] : []),
    ].join('; '),
    800,
  );
}

export function rowJson(row: Row) {
  const { protocol, port, label, bound, families, reach, v6only, passing, processes, unit, user, publishedTo, rules } = row;
  return {
    protocol,
    port,
    ports: label,
    bound_to: bound,
    reach,
    families,
    v6only,
    kernel_picked_port: passing,
    processes,
    unit,
    user,
    published_to: publishedTo,
    rules,
  };
}
