// Which live grants stand on nothing any more when the rules or the date have changed. In slices of time; ends nothing itself.
import { contains } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { keyId } from '../../protocol/identity.ts';
import { coveredBy } from '../config/ranges.ts';
import { pacing } from '../pacing.ts';
import type { Client, RuleBook } from '../rules/rulebook.ts';
import { type Grant, isByHand } from './grant-book.ts';

/** Tunable: nobody reads a hundred sentences. */
const MOST_NOTES = 5;
/** The client of a grant that an administrator opened for an address alone. */
const NOBODY = '-';

export type Footing = {
  /** P39: their client is gone, disabled or expired, or has lost the key. */
  readonly orphans: readonly Grant[];
  /** What stands although an administrator may think otherwise. */
  readonly notes: readonly string[];
  /** When the next client or key expires: ask again then. */
  readonly nextExpiryMs: number;
};

/** Looks at each grant once. */
export async function footingOf(grants: Iterable<Grant>, book: RuleBook, now: UnixMs): Promise<Footing> {
  const pace = pacing();
  let nextExpiryMs = Number.POSITIVE_INFINITY;
  const isOver = (expiresAtMs: UnixMs | undefined): boolean => {
    if (expiresAtMs === undefined) return false;
    if (expiresAtMs > now) nextExpiryMs = Math.min(nextExpiryMs, expiresAtMs);
    return expiresAtMs <= now;
  };
  const clients = new Map<string, Client>();
  const holders = new Set<string>();
  for (const client of book.clients) {
    const { name, enabled, expiresAtMs, keys } = client;
    if (!enabled || isOver(expiresAtMs)) continue;
    clients.set(name, client);
    for (const key of keys) if (!isOver(key.expiresAtMs)) holders.add(`${name} ${keyId(key.publicKey)}`);
    await pace();
  }
  const orphans: Grant[] = [];
  const notes: string[] = [];
  for (const grant of grants) {
    const client = clients.get(grant.client);
    if (isByHand(grant)) {
      if (client === undefined && grant.client !== NOBODY) notes.push(`${told(grant)}, opened by hand, although that client is out`);
    } else if (!holders.has(`${grant.client} ${grant.key}`)) orphans.push(grant);
    else if (client !== undefined && !isGiven(grant, client)) notes.push(`${told(grant)}, although the rules do not give it any more`);
    await pace();
  }
  return { orphans, notes: fewer(notes), nextExpiryMs };
}

function told({ id, client, address, label }: Grant): string {
  return `still open until its time is over or "posternd revoke ${id}": ${label} for ${client} from ${address.text}`;
}

/** By any entry, whichever decided then: those that open it for somebody else, or for a time, are not looked at. */
function isGiven({ ports, address }: Grant, { allow }: Client): boolean {
  return allow.some(
    (entry) =>
      entry.from?.some((network) => contains(network, address)) !== false &&
      ports.every((range) => entry.services.some((service) => coveredBy(service.ports, range))),
  );
}

function fewer(notes: readonly string[]): readonly string[] {
  if (notes.length <= MOST_NOTES) return notes;
  return [...notes.slice(0, MOST_NOTES), `${notes.length - MOST_NOTES} more like these: "posternd grants" lists them`];
}
