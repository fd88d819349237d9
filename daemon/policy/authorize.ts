// Decides what an authentic knock may open, for which address and for how long (SPEC "What the server does", steps 7 to 9).
// Pure: no clock, no firewall, no ledger. It grants nothing itself.
import { contains, type IpAddress, type Network } from '../../protocol/address.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { countPorts } from '../config/ranges.ts';
import type { GrantKind } from '../firewall/firewall.ts';
import { MAX_PORTS_AT_ONCE } from '../rules/limits.ts';
import type { AllowEntry, Client, ClientKey } from '../rules/rulebook.ts';
import { windowEnd } from '../rules/time-window.ts';
import { drop, pass, type Step } from '../step.ts';
import type { AllowedService, Authorized } from './authorized.ts';
import { type Decided, decideDefaults, decideRequest, type ServicePorts } from './match.ts';
import { type Settled, settleAddress } from './settle.ts';

export type AuthorizeInput = {
  readonly body: Pick<KnockBody, 'action' | 'source' | 'sourcePort' | 'requests'>;
  readonly client: Client;
  readonly key: Pick<ClientKey, 'expiresAtMs' | 'from'>;
  readonly datagramSource: IpAddress;
  /** Config.services. */
  readonly services: ServicePorts;
  /** Config.maxGrants. */
  readonly maxGrants: number;
  readonly now: UnixMs;
  /** Live grants of this client, whatever their address. */
  readonly liveGrants: number;
  /** Whether this would only prolong a grant that is counted there. */
  readonly isLive: (address: IpAddress, service: AllowedService) => boolean;
};

/** Everything that the knock gets, or the one reason why it gets nothing: all or nothing. Not for a close: see `authorizeClose`. */
export function authorize(input: AuthorizeInput): Step<Authorized> {
  const { body, client } = input;
  const settled = settleAddress(
    body.source,
    input.datagramSource,
    client.allow.some((entry) => entry.onBehalf),
  );
  if (!settled.pass) return settled;
  const { address } = settled.value;
  const standing = clientStands(client, input.key, input.now);
  if (!standing.pass) return standing;
  if (input.key.from !== undefined && !within(input.key.from, address)) return drop('client-network', address.text);

  const decided = body.requests.length === 0 ? defaults(input, address) : requested(input, address);
  if (!decided.pass) return decided;
  const services: AllowedService[] = [];
  for (const { service, entry } of decided.value) {
    const allowed = allow(input, settled.value, service, entry);
    if (!allowed.pass) return allowed;
    if (!services.some((other) => other.label === allowed.value.label)) services.push(allowed.value);
  }
  const ports = countPorts(services.flatMap((service) => service.ports));
  if (ports > MAX_PORTS_AT_ONCE) return drop('not-allowed', `${ports} ports at once, at most ${MAX_PORTS_AT_ONCE}`);
  const fresh = services.filter((service) => !input.isLive(address, service)).length;
  if (fresh > 0 && input.liveGrants + fresh > input.maxGrants)
    return drop('max-grants', `${input.liveGrants} live, ${input.maxGrants} allowed`);
  return pass({ address, services });
}

/** SPEC "Close": no rule is needed, only an enabled client. Gives the address whose grants end. */
export function authorizeClose(input: Pick<AuthorizeInput, 'body' | 'client' | 'key' | 'datagramSource' | 'now'>): Step<IpAddress> {
  const settled = settleAddress(
    input.body.source,
    input.datagramSource,
    input.client.allow.some((entry) => entry.onBehalf),
  );
  if (!settled.pass) return settled;
  if (!input.client.enabled) return drop('client-disabled');
  return pass(settled.value.address);
}

function clientStands(client: Client, key: Pick<ClientKey, 'expiresAtMs'>, now: UnixMs): Step<true> {
  if (!client.enabled) return drop('client-disabled');
  if (client.expiresAtMs !== undefined && now >= client.expiresAtMs) return drop('client-expired');
  if (key.expiresAtMs !== undefined && now >= key.expiresAtMs) return drop('client-expired', 'this key of the client has expired');
  return pass(true);
}

function requested(input: AuthorizeInput, address: IpAddress): Step<readonly Decided[]> {
  const out: Decided[] = [];
  for (const request of input.body.requests) {
    const decided = decideRequest(request, input.client, input.services);
    if (!decided.pass) return decided;
    if (!holdsFor(decided.value.entry, address)) return drop('from-network', decided.value.service.name);
    out.push(decided.value);
  }
  return pass(out);
}

/**
 * "All that the rule gives by default" is what it gives here and now: an entry for other networks or another time gives nothing, and does
 * not spoil the rest. Only if every entry is such a one is that the reason.
 */
function defaults({ client, now }: AuthorizeInput, address: IpAddress): Step<readonly Decided[]> {
  const all = decideDefaults(client);
  if (all.length === 0) return drop('nothing-by-default');
  const here = all.filter(({ entry }) => holdsFor(entry, address));
  if (here.length === 0) return drop('from-network', names(all));
  const today = here.filter(({ entry }) => secondsInWindow(entry, now, 1) >= 1);
  return today.length === 0 ? drop('not-now', names(here)) : pass(today);
}

function names(decided: readonly Decided[]): string {
  return decided.map(({ service }) => service.name).join(' ');
}

function allow(input: AuthorizeInput, settled: Settled, service: Decided['service'], entry: AllowEntry): Step<AllowedService> {
  const { body, client, key, now } = input;
  if (body.action.kind !== 'open') throw new TypeError('authorize: a close is not an open');
  if (settled.how === 'other' && !entry.onBehalf) return drop('relayed', `${service.name} is not given on behalf of others`);
  if (settled.how === 'unbound' && entry.requireSource) return drop('source-required', service.name);
  const once = entry.once || body.action.once;
  // One element of the gate says "once" or "from this port", never both.
  if (body.sourcePort !== 0 && once) return drop('source-port', `${service.name} is one-shot`);
  const wanted = body.action.lifetimeSeconds === 0 ? entry.ttlSeconds : Math.min(body.action.lifetimeSeconds, entry.maxTtlSeconds);
  const inWindow = secondsInWindow(entry, now, wanted);
  if (inWindow < 1) return drop('not-now', service.name);
  return pass({
    label: service.name,
    ports: service.ports,
    kind: kindOf(once ? 'once' : body.sourcePort !== 0 ? 'bound' : 'grant', entry.sessions),
    sourcePort: body.sourcePort,
    lifetimeSeconds: Math.min(inWindow, secondsLeft(client.expiresAtMs, now), secondsLeft(key.expiresAtMs, now)),
    hooks: entry.hooks,
  });
}

/** The rule's "connections end with the grant" cannot be got around by asking for one connection, or for one from a certain port. */
function kindOf(admits: 'grant' | 'bound' | 'once', sessions: AllowEntry['sessions']): GrantKind {
  if (sessions === 'keep') return admits;
  return admits === 'grant' ? 'ending' : `${admits}-ending`;
}

/** No grant outlives its client: what is left, at least a second, as the client had not expired a moment ago. */
function secondsLeft(expiresAtMs: UnixMs | undefined, now: UnixMs): number {
  return expiresAtMs === undefined ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor((expiresAtMs - now) / 1000));
}

/** Of the seconds that are wanted, those in which the entry's time window still holds; 0 when it does not hold now. Whole ones: no grant outlives its window. */
function secondsInWindow({ when }: AllowEntry, now: UnixMs, wantedSeconds: number): number {
  if (when === undefined) return wantedSeconds;
  const end = windowEnd(when, now, unixMs(now + wantedSeconds * 1000));
  return end === undefined ? 0 : Math.floor((end - now) / 1000);
}

function holdsFor(entry: AllowEntry, address: IpAddress): boolean {
  return entry.from === undefined || within(entry.from, address);
}

function within(networks: readonly Network[], address: IpAddress): boolean {
  return networks.some((network) => contains(network, address));
}
