// What an administrator may open by hand, for whom and from where: from words to what the grant keeper takes. Pure; asks no rule.
import { contains, type IpAddress, parseAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { formatDuration } from '../../protocol/duration.ts';
import { formatPortRange, type PortRange, parsePortRange } from '../../protocol/ports.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { didYouMean } from '../config/nearest.ts';
import { countPorts, coveredBy } from '../config/ranges.ts';
import { NO_HOOKS } from '../hooks/hook.ts';
import type { AllowedService, Authorized } from '../policy/authorized.ts';
import { senselessAddress } from '../policy/settle.ts';
import { quoted } from '../problem.ts';
import { MAX_PORTS_AT_ONCE } from '../rules/limits.ts';
import type { Client } from '../rules/rulebook.ts';
import { BY_HAND, type Grant } from './grant-book.ts';
import type { Owner } from './grant-keeper.ts';

export type OrderByHand = {
  /** A client's name or an address. */
  readonly who: string;
  /** The address of the client, if `who` is one. */
  readonly from: string | undefined;
  readonly services: readonly string[];
  readonly ttlSeconds: number | undefined;
  readonly once: boolean;
};

export type ByHandContext = {
  readonly config: Pick<Config, 'services' | 'protect' | 'trusted' | 'defaultTtlSeconds'>;
  readonly clients: readonly Client[];
  /** Live grants of a client. */
  readonly grantsOf: (client: string) => readonly Grant[];
  readonly now: UnixMs;
};

export type ByHand = { readonly owner: Owner; readonly authorized: Authorized; readonly notes: readonly string[] };

/** Stands for a client where there is none; no client can be called so. */
const NOBODY = '-';
const LONGEST_SECONDS = 30 * 86_400;

/** Throws a CommandError that says what is wrong with the order. */
export function readByHand(order: OrderByHand, context: ByHandContext): ByHand {
  const { config } = context;
  const lifetimeSeconds = order.ttlSeconds ?? config.defaultTtlSeconds;
  if (lifetimeSeconds < 1 || lifetimeSeconds > LONGEST_SECONDS)
    throw wrong(`a grant lasts from 1s to ${formatDuration(LONGEST_SECONDS)}, not ${formatDuration(lifetimeSeconds)}`);
  const { client, address } = whoAndWhere(order, context);
  const notes: string[] = [];
  const trusted = config.trusted.find((network) => contains(network, address));
  if (trusted !== undefined) notes.push(`${address.text} is in the trusted network ${trusted.text}: nothing is closed for it anyway`);
  const services = new Map<string, AllowedService>();
  for (const text of order.services) {
    const { label, ports } = readService(text, config);
    const open = ports.filter((range) => !coveredBy(config.protect, range));
    if (open.length === ports.length) throw wrong(`${label} is not protected: it is open to everybody already`);
    for (const range of open) notes.push(`${formatPortRange(range)} of ${label} is not protected: it is open to everybody already`);
    services.set(label, { label, ports, kind: order.once ? 'once' : 'grant', sourcePort: 0, lifetimeSeconds, hooks: NO_HOOKS });
  }
  const count = countPorts([...services.values()].flatMap(({ ports }) => ports));
  if (count > MAX_PORTS_AT_ONCE) throw wrong(`${count} ports at once, and at most ${MAX_PORTS_AT_ONCE} can be granted: name fewer`);
  return { owner: { client, key: BY_HAND }, authorized: { address, services: [...services.values()] }, notes };
}

function whoAndWhere({ who, from }: OrderByHand, context: ByHandContext): { readonly client: string; readonly address: IpAddress } {
  if (parseAddress(who).ok) {
    if (from !== undefined) throw wrong(`${quoted(who)} is an address already: leave out --from, or name a client`);
    return { client: NOBODY, address: readAddress(who) };
  }
  const client = context.clients.find(({ name }) => name === who);
  if (client === undefined) {
    const cure = didYouMean(
      who,
      context.clients.map(({ name }) => name),
      'name a client of the rules, or an address',
    );
    throw wrong(`no client is called ${quoted(who)}, and it is no address: ${cure}`);
  }
  const isOver = client.expiresAtMs !== undefined && client.expiresAtMs <= context.now;
  if (!client.enabled || isOver)
    throw new CommandError(
      1,
      `client "${who}" ${client.enabled ? 'has expired' : 'is disabled'}: to let somebody in all the same, grant the address`,
    );
  if (from !== undefined) return { client: who, address: readAddress(from) };
  const known = new Map(context.grantsOf(who).map(({ address }) => [address.text, address]));
  const [only, ...more] = known.values();
  if (only === undefined) throw wrong(`where client "${who}" is cannot be known, as nothing is open for it: add --from ADDRESS`);
  if (more.length > 0) throw wrong(`client "${who}" is in from ${[...known.keys()].slice(0, 8).join(', ')}: say which with --from ADDRESS`);
  return { client: who, address: only };
}

function readAddress(text: string): IpAddress {
  const address = parseAddress(text);
  if (!address.ok) throw wrong(`${address.why}: write one like 198.51.100.7 or 2001:db8::7`);
  const sense = senselessAddress(address.value);
  if (sense !== undefined) throw wrong(`nobody connects from ${address.value.text} (${sense}): write the address that the server sees`);
  return address.value;
}

function readService(text: string, config: ByHandContext['config']): { readonly label: string; readonly ports: readonly PortRange[] } {
  const named = config.services.get(text);
  if (named !== undefined) return { label: text, ports: named };
  const range = parsePortRange(text);
  if (range.ok) return { label: formatPortRange(range.value), ports: [range.value] };
  if (text.includes('/')) throw wrong(range.why);
  const cure = didYouMean(text, config.services.keys(), 'write a name of "services" in the configuration, or a port like tcp/22');
  throw wrong(`no service is called ${quoted(text)}: ${cure}`);
}

function wrong(message: string): CommandError {
  return new CommandError(2, message);
}
