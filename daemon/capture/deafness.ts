// Notices that knocks pass the sieve and never arrive: a firewall behind the sieve drops them, which no ruleset read beforehand can rule out.
// For captures that packets reach through the whole of the host's firewall (raw, udp). Decides nothing else.
import type { Firewall } from '../firewall/firewall.ts';
import type { Capture } from './capture.ts';

/** Knocks that the sieve let through, and datagrams that the capture got. */
export type HeardSoFar = { readonly passed: number; readonly arrived: number };

/** Ask at regular intervals: what is wrong, or nothing. */
export function deafnessWatch(firewall: Pick<Firewall, 'counters'>, capture: Pick<Capture, 'counters'>): () => Promise<string | undefined> {
  let judge: ReturnType<typeof judgeDeafness> | undefined;
  return async () => {
    const { knocks } = await firewall.counters();
    const { seen, malformed } = capture.counters();
    const now = { passed: knocks, arrived: seen + malformed };
    if (judge !== undefined) return judge(now);
    judge = judgeDeafness(now);
    return undefined;
  };
}

/**
 * Pure but for its memory of the last two looks. What passed in the interval before the last one must have arrived by now: a knock that is on
 * its way at the moment of a look is no alarm. A counter that begins anew is none either.
 */
export function judgeDeafness(start: HeardSoFar): (now: HeardSoFar) => string | undefined {
  let before = start;
  let last = start;
  return (now) => {
    const passed = last.passed - before.passed;
    const isDeaf = passed > 0 && now.arrived === before.arrived;
    before = last;
    last = now;
    return isDeaf ? 'knocks pass the sieve and never arrive: another firewall of this host drops them (set capture: nflog)' : undefined;
  };
}
