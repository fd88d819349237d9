// Notices that knocks pass the sieve and never arrive: a firewall behind the sieve drops them, which no ruleset read beforehand can rule out.
// For captures that packets reach through the whole of the host's firewall (raw, udp). Decides nothing else.
import type { CounterSnapshot } from '../counters.ts';
import type { Firewall } from '../firewall/firewall.ts';
import type { Capture } from './capture.ts';

/** Knocks that the sieve let through, and those that arrived: each got a decision, was no whole datagram, or found our queue full. */
export type HeardSoFar = { readonly passed: number; readonly arrived: number };

export type Ears = {
  readonly firewall: Pick<Firewall, 'counters'>;
  readonly capture: Pick<Capture, 'counters'>;
  readonly decisions: () => CounterSnapshot;
};

/** Ask at regular intervals: what is wrong, or nothing. */
export function deafnessWatch({ firewall, capture, decisions }: Ears): () => Promise<string | undefined> {
  let judge: ReturnType<typeof judgeDeafness> | undefined;
  return async () => {
    const { knocks } = await firewall.counters();
    const { malformed, lost } = capture.counters();
    const now = { passed: knocks, arrived: knocksDecided(decisions()) + malformed + lost };
    if (judge !== undefined) return judge(now);
    judge = judgeDeafness(now);
    return undefined;
  };
}

/**
 * Remembers what was missing before. What had passed at the last look must have arrived by now: a knock that is on its way at the moment of a
 * look is no alarm.
 */
export function judgeDeafness(start: HeardSoFar): (now: HeardSoFar) => string | undefined {
  let base = start;
  let last = start;
  let known = 0;
  return (now) => {
    const missing = last.passed - base.passed - (now.arrived - base.arrived);
    const isNew = missing > known;
    known = Math.max(known, missing);
    // A gate that was taken down counts from 0 when it is up again.
    if (now.passed < last.passed) {
      base = now;
      known = 0;
    }
    last = now;
    return isNew ? 'knocks pass the sieve and never arrive: another firewall of this host drops them (set capture: nflog)' : undefined;
  };
}

/** Decisions about packets whose tag the sieve had let through: junk and replays did not come with one. */
function knocksDecided({ granted, closed, dropped }: CounterSnapshot): number {
  const all = Object.values(dropped).reduce((sum, count) => sum + count, granted + closed);
  return all - dropped.length - dropped['unknown-tag'] - dropped.replay;
}
