// What a ruleset does with a packet that begins a connection, without sending one. Pure. Where a condition cannot be decided both ways
// are followed, and the answer says so: it never guesses.
import { contains, type IpAddress, type Network } from '../../protocol/address.ts';
import { assertNever } from '../../protocol/brand.ts';
import type { Protocol } from '../../protocol/ports.ts';
import type { Chain, Condition, Hook, Rule, Ruleset, Uncertainty, Verdict } from './ruleset.ts';

/** The first packet of a connection that our gate let pass, from a source that nobody knows yet. */
export type Packet = {
  readonly version: 4 | 6;
  readonly protocol: Protocol;
  readonly port: number;
  /** Name of the interface it comes in by. */
  readonly arrivesOn: string;
  /** This host's own addresses, or a network behind it. */
  readonly to: readonly IpAddress[] | Network;
  /** The interface it leaves by, when it is forwarded and that is known. */
  readonly leavesBy: string | undefined;
  readonly translated: boolean;
};

/** How the way through one rule or chain ends. */
type End = {
  readonly kind: 'accept' | 'drop' | 'reject' | 'return' | 'cannot-tell' | 'translate';
  readonly at: Place;
  readonly translation: Translation | undefined;
};
type Translation = Extract<Verdict, { kind: 'translate' }>;
/** An end that comes about only when a rule's condition holds which cannot be decided. */
type PossibleEnd = End & { readonly about: Uncertainty; readonly when: Place };

/** Where something is decided. Without a rule it is the chain's policy. */
export type Place = { readonly chain: Chain; readonly rule: Rule | undefined };

export type Fate =
  | { readonly kind: 'passes'; readonly hook: 'input' | 'forward' }
  | { readonly kind: 'blocked'; readonly how: 'drop' | 'reject'; readonly at: Place; readonly hook: Hook }
  /** Blocked, but for what these rules let in: some sources, addresses or times. */
  | {
      readonly kind: 'only-some';
      readonly how: 'drop' | 'reject';
      readonly at: Place;
      readonly unless: readonly Place[];
      readonly hook: Hook;
    }
  | { readonly kind: 'cannot-tell'; readonly at: Place };

/** Tunable: more possible ends than this is not a ruleset that a sentence describes. */
const MOST_ENDS = 64;
const HOOKS: readonly Hook[] = ['ingress', 'prerouting', 'input', 'forward'];

/**
 * The worst of all chains on the packet's way; what cannot be told counts only where nothing blocks for sure. `wayTo`: the interface by
 * which an address is reached, if that is known.
 */
export function fateOf(ruleset: Ruleset, packet: Packet, wayTo: (address: IpAddress) => string | undefined): Fate {
  const chains = new Map(ruleset.map((chain) => [chain.key, chain]));
  let now = packet;
  let local = Array.isArray(packet.to);
  let worst: Fate | undefined;
  for (const hook of HOOKS) {
    if (hook === (local ? 'forward' : 'input')) continue;
    for (const base of basesAt(ruleset, hook, now)) {
      const flow = new Walk(chains, now).chain(base);
      const translation = translationOf(flow, base);
      if (translation?.kind === 'cannot-tell') worst = worse(worst, translation);
      else if (translation !== undefined) {
        now = translated(now, translation, wayTo);
        local = Array.isArray(now.to);
        continue;
      }
      worst = worse(worst, judge(flow, base, hook));
    }
  }
  return worst ?? { kind: 'passes', hook: local ? 'input' : 'forward' };
}

type Flow = { readonly sure: End; readonly possible: readonly PossibleEnd[] };

/** One packet's walk; what a chain does with it is found out once, however often it is jumped to. */
class Walk {
  readonly #chains: ReadonlyMap<string, Chain>;
  readonly #packet: Packet;
  readonly #known = new Map<string, Flow>();

  constructor(chains: ReadonlyMap<string, Chain>, packet: Packet) {
    this.#chains = chains;
    this.#packet = packet;
  }

  chain(chain: Chain, from = 0): Flow {
    const key = `${from} ${chain.key}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    // The kernel refuses loops; a listing that holds one is not a ruleset, and its chain is left as if it were empty.
    this.#known.set(key, { sure: returnFrom({ chain, rule: undefined }), possible: [] });
    const flow = this.#walk(chain, from);
    this.#known.set(key, flow);
    return flow;
  }

  #walk(chain: Chain, from: number): Flow {
    const possible: PossibleEnd[] = [];
    for (let at = from; at < chain.rules.length; at += 1) {
      const rule = chain.rules[at];
      if (rule === undefined) break;
      const truth = holds(rule.condition, this.#packet);
      if (truth === false) continue;
      const place = { chain, rule };
      const inner = this.#verdict(rule.verdict, place);
      if (inner === undefined) continue;
      const returns = inner.possible.find(({ kind }) => kind === 'return');
      // What returns from a jump goes on with the next rule here; from a goto, with the caller's.
      const stays = rule.verdict.kind === 'jump';
      add(possible, stays ? inner.possible.filter(({ kind }) => kind !== 'return') : inner.possible);
      if (stays && inner.sure.kind === 'return') continue;
      if (truth !== true) {
        add(possible, [{ ...inner.sure, about: truth, when: place }]);
        continue;
      }
      if (stays && returns !== undefined) {
        const rest = this.chain(chain, at + 1);
        add(possible, [{ ...rest.sure, about: returns.about, when: returns.when }, ...rest.possible]);
      }
      return { sure: inner.sure, possible };
    }
    return { sure: returnFrom({ chain, rule: undefined }), possible };
  }

  /** Undefined: the packet goes on with the next rule, whatever the condition says. */
  #verdict(verdict: Verdict, at: Place): Flow | undefined {
    if (verdict.kind === 'continue') return undefined;
    if (verdict.kind === 'translate') return { sure: { kind: 'translate', at, translation: verdict }, possible: [] };
    if (verdict.kind !== 'jump' && verdict.kind !== 'goto')
      return { sure: { kind: verdict.kind, at, translation: undefined }, possible: [] };
    const target = this.#chains.get(verdict.chain);
    return target === undefined ? undefined : this.chain(target);
  }
}

function returnFrom(at: Place): End {
  return { kind: 'return', at, translation: undefined };
}

function add(ends: PossibleEnd[], more: readonly PossibleEnd[]): void {
  for (const end of more) {
    if (ends.length >= MOST_ENDS) return;
    if (!ends.some((other) => other.kind === end.kind && other.at.rule === end.at.rule && other.when.rule === end.when.rule))
      ends.push(end);
  }
}

/** Undefined when the chain lets the packet pass. */
function judge(flow: Flow, base: Chain, hook: Hook): Fate | undefined {
  const sure = atPolicy(flow.sure, base);
  const possible = flow.possible.map((end) => ({ ...end, ...atPolicy(end, base) }));
  if (flow.possible.length >= MOST_ENDS) return { kind: 'cannot-tell', at: { chain: base, rule: undefined } };
  if (sure.kind === 'cannot-tell') return { kind: 'cannot-tell', at: sure.at };
  const blocks = ({ kind }: End): boolean => kind === 'drop' || kind === 'reject';
  if (!blocks(sure)) {
    // Some sources may be shut out (a ban list, say): that is the neighbor's wish, and most still come in.
    const doubt = possible.find((end) => (blocks(end) || end.kind === 'cannot-tell') && end.about !== 'source');
    return doubt === undefined ? undefined : { kind: 'cannot-tell', at: doubt.when };
  }
  const how = sure.kind === 'reject' ? 'reject' : 'drop';
  const lets = possible.filter((end) => !blocks(end));
  const doubt = lets.find((end) => end.about === 'other' || end.kind === 'cannot-tell');
  if (doubt !== undefined) return { kind: 'cannot-tell', at: doubt.when };
  if (lets.length > 0) return { kind: 'only-some', how, at: sure.at, unless: lets.map(({ when }) => when), hook };
  return { kind: 'blocked', how, at: sure.at, hook };
}

function atPolicy(end: End, base: Chain): End {
  if (end.kind !== 'return') return end;
  return { kind: base.base?.policy ?? 'accept', at: { chain: base, rule: undefined }, translation: undefined };
}

const GRAVITY = { passes: 0, 'only-some': 1, 'cannot-tell': 2, blocked: 3 } as const satisfies Record<Fate['kind'], number>;

function worse(one: Fate | undefined, other: Fate | undefined): Fate | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return GRAVITY[other.kind] > GRAVITY[one.kind] ? other : one;
}

function translationOf(flow: Flow, base: Chain): Translation | Extract<Fate, { kind: 'cannot-tell' }> | undefined {
  if (base.base?.type !== 'nat') return undefined;
  const doubt = flow.possible.find(({ kind }) => kind === 'translate');
  if (doubt !== undefined) return { kind: 'cannot-tell', at: doubt.when };
  return flow.sure.translation;
}

function translated(packet: Packet, { address, port }: Translation, wayTo: (address: IpAddress) => string | undefined): Packet {
  const onward = { ...packet, port: port ?? packet.port, translated: true };
  if (address === undefined) return onward;
  const isOurs = Array.isArray(packet.to) && packet.to.some((own: IpAddress) => own.text === address.text);
  const width = address.family === 4 ? 32 : 128;
  return isOurs ? onward : { ...onward, to: { address, prefix: width, text: `${address.text}/${width}` }, leavesBy: wayTo(address) };
}

function basesAt(ruleset: Ruleset, hook: Hook, packet: Packet): readonly Chain[] {
  const families: readonly string[] = ['inet', 'netdev', packet.version === 4 ? 'ip' : 'ip6'];
  return ruleset
    .filter(({ base, family }) => base?.hook === hook && families.includes(family))
    .filter(({ base }) => hook !== 'ingress' || base?.devices.includes(packet.arrivesOn) === true)
    .sort((a, b) => (a.base?.priority ?? 0) - (b.base?.priority ?? 0));
}

/** True, false, or what it hangs on. */
type Truth = boolean | Uncertainty;

function holds(condition: Condition, packet: Packet): Truth {
  switch (condition.kind) {
    case 'always':
      return true;
    case 'never':
      return false;
    case 'family':
      return condition.version === packet.version;
    case 'protocol':
      return condition.name === packet.protocol;
    case 'port':
      return condition.first <= packet.port && packet.port <= condition.last;
    case 'arrives-on':
      return isNamed(packet.arrivesOn, condition.name);
    case 'leaves-by':
      return packet.leavesBy === undefined ? 'other' : isNamed(packet.leavesBy, condition.name);
    case 'to':
      return goesTo(packet, condition.network);
    case 'to-type':
      return condition.type === (Array.isArray(packet.to) ? 'local' : 'unicast');
    case 'translated':
      return packet.translated;
    case 'uncertain':
      return condition.about;
    case 'not': {
      const truth = holds(condition.of, packet);
      return typeof truth === 'boolean' ? !truth : truth;
    }
    case 'any':
      return combined(condition.of, packet, true);
    case 'all':
      return combined(condition.of, packet, false);
    default:
      return assertNever(condition);
  }
}

/** `settles` is the truth of one part that settles the whole. Of several uncertainties the least known one counts. */
function combined(parts: readonly Condition[], packet: Packet, settles: boolean): Truth {
  let doubt: Uncertainty | undefined;
  for (const part of parts) {
    const truth = holds(part, packet);
    if (truth === settles) return settles;
    if (typeof truth !== 'boolean' && doubt !== 'other') doubt = truth;
  }
  return doubt ?? !settles;
}

function isNamed(name: string, wanted: string): boolean {
  return wanted.endsWith('*') ? name.startsWith(wanted.slice(0, -1)) : name === wanted;
}

function goesTo({ to, version }: Packet, network: Network): Truth {
  if (network.address.family !== version) return false;
  if (!Array.isArray(to)) return overlapOf(to as Network, network);
  const inside = (to as readonly IpAddress[]).filter((address) => contains(network, address)).length;
  return inside === 0 ? false : inside === to.length ? true : 'destination';
}

function overlapOf(inner: Network, outer: Network): Truth {
  if (outer.prefix <= inner.prefix) return contains(outer, inner.address);
  return contains(inner, outer.address) ? 'destination' : false;
}
