// What policy hands to the grant table: who, from where, and exactly which openings for how long.
import type { IpAddress } from '../../protocol/address.ts';
import type { PortRange } from '../../protocol/ports.ts';
import type { GrantKind } from '../firewall/firewall.ts';
import type { Hooks } from '../hooks/hook.ts';

/** One service that was allowed, by one allow entry. */
export type AllowedService = {
  /** As the log and `grants` show it: the service's name, or tcp/22. */
  readonly label: string;
  readonly ports: readonly PortRange[];
  readonly kind: GrantKind;
  /** For `bound` and `bound-ending`, else 0. */
  readonly sourcePort: number;
  /** Shortest of wanted and maximum. */
  readonly lifetimeSeconds: number;
  readonly hooks: Hooks;
};

export type Authorized = { readonly address: IpAddress; readonly services: readonly AllowedService[] };
