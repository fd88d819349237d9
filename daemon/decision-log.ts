// Which decisions become lines of the log, in a fixed vocabulary: granted, refused, closed, revoked, ended; junk and left out as sums.
// Junk is never listed one by one: whoever sends it would write our log.
import type { Clock, MonotonicMs } from './clock.ts';
import type { Decision, Observer } from './decision.ts';
import { isByHand } from './grants/grant-book.ts';
import { LineLimiter, senderKey } from './line-limiter.ts';
import type { DropReason } from './step.ts';

/** What this needs of a log: pino's Logger has it. */
export type DecisionSink = {
  readonly info: (fields: object, message: string) => void;
  readonly warn: (fields: object, message: string) => void;
  readonly error: (fields: object, message: string) => void;
};

/** An observer that also tells, on `flush`, what it has summed up; `everything` at the end of the process. */
export type DecisionLog = Observer & { readonly flush: (everything?: boolean) => void };

// Tunable
const JUNK_PERIOD_MS = 60_000;

/** How each kind of refusal is told. The compiler keeps the list complete. */
const TOLD: Readonly<Record<DropReason, 'sum' | 'warn' | 'error'>> = {
  // Nobody, or nobody who can show that he is somebody.
  length: 'sum',
  'unknown-tag': 'sum',
  seal: 'sum',
  malformed: 'sum',
  'window-mismatch': 'sum',
  signature: 'sum',
  replay: 'sum',
  // A client whom we know.
  'clock-ahead': 'warn',
  stale: 'warn',
  relayed: 'warn',
  'source-required': 'warn',
  'senseless-address': 'warn',
  'client-disabled': 'warn',
  'client-expired': 'warn',
  'client-network': 'warn',
  'unknown-service': 'warn',
  'not-allowed': 'warn',
  'nothing-by-default': 'warn',
  'from-network': 'warn',
  'not-now': 'warn',
  'source-port': 'warn',
  'max-grants': 'warn',
  superseded: 'warn',
  // Our own failure: a client who may was not let in.
  'ledger-unwritable': 'error',
  firewall: 'error',
};

/** One line for each decision with client, address, services, reason. Call `flush` from time to time: it has no timer of its own. */
export function logDecisions(log: DecisionSink, clock: Pick<Clock, 'monotonic'>): DecisionLog {
  const limiter = new LineLimiter();
  const junk = new Map<DropReason, number>();
  let junkSince: MonotonicMs | undefined;

  const tellSums = (now: MonotonicMs, everything: boolean): void => {
    for (const { key, count } of limiter.sweep(now, everything)) log.warn({ ...fieldsOfKey(key), count }, 'left out');
    if (junkSince === undefined || (!everything && now - junkSince < JUNK_PERIOD_MS)) return;
    log.info(Object.fromEntries(junk), 'junk');
    junk.clear();
    junkSince = undefined;
  };

  const tellRefusal = (decision: Extract<Decision, { kind: 'dropped' }>, now: MonotonicMs): void => {
    const { reason, detail, client, address } = decision;
    const told = TOLD[reason];
    if (told === 'sum') {
      junk.set(reason, (junk.get(reason) ?? 0) + 1);
      junkSince ??= now;
      return;
    }
    // By client, so that one who knocks in vain does not hide another.
    if (!limiter.admit(`${reason} ${client === undefined ? `from ${senderKey(address)}` : `client ${client}`}`, now)) return;
    log[told]({ client, address: address.text, reason, ...(detail === '' ? {} : { detail }) }, 'refused');
  };

  const observe = (decision: Decision): void => {
    const now = clock.monotonic();
    tellSums(now, false);
    if (decision.kind === 'dropped') {
      tellRefusal(decision, now);
      return;
    }
    const { client, address, services } = decision;
    const by = decision.grants.some(isByHand) ? { by: 'administrator' } : {};
    const fields = { client, address: address.text, services, ...by };
    if (decision.kind === 'granted') {
      log.info({ ...fields, lifetime_seconds: decision.lifetimeSeconds, prolonged: decision.prolonged }, 'granted');
    } else {
      log.info({ ...fields, why: decision.why }, decision.kind);
    }
  };

  return Object.assign(observe, { flush: (everything = false) => tellSums(clock.monotonic(), everything) });
}

/** The reverse of a limiter's key: `not-allowed client alice`. */
function fieldsOfKey(key: string): object {
  const [, reason = key, kind, who] = /^(\S+) (client|from) (.*)$/s.exec(key) ?? [];
  return kind === undefined ? { reason } : { reason, [kind]: who };
}
