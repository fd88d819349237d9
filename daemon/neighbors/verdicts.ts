// For each protected port: would another firewall of this host stop a connection that a grant let pass? Pure.
import type { IpAddress, Network } from '../../protocol/address.ts';
import { contains } from '../../protocol/address.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import { type Fate, fateOf } from './evaluate.ts';
import type { Condition, Ruleset } from './ruleset.ts';

/** What the host looks like from outside. */
export type Surroundings = {
  readonly interfaces: readonly {
    readonly name: string;
    /** The networks that it reaches by itself, and its own addresses there. */
    readonly networks: readonly Network[];
    readonly own: readonly IpAddress[];
    /** Whether clients may come by it. */
    readonly outside: boolean;
  }[];
};

/** Something that stops ports: the same for all of them, over these families and interfaces. */
export type Finding = {
  readonly fate: Exclude<Fate, { kind: 'passes' }>;
  readonly ports: readonly PortRange[];
  readonly versions: readonly (4 | 6)[];
  /** Empty: on every interface. */
  readonly interfaces: readonly string[];
  /** Where to, when it is not this host itself. */
  readonly network: Network | undefined;
};

type Single = {
  readonly fate: Finding['fate'];
  readonly range: PortRange;
  readonly version: 4 | 6;
  readonly name: string;
  readonly network: Network | undefined;
};

export function findObstacles(
  ruleset: Ruleset,
  protect: readonly PortRange[],
  networks: readonly Network[],
  { interfaces }: Surroundings,
): readonly Finding[] {
  const outside = interfaces.filter(({ outside: isOutside }) => isOutside);
  // Clients come for these; what leads to containers only is nobody's destination out there.
  const own = outside.flatMap((each) => each.own);
  const singles: Single[] = [];
  for (const { name } of outside) {
    for (const version of [4, 6] as const) {
      const mine = own.filter(({ family, text }) => family === version && !isLocalOnly(text));
      const targets: readonly (readonly IpAddress[] | Network)[] = [
        ...(mine.length === 0 ? [] : [mine]),
        ...networks.filter(({ address }) => address.family === version),
      ];
      for (const to of targets) {
        const network = Array.isArray(to) ? undefined : (to as Network);
        const leavesBy = network === undefined ? undefined : wayTo(network.address, interfaces);
        for (const range of protect.flatMap((each) => pieces(each, ruleset))) {
          const packet = { version, protocol: range.protocol, port: range.first, arrivesOn: name, to, leavesBy, translated: false };
          const fate = fateOf(ruleset, packet, (address) => wayTo(address, interfaces));
          if (fate.kind !== 'passes') singles.push({ fate, range, version, name, network });
        }
      }
    }
  }
  return merged(
    singles,
    outside.map(({ name }) => name),
  );
}

/** What becomes of a datagram to the knock port itself, where `unmatched: pass` leaves it to the host: from most sources, that is. */
export function fateOfUnwanted(ruleset: Ruleset, port: number, around: Surroundings): 'answered' | 'dropped' | 'cannot-tell' {
  const findings = findObstacles(ruleset, [{ protocol: 'udp', first: port, last: port }], [], around);
  if (findings.some(({ fate }) => fate.kind === 'cannot-tell')) return 'cannot-tell';
  return findings.some(({ fate }) => fate.kind !== 'cannot-tell' && fate.how === 'drop') ? 'dropped' : 'answered';
}

/** The parts of a range that no rule tells apart; one port of each then speaks for all. */
function pieces(range: PortRange, ruleset: Ruleset): readonly PortRange[] {
  const starts = new Set<number>([range.first]);
  const look = (condition: Condition): void => {
    if (condition.kind === 'port') {
      for (const start of [condition.first, condition.last + 1]) if (range.first < start && start <= range.last) starts.add(start);
    } else if (condition.kind === 'not') look(condition.of);
    else if (condition.kind === 'any' || condition.kind === 'all') condition.of.forEach(look);
  };
  if (range.first !== range.last) for (const { rules } of ruleset) for (const { condition } of rules) look(condition);
  const sorted = [...starts].sort((a, b) => a - b);
  return sorted.map((first, at) => ({ protocol: range.protocol, first, last: (sorted[at + 1] ?? range.last + 1) - 1 }));
}

/** One finding for all ports that the same place stops in the same way, over the same families and interfaces. */
function merged(singles: readonly Single[], every: readonly string[]): readonly Finding[] {
  const place = ({ fate, network }: Single): string =>
    [fate.kind, fate.at.chain.key.replace(/ ip6? /, ' ip '), fate.at.rule?.text ?? '', network?.text ?? ''].join('|');
  const byPort = grouped(singles, (single) => `${place(single)}|${formatPortRange(single.range)}`).map((group) => {
    const names = [...new Set(group.map(({ name }) => name))];
    return {
      first: group[0],
      versions: ([4, 6] as const).filter((version) => group.some((single) => single.version === version)),
      interfaces: names.length === every.length ? [] : names,
    };
  });
  return grouped(byPort, ({ first, versions, interfaces }) => `${place(first)}|${versions.join()}|${interfaces.join()}`).map((group) => {
    const { first, versions, interfaces } = group[0];
    return { fate: first.fate, ports: joined(group.map((each) => each.first.range)), versions, interfaces, network: first.network };
  });
}

function grouped<T>(items: readonly T[], key: (item: T) => string): readonly (readonly [T, ...T[]])[] {
  const groups = new Map<string, [T, ...T[]]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group === undefined) groups.set(key(item), [item]);
    else group.push(item);
  }
  return [...groups.values()];
}

function joined(ranges: readonly PortRange[]): readonly PortRange[] {
  const out: PortRange[] = [];
  for (const range of [...ranges].sort((a, b) => (a.protocol === b.protocol ? a.first - b.first : a.protocol < b.protocol ? -1 : 1))) {
    const last = out.at(-1);
    if (last !== undefined && last.protocol === range.protocol && last.last + 1 === range.first)
      out[out.length - 1] = { ...last, last: range.last };
    else out.push(range);
  }
  return out;
}

/** The interface whose own network holds the address; undefined when a route decides. */
function wayTo(address: IpAddress, interfaces: Surroundings['interfaces']): string | undefined {
  return interfaces.find(({ name, networks: on }) => name !== 'lo' && on.some((network) => contains(network, address)))?.name;
}

/** Loopback and link-local: no client comes for those. */
function isLocalOnly(text: string): boolean {
  return /^127\.|^169\.254\.|^::1$|^fe[89ab]/.test(text);
}
