// Would a knock be let in, and which rule decides? Asks the policy that the daemon itself asks, for the whole of the rules and then for each
// entry alone; it has no opinion of its own. Pure.
import { addressFromBytes, type IpAddress, parseAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import type { Request } from '../../protocol/knock.ts';
import type { Config } from '../config/config.ts';
import { overlap } from '../config/ranges.ts';
import { authorize } from '../policy/authorize.ts';
import type { AllowedService, Authorized } from '../policy/authorized.ts';
import { decideDefaults, decideRequest } from '../policy/match.ts';
import type { AllowEntry, Client, ClientKey } from '../rules/rulebook.ts';
import type { DropReason, Step } from '../step.ts';

export type Question = {
  readonly client: Client;
  /** Undefined: what is given when a knock names nothing. */
  readonly request: Request | undefined;
  /** Undefined: from wherever the rules make a difference, and from elsewhere. */
  readonly from: IpAddress | undefined;
  readonly at: UnixMs;
  readonly config: Pick<Config, 'services' | 'maxGrants'>;
  readonly liveGrants: number;
  readonly isLive: (address: IpAddress, service: AllowedService) => boolean;
};

export type Refusal = { readonly reason: DropReason; readonly detail: string };

/** What one entry says of the knock when it is asked alone. `reached`: it is the one that the policy asks. */
export type Candidate = { readonly entry: AllowEntry; readonly reached: boolean; readonly refusal: Refusal | undefined };

export type Answer = {
  readonly from: IpAddress;
  /** The client's key that gets furthest. */
  readonly key: ClientKey | undefined;
  readonly verdict: Step<Authorized> | Refusal;
  readonly candidates: readonly Candidate[];
};

/** One answer for each address that is asked about. Without keys nobody can knock: no policy is asked then. */
export function explain(question: Question): readonly Answer[] {
  const addresses = question.from === undefined ? addressesThatMatter(question.client) : [question.from];
  return addresses.map((address) => answer(question, address));
}

/** About the client, its key or the address, whatever the entries say. */
export function isAboutClient({ reason, detail }: Refusal): boolean {
  return CLIENT_REASONS.has(reason) || detail === NO_KEY;
}

/** Refused for where it comes from: from elsewhere it gets further. */
export function isAboutPlace({ reason }: Refusal): boolean {
  return reason === 'from-network' || reason === 'client-network';
}

const CLIENT_REASONS: ReadonlySet<DropReason> = new Set([
  'client-disabled',
  'client-expired',
  'client-network',
  'senseless-address',
  'max-grants',
]);
export const NO_KEY = 'the client has no key';

export function isAllowed({ verdict }: Answer): boolean {
  return 'pass' in verdict && verdict.pass;
}

function answer(question: Question, from: IpAddress): Answer {
  const { client } = question;
  const reached = decidingEntries(question);
  const asked = client.keys.map((key) => ({ key, step: ask(question, client, key, from) }));
  const best = asked.find(({ step }) => step.pass) ?? asked[0];
  const candidates = candidateEntries(question).map((entry): Candidate => {
    const step = best === undefined ? undefined : ask(question, { ...client, allow: [entry] }, best.key, from);
    return { entry, reached: reached.includes(entry), refusal: step === undefined || step.pass ? undefined : step };
  });
  const verdict = best?.step ?? { reason: 'not-allowed' as const, detail: NO_KEY };
  return { from, key: best?.key, verdict, candidates };
}

/** As `knock` asks: bound to its source, for as long as the rule gives. */
function ask(question: Question, client: Client, key: ClientKey, from: IpAddress): Step<Authorized> {
  const { request, at, config, liveGrants, isLive } = question;
  return authorize({
    body: {
      action: { kind: 'open', lifetimeSeconds: 0, once: false },
      source: { kind: 'bound', address: from },
      sourcePort: 0,
      requests: request === undefined ? [] : [request],
    },
    client,
    key,
    datagramSource: from,
    services: config.services,
    maxGrants: config.maxGrants,
    now: at,
    liveGrants,
    isLive,
  });
}

/** The entries that the policy asks: one for a request, several for what is given by default. */
function decidingEntries({ client, request, config }: Question): readonly AllowEntry[] {
  if (request === undefined) return decideDefaults(client).map(({ entry }) => entry);
  const decided = decideRequest(request, client, config.services);
  return decided.pass ? [decided.value.entry] : [];
}

/** Every entry that has to do with what is asked for, though another may be asked first. */
function candidateEntries({ client, request, config }: Question): readonly AllowEntry[] {
  if (request === undefined) return client.allow.filter(({ byDefault }) => byDefault);
  const wanted =
    request.kind === 'ports'
      ? [request.ports]
      : (config.services.get(request.name) ??
        client.allow.flatMap(({ services }) => services).find(({ name }) => name === request.name)?.ports ??
        []);
  return client.allow.filter(({ services }) =>
    services.some(({ ports }) => ports.some((range) => wanted.some((each) => overlap(range, each)))),
  );
}

/** The ends of every network that a rule names, and addresses of no network of the rules: among them the rules tell every difference. */
function addressesThatMatter(client: Client): readonly IpAddress[] {
  const networks = [...client.allow.flatMap(({ from }) => from ?? []), ...client.keys.flatMap(({ from }) => from ?? [])];
  const ends = networks.flatMap(({ address, prefix }) => [address, lastOf(address, prefix)]);
  const elsewhere = ['198.51.100.1', '2001:db8::1'].flatMap((text) => {
    const parsed = parseAddress(text);
    return parsed.ok ? [parsed.value] : [];
  });
  return [...new Map([...elsewhere, ...ends].map((address) => [address.text, address])).values()];
}

function lastOf(address: IpAddress, prefix: number): IpAddress {
  return addressFromBytes(address.bytes.map((byte, at) => byte | (0xff >> Math.min(8, Math.max(0, prefix - at * 8)))));
}
