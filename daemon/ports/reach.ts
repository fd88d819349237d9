// Who can reach a port of this host, and by whose leave: the gate, the rules, other firewalls. Pure. Where it cannot tell it says so, and
// never calls something closed that might be open.
import { contains, type IpAddress, parseNetwork } from '../../protocol/address.ts';
import { formatPortRange, type PortRange, type Protocol } from '../../protocol/ports.ts';
import type { Config } from '../config/config.ts';
import { coveredBy } from '../config/ranges.ts';
import { adviceFor } from '../neighbors/advice.ts';
import type { Ruleset } from '../neighbors/ruleset.ts';
import { type Finding, findObstacles, type Surroundings } from '../neighbors/verdicts.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import type { OpenSocket } from './sockets.ts';

/**
 * From the most open to the most closed. `everyone`: whoever reaches this host. `unknown`: another firewall's rule that cannot be decided.
 * `some`: whom another firewall lets in. `knock`: whoever knocks by a rule. `trusted`: the trusted networks only, as no rule opens it.
 * `nobody`: another firewall stops it, or it is protected and nobody may open it.
 */
export const REACHES = ['everyone', 'unknown', 'some', 'knock', 'trusted', 'nobody', 'loopback'] as const;
export type Reach = (typeof REACHES)[number];

export type FamilyReach = { readonly version: 4 | 6; readonly reach: Reach; readonly by: string };

export type Situation = {
  readonly config: Pick<Config, 'protect' | 'trusted' | 'interfaces' | 'port' | 'firewall'>;
  /** `changed`: it stands, and is not as it should be. */
  readonly gate: 'up' | 'down' | 'changed' | 'unknown';
  /** Undefined: they could not be read. */
  readonly ruleset: Ruleset | undefined;
  /** All interfaces, with those that clients may come by. */
  readonly around: Surroundings;
  readonly book: RuleBook;
};

const LOOPBACK = ['127.0.0.0/8', '::1/128'].flatMap((text) => {
  const network = parseNetwork(text);
  return network.ok ? [network.value] : [];
});

/** The families that a socket takes from: one on :: takes IPv4 too, unless it is known not to. */
export function familiesOf({ address, v6only }: Pick<OpenSocket, 'address' | 'v6only'>): readonly (4 | 6)[] {
  if (address.text === '::') return v6only === true ? [6] : [4, 6];
  return [address.family];
}

export function reachOf(
  socket: Pick<OpenSocket, 'protocol' | 'port' | 'address' | 'v6only' | 'device'>,
  situation: Situation,
): readonly FamilyReach[] {
  return familiesOf(socket).map((version) => ({ version, ...reachIn(socket, version, situation) }));
}

/** The most open of all. */
export function worst(reaches: readonly FamilyReach[]): Reach {
  return REACHES.find((reach) => reaches.some((each) => each.reach === reach)) ?? 'loopback';
}

export type Opening = { readonly file: string; readonly line: number; readonly clients: readonly string[] };

/** The allow entries that open this port, with the clients that they are for. */
export function openingsOf(protocol: Protocol, port: number, book: RuleBook): readonly Opening[] {
  const range = { protocol, first: port, last: port };
  const found = new Map<string, { readonly file: string; readonly line: number; readonly clients: string[] }>();
  for (const client of book.clients) {
    if (!client.enabled) continue;
    for (const { services, place } of client.allow) {
      if (!services.some(({ ports }) => coveredBy(ports, range))) continue;
      const key = `${place.file}:${place.line}`;
      const opening = found.get(key) ?? { file: place.file, line: place.line, clients: [] };
      opening.clients.push(client.name);
      found.set(key, opening);
    }
  }
  return [...found.values()];
}

type Judged = Pick<FamilyReach, 'reach' | 'by'>;

function reachIn(socket: Pick<OpenSocket, 'protocol' | 'port' | 'address' | 'device'>, version: 4 | 6, situation: Situation): Judged {
  const { config } = situation;
  const { protocol, port, address, device } = socket;
  if (device === 'lo' || LOOPBACK.some((network) => contains(network, address))) return { reach: 'loopback', by: 'bound to loopback' };
  const range: PortRange = { protocol, first: port, last: port };
  const outer = byNeighbors(range, version, socket, situation);
  if (protocol === 'udp' && port === config.port) return { reach: 'knock', by: 'the knock port' };
  if (!coveredBy(config.protect, range)) return outer ?? { reach: 'everyone', by: 'not protected' };
  const hole = gateHole(situation, device);
  if (hole !== undefined) return outer ?? { reach: 'everyone', by: hole };
  if (situation.gate === 'changed') return outer ?? { reach: 'unknown', by: 'protected, but somebody changed the gate' };
  if (outer !== undefined && outer.reach !== 'unknown') return { ...outer, by: `protected; ${outer.by}` };
  const opened = openingsOf(protocol, port, situation.book).length > 0;
  const trusted = config.trusted.filter((network) => network.address.family === version).map(({ text }) => text);
  const free = trusted.length === 0 ? '' : `, no knock needed from ${trusted.slice(0, 4).join(', ')}`;
  const doubt = situation.gate === 'unknown' ? ' (whether the gate is up could not be seen)' : '';
  if (opened) return { reach: 'knock', by: `protected${free}${doubt}` };
  return { reach: trusted.length > 0 ? 'trusted' : 'nobody', by: `protected, and no rule opens it${free}${doubt}` };
}

/** Why the gate does not hold there, if it does not. */
function gateHole({ config, gate, around }: Situation, device: string | undefined): string | undefined {
  if (config.firewall === 'none') return 'protected, but firewall: none makes no gate';
  if (gate === 'down') return 'protected, but the gate is down';
  if (config.interfaces.length === 0) return undefined;
  const gated = config.interfaces.map(({ name }) => name);
  const ungated = around.interfaces.filter(
    ({ name, outside, own }) => outside && own.length > 0 && !gated.includes(name) && (device ?? name) === name,
  );
  return ungated.length === 0 ? undefined : `protected, but not on ${ungated.map(({ name }) => name).join(', ')} (interfaces:)`;
}

/** What other firewalls make of it; undefined when nobody stops it. */
function byNeighbors(
  range: PortRange,
  version: 4 | 6,
  { address, device }: Pick<OpenSocket, 'address' | 'device'>,
  { ruleset, around }: Situation,
): Judged | undefined {
  if (ruleset === undefined) return undefined;
  const bound = address.bytes.some((byte) => byte !== 0);
  const seen: Surroundings = {
    interfaces: around.interfaces.map((each) => ({
      ...each,
      outside: each.outside && (device ?? each.name) === each.name,
      own: each.own.filter((own) => !bound || own.text === address.text),
    })),
  };
  // Where something stops it on some interfaces only, it is open on the others.
  const stops = findObstacles(ruleset, [range], [], seen).filter(
    (finding) => finding.versions.includes(version) && finding.interfaces.length === 0,
  );
  const finding = stops.find(({ fate }) => fate.kind === 'blocked') ?? stops.find(({ fate }) => fate.kind === 'only-some') ?? stops[0];
  return finding === undefined ? undefined : judged(finding);
}

function judged(finding: Finding): Judged {
  const { fate } = finding;
  const { chain, rule } = fate.at;
  const owner = /: (.*?) (?:drop|reject)s it/.exec(adviceFor(finding).message)?.[1] ?? 'another firewall';
  const place = `${chain.family} ${chain.table} ${chain.name}${rule === undefined ? `, policy ${chain.base?.policy ?? 'accept'}` : `: ${rule.text}`}`;
  switch (fate.kind) {
    case 'blocked':
      return { reach: 'nobody', by: `${owner} ${fate.how}s it (${place})` };
    case 'only-some':
      return { reach: 'some', by: `${owner} ${fate.how}s it but for some (${place})` };
    case 'cannot-tell':
      return { reach: 'unknown', by: `hangs on a rule that cannot be decided (${place})` };
  }
}

/** Protected ports on which nothing listens and to which nothing is published. */
export function silentPorts(
  protect: readonly PortRange[],
  taken: readonly { readonly protocol: Protocol; readonly port: number }[],
): readonly string[] {
  return protect
    .filter((range) => !taken.some(({ protocol, port }) => protocol === range.protocol && range.first <= port && port <= range.last))
    .map(formatPortRange);
}

/** Where a socket is bound, for people. */
export function boundTo({ address, device }: { readonly address: IpAddress; readonly device: string | undefined }): string {
  const where = address.bytes.every((byte) => byte === 0) ? '*' : address.text;
  return device === undefined ? where : `${where}%${device}`;
}
