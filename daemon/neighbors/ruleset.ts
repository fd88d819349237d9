// Other people's rules in one form, whoever printed them (nft or iptables-save), as far as they matter to a packet that begins a
// connection. Types only: nothing is judged here.
import type { IpAddress, Network } from '../../protocol/address.ts';

/** What an uncertain condition hangs on: the client and what it sends, the time, the address it wants, or what we do not know. */
export type Uncertainty = 'source' | 'time' | 'destination' | 'other';

export type Condition =
  | { readonly kind: 'always' }
  | { readonly kind: 'never' }
  | { readonly kind: 'family'; readonly version: 4 | 6 }
  /** Lower case, as `tcp`, `udp`, `icmp`. */
  | { readonly kind: 'protocol'; readonly name: string }
  /** The destination port; both ends included. */
  | { readonly kind: 'port'; readonly first: number; readonly last: number }
  /** A name, or the beginning of one with a star. */
  | { readonly kind: 'arrives-on'; readonly name: string }
  | { readonly kind: 'leaves-by'; readonly name: string }
  | { readonly kind: 'to'; readonly network: Network }
  /** fib daddr type: local, unicast, multicast, broadcast … */
  | { readonly kind: 'to-type'; readonly type: string }
  /** Its destination was changed by an address translation. */
  | { readonly kind: 'translated' }
  | { readonly kind: 'uncertain'; readonly about: Uncertainty }
  | { readonly kind: 'not'; readonly of: Condition }
  | { readonly kind: 'any'; readonly of: readonly Condition[] }
  | { readonly kind: 'all'; readonly of: readonly Condition[] };

export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'reject' | 'return' | 'continue' }
  /** `chain` is the key of a chain. */
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }
  /** Address translation of the destination; undefined means that this part stays as it is. */
  | { readonly kind: 'translate'; readonly address: IpAddress | undefined; readonly port: number | undefined }
  /** It ends here, and we do not know how (a queue, a proxy). */
  | { readonly kind: 'cannot-tell' };

export type Rule = {
  /** As nft or iptables-save prints it. */
  readonly text: string;
  readonly condition: Condition;
  readonly verdict: Verdict;
};

export type Hook = 'ingress' | 'prerouting' | 'input' | 'forward';

export type Base = {
  readonly hook: Hook;
  readonly type: 'filter' | 'nat' | 'other';
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
  /** For ingress: the interfaces that it stands on. */
  readonly devices: readonly string[];
};

export type Chain = {
  /** Unique in the ruleset: backend, family, table, name. */
  readonly key: string;
  readonly family: 'ip' | 'ip6' | 'inet' | 'netdev';
  readonly table: string;
  readonly name: string;
  /** `legacy` is iptables-legacy: rules that nft does not see. */
  readonly backend: 'nft' | 'legacy';
  readonly base: Base | undefined;
  readonly rules: readonly Rule[];
};

export type Ruleset = readonly Chain[];

export const ALWAYS = { kind: 'always' } as const satisfies Condition;
export const NEVER = { kind: 'never' } as const satisfies Condition;

export function uncertain(about: Uncertainty): Condition {
  return { kind: 'uncertain', about };
}

/** A range that runs backwards holds no port: what made it was no tool that we know, and the kernel would never match it. */
export function portsFrom(first: number, last: number): Condition {
  return first <= last ? { kind: 'port', first, last } : NEVER;
}

export function not(of: Condition): Condition {
  return { kind: 'not', of };
}

export function allOf(of: readonly Condition[]): Condition {
  return of.length === 1 && of[0] !== undefined ? of[0] : { kind: 'all', of };
}

export function anyOf(of: readonly Condition[]): Condition {
  return of.length === 1 && of[0] !== undefined ? of[0] : { kind: 'any', of };
}
