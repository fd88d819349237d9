// For a gate that is loaded without the daemon (at boot, by hand): the openings that the last daemon of this boot had granted.
import type { MonotonicMs } from '../clock.ts';
import { openingKey, type TimedOpening } from '../firewall/firewall.ts';
import { GrantBook } from './grant-book.ts';
import { readGrantJournal } from './grant-journal.ts';

/** `standing` is what the kernel holds now: only it knows which one-shots were used. */
export function restoredOpenings(
  runtimeFolder: string,
  bootId: string,
  now: MonotonicMs,
  standing: readonly TimedOpening[],
): readonly TimedOpening[] {
  const book = new GrantBook();
  book.put(readGrantJournal(runtimeFolder, bootId, now).grants);
  const alive = new Set(standing.map(({ opening }) => openingKey(opening)));
  return [...book.standing(now, (opening) => !alive.has(openingKey(opening)))].flat();
}
