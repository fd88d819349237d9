// What a knock says, as exact types (SPEC "Body"). No encoding, no cryptography: see packet.ts.
import type { IpAddress } from './address.ts';
import type { UnixMs } from './brand.ts';
import type { PortRange } from './ports.ts';

/** A service name as knocks, rules and configuration use it: 1 to 32 of `[a-z0-9-]`. */
export const SERVICE_NAME = /^[a-z0-9-]{1,32}$/;

/** One thing that a knock asks for. */
export type Request = { readonly kind: 'ports'; readonly ports: PortRange } | { readonly kind: 'service'; readonly name: string };

/** What the client wants to happen. A close carries neither lifetime nor one-shot bit: SPEC calls that malformed. */
export type Action = { readonly kind: 'open'; readonly lifetimeSeconds: number; readonly once: boolean } | { readonly kind: 'close' };

/** The address the client says it knocks for. */
export type KnockSource = { readonly kind: 'unbound' } | { readonly kind: 'bound'; readonly address: IpAddress };

/** The signed content of a knock. `lifetimeSeconds` 0 means the rule's default; `sourcePort` 0 means any. */
export type KnockBody = {
  readonly action: Action;
  readonly sentAtMs: UnixMs;
  readonly source: KnockSource;
  readonly sourcePort: number;
  readonly requests: readonly Request[];
};
