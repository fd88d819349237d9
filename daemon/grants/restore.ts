// What the last daemon of this boot had granted: for the daemon that follows it, and for a gate that is loaded without one (at boot, by hand).
import type { Clock, MonotonicMs } from '../clock.ts';
import { type Opening, openingKey, type TimedOpening } from '../firewall/firewall.ts';
import { pacing } from '../pacing.ts';
import { type Grant, GrantBook } from './grant-book.ts';
import { readGrantJournal } from './grant-journal.ts';
import type { CloseMark } from './grant-lines.ts';

export type Restored = {
  readonly book: GrantBook;
  /** They ended while no daemon ran: their end is still to be told. */
  readonly missed: readonly Grant[];
  readonly closes: readonly CloseMark[];
};

/** In slices of time: there may be a hundred thousand. */
export async function restoreGrants(runtimeFolder: string, bootId: string, now: MonotonicMs): Promise<Restored> {
  const { grants, over, closes } = await readGrantJournal(runtimeFolder, bootId, now);
  const book = new GrantBook();
  const pace = pacing();
  for (const grant of grants) {
    book.put([grant]);
    await pace();
  }
  return { book, missed: over, closes };
}

/** `standing` is what the kernel holds now: only it knows which one-shots were used. */
export async function restoredOpenings(
  runtimeFolder: string,
  bootId: string,
  clock: Pick<Clock, 'monotonic'>,
  standing: readonly TimedOpening[],
): Promise<readonly TimedOpening[]> {
  const { book } = await restoreGrants(runtimeFolder, bootId, clock.monotonic());
  return standingOf(book, clock, standing);
}

/** Every opening of the book, with what is left of it when this is done. One-shots only if they stood in the kernel `before`. */
export async function standingOf(
  book: GrantBook,
  clock: Pick<Clock, 'monotonic'>,
  before: readonly TimedOpening[],
): Promise<readonly TimedOpening[]> {
  const alive = new Set(before.map(({ opening }) => openingKey(opening)));
  const started = clock.monotonic();
  const pace = pacing();
  const standing: { readonly opening: Opening; remainingMs: number }[] = [];
  for (const some of book.standing(started, (opening) => !alive.has(openingKey(opening)))) {
    // One by one: as arguments a hundred thousand of one address are too many.
    for (const { opening, remainingMs } of some) standing.push({ opening, remainingMs });
    await pace();
  }
  const passedMs = clock.monotonic() - started;
  // In place: nothing may come in between, and a hundred thousand new objects would take four times as long.
  if (passedMs > 0) for (const timed of standing) timed.remainingMs -= passedMs;
  return standing;
}
