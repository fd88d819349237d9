// A hundred thousand openings for a gate that is loaded anew: encoded in slices of time, so that nothing stands still for them. Which of
// them must be there at once, where none were before, is decided here too.
import { decodeAttributes, findAttribute, NFGENMSG_BYTES } from '../../netlink/message.ts';
import { pacing } from '../../pacing.ts';
import { admitsOnce, type Opening, type TimedOpening } from '../firewall.ts';
import { cutNames, type EncodedOpenings, openingRequests } from './changes.ts';
import { shortenTimeouts } from './element-list.ts';
import { NFTA_SET_ELEM_LIST } from './kernel.ts';
import type { Request } from './requests.ts';

// Tunable
/** So many take 10 ms to encode and 2 ms in the kernel: they go out in one piece with the gate. */
export const FEW_OPENINGS = 1000;
const ENCODED_AT_ONCE = 100;

/** Connections that were let in by one of these end when it is missing for a moment. */
const ENDS_SESSIONS: ReadonlySet<Opening['kind']> = new Set<Opening['kind']>(['ending', 'bound-ending', 'once-ending', 'lasting']);

/** Which go out with the gate, which of those are encoded at the last moment, and which follow it. */
export type Parts = {
  readonly early: readonly TimedOpening[];
  /** One-shots: what is used until then must not stand again. */
  readonly late: readonly TimedOpening[];
  readonly after: readonly TimedOpening[];
};

export function allAtOnce(openings: readonly TimedOpening[]): Parts {
  return { early: openings, late: [], after: [] };
}

/**
 * Where no gate stands (`fresh`) everything is open: what closes must not wait for a hundred thousand openings. Those without which live
 * connections would end go along, the others follow. Where one stands, all go along.
 */
export async function inParts(openings: readonly TimedOpening[], fresh: boolean): Promise<Parts> {
  const pace = pacing();
  const [early, oneShots, after]: [TimedOpening[], TimedOpening[], TimedOpening[]] = [[], [], []];
  for (const timed of openings) {
    const { kind } = timed.opening;
    if (fresh) (ENDS_SESSIONS.has(kind) ? early : after).push(timed);
    else (admitsOnce(kind) ? oneShots : early).push(timed);
    await pace();
  }
  // Not more of them than can be encoded without holding up a knock.
  if (oneShots.length <= FEW_OPENINGS) return { early, late: oneShots, after };
  return { early: openings, late: [], after };
}

/** What remains of each is counted from `sinceMs` (performance.now()): encoding a hundred thousand takes a second. */
export async function encodeMany(table: string, openings: readonly TimedOpening[], sinceMs: number): Promise<EncodedOpenings> {
  const pace = pacing();
  const requests: Request[] = [];
  const names = new Set<string>();
  for (let from = 0; from < openings.length; from += ENCODED_AT_ONCE) {
    const some = openings.slice(from, from + ENCODED_AT_ONCE);
    requests.push(...openingRequests(table, some));
    for (const name of cutNames(some)) names.add(name);
    await pace();
  }
  for (const { payload } of requests) {
    const elements = findAttribute(decodeAttributes(payload.subarray(NFGENMSG_BYTES)), NFTA_SET_ELEM_LIST.ELEMENTS);
    if (elements !== undefined) shortenTimeouts(elements, performance.now() - sinceMs);
    await pace();
  }
  return { requests, cutNames: names };
}
