// Counts what was decided, one counter for each way a knock can end. For `status`; decides nothing.
import type { Decision } from './decision.ts';
import { isByHand } from './grants/grant-book.ts';
import type { DropReason } from './step.ts';

/** The compiler keeps this list complete: a reason without a counter does not compile. */
const NONE: Readonly<Record<DropReason, 0>> = {
  length: 0,
  'unknown-tag': 0,
  seal: 0,
  malformed: 0,
  'window-mismatch': 0,
  signature: 0,
  replay: 0,
  'ledger-unwritable': 0,
  'clock-ahead': 0,
  stale: 0,
  relayed: 0,
  'source-required': 0,
  'senseless-address': 0,
  'client-disabled': 0,
  'client-expired': 0,
  'client-network': 0,
  'unknown-service': 0,
  'not-allowed': 0,
  'nothing-by-default': 0,
  'from-network': 0,
  'not-now': 0,
  'source-port': 0,
  'max-grants': 0,
  superseded: 0,
  firewall: 0,
};

export type CounterSnapshot = {
  readonly granted: number;
  readonly closed: number;
  readonly revoked: number;
  readonly ended: number;
  readonly dropped: Readonly<Record<DropReason, number>>;
};

export class Counters {
  readonly #kinds = { granted: 0, closed: 0, revoked: 0, ended: 0 };
  readonly #dropped: Record<DropReason, number> = { ...NONE };

  /** An Observer, as a method. */
  observe(decision: Decision): void {
    if (decision.kind === 'dropped') this.#dropped[decision.reason] += 1;
    // What an administrator opened is no knock.
    else if (decision.kind !== 'granted' || !decision.grants.some(isByHand)) this.#kinds[decision.kind] += 1;
  }

  /** As of now; later decisions do not change it. */
  snapshot(): CounterSnapshot {
    return { ...this.#kinds, dropped: { ...this.#dropped } };
  }
}
