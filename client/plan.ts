// A knock as it was decided, before anything is sent: who, what, where, how often. Plain data and one rule about how many packets it may take.
import type { IpAddress } from '../protocol/address.ts';
import type { SecretKey } from '../protocol/identity.ts';
import type { KnockBody } from '../protocol/knock.ts';
import type { Pairing } from '../protocol/pairing.ts';
import type { Resolved } from './resolve.ts';
import type { ProbePlan } from './services.ts';
import type { SlotDrawer } from './slots.ts';
import type { SettledMode } from './source.ts';
import type { TimeSource } from './time-source.ts';

export type KnockPlan = {
  /** As the user typed it. */
  readonly host: string;
  readonly resolved: Resolved;
  readonly knockPort: number;
  readonly action: KnockBody['action'];
  readonly requests: KnockBody['requests'];
  readonly source: SettledMode;
  /** Addresses of this machine to send from, at most one for each family; none: the system's choice. */
  readonly from: readonly IpAddress[];
  /** The port that the user will connect from, 0 = any. */
  readonly sourcePort: number;
  readonly time: TimeSource;
  /** Added to this machine's time when a knock is signed; the system's clock is not touched. */
  readonly correctionMs: number;
  readonly secret: SecretKey;
  readonly pairing: Pairing;
  readonly slots: SlotDrawer;
  readonly attempts: Attempts;
  readonly timeoutMs: number;
  readonly probes: ProbePlan;
  /** Why the result is not checked, or undefined when it is. */
  readonly unchecked: string | undefined;
};

/** How many addresses are knocked at, and how often each. */
export type Attempts = { readonly addresses: number; readonly perAddress: number };

// Fixed by cli.md.
export const DEFAULT_KNOCK_PORT = 62201;
const DEFAULT_RETRIES = 3;

/**
 * P16b: by default one run spends at most half of a minute's slots, so that a second run in the same minute still has its own.
 * Whoever asks for more retries may spend them all.
 */
export function budgetAttempts(addresses: number, slots: number, retries: number | undefined): Attempts {
  const wanted = (retries ?? DEFAULT_RETRIES) + 1;
  const budget = Math.max(1, retries === undefined ? Math.floor(slots / 2) : slots);
  const knockedAt = Math.min(addresses, budget);
  return { addresses: knockedAt, perAddress: Math.max(1, Math.min(wanted, Math.floor(budget / knockedAt))) };
}
