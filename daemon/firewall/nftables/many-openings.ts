// A hundred thousand openings for a gate that is loaded anew: encoded in slices of time, so that nothing stands still for them. Which of
// them must be there at once, where none were before, is decided here too.
import { decodeAttributes, findAttribute, NFGENMSG_BYTES } from '../../netlink/message.ts';
import { pacing } from '../../pacing.ts';
import type { Opening, TimedOpening } from '../firewall.ts';
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

/**
 * Without a gate everything is open: what closes must not wait for a hundred thousand openings. Those without which live connections would
 * end go along, the others follow.
 */
export function inTwo(openings: readonly TimedOpening[]): {
  readonly atOnce: readonly TimedOpening[];
  readonly after: readonly TimedOpening[];
} {
  if (openings.length <= FEW_OPENINGS) return { atOnce: openings, after: [] };
  const isUrgent = ({ opening }: TimedOpening): boolean => ENDS_SESSIONS.has(opening.kind);
  return { atOnce: openings.filter(isUrgent), after: openings.filter((timed) => !isUrgent(timed)) };
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
