// The replay ledger: which window is open, which mark is used. The files are in places.ts; never reads the wall clock.
import type { PublicKey } from '../../protocol/identity.ts';
import { LAST_SLOT, LAST_WINDOW, pairOf } from './format.ts';
import type { HeldMarks } from './held-marks.ts';
import type { Ledger, LedgerHealth, Mark, MarkOutcome, WindowRange } from './ledger.ts';
import { reasonOf } from './ledger-file.ts';
import type { LedgerLock } from './lock.ts';
import type { MarkPlaces } from './places.ts';
import { readWindows } from './retention.ts';
import { inRange, intersection, mergeRanges } from './windows.ts';

// Tunable: more than any tolerance and any delay of the next call can need. A range beyond it is a bug of the caller.
const OPEN_MAX_WINDOWS = 1440;

/** What `openLedger` found and made; the ledger takes it over. */
export type LedgerParts = {
  readonly places: MarkPlaces;
  readonly held: HeldMarks;
  readonly bars: readonly WindowRange[];
  readonly lock: LedgerLock | undefined;
  readonly ageMinutes: () => number;
  readonly report: (text: string) => void;
};

export class FileLedger implements Ledger {
  readonly #parts: LedgerParts;
  #bars: readonly WindowRange[];
  #open: WindowRange | undefined;
  // Read when windows open: asking the clock for each mark would cost as much as writing it.
  #ageMinutes: number;
  #queue: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  #lastPair: { readonly client: PublicKey; readonly server: PublicKey; readonly text: string } | undefined;

  constructor(parts: LedgerParts) {
    this.#parts = parts;
    this.#bars = parts.bars;
    this.#ageMinutes = parts.ageMinutes();
  }

  isUsed = (mark: Mark): boolean => {
    const { held } = this.#parts;
    // Asked for each tag of each minute: most windows have no marks, and the slots of one pair come one after another.
    if (!held.isMarked(mark.window)) return false;
    const last = this.#lastPair;
    const isSame = last?.client === mark.client && last.server === mark.server;
    const text = isSame ? last.text : pairOf(mark.client, mark.server);
    if (!isSame) this.#lastPair = { client: mark.client, server: mark.server, text };
    return held.has(text, mark.window, mark.slot);
  };

  isBarred = (window: number): boolean => this.#bars.some((range) => inRange(window, range));

  mark = (mark: Mark): MarkOutcome => {
    if (!Number.isInteger(mark.slot) || mark.slot < 0 || mark.slot > LAST_SLOT) throw new RangeError(`mark: not a slot: ${mark.slot}`);
    if (this.#isClosed || !inRange(mark.window, this.#open) || this.isBarred(mark.window)) return 'window-closed';
    const { places, held } = this.#parts;
    const record = {
      kind: 'mark',
      pair: pairOf(mark.client, mark.server),
      window: mark.window,
      slot: mark.slot,
      ageMinutes: this.#ageMinutes,
    } as const;
    if (held.has(record.pair, record.window, record.slot)) return 'already-used';
    const isWritten = places.append(record);
    // P15: what could not be written is refused, and stays refused as long as this process remembers.
    held.add(record);
    return isWritten ? 'marked' : 'unwritable';
  };

  openWindows = (range: WindowRange): Promise<boolean> => {
    if (!isOpenable(range)) return Promise.reject(new RangeError(`openWindows: not a range of windows: ${range.first} to ${range.last}`));
    // At once, not after the fsync: a mark that comes while it runs must be in a window that the new status names.
    this.#open = intersection(this.#open, range);
    return this.#inTurn(async () => {
      if (this.#isClosed) return false;
      this.#ageMinutes = this.#parts.ageMinutes();
      await this.#hold(range);
      const isOpen = await this.#parts.places.expose(range);
      this.#open = isOpen ? range : undefined;
      if (isOpen && this.#parts.places.isRenewalDue) void this.#inTurn(() => this.#parts.places.renew());
      return isOpen;
    });
  };

  health = (): LedgerHealth => ({ place: this.#parts.places.place, marks: this.#parts.places.marks, note: this.#parts.places.note() });

  close = (): Promise<void> => {
    this.#open = undefined;
    return this.#inTurn(async () => {
      if (this.#isClosed) return;
      this.#isClosed = true;
      await this.#parts.places.close();
      this.#parts.lock?.release();
    });
  };

  // Marks of windows that left memory are read back. What cannot be read is not known to be unused: barred.
  async #hold(range: WindowRange): Promise<void> {
    const { held, places, report } = this.#parts;
    const missing = held.missingFor(range);
    try {
      held.moveTo(range, await readWindows(places.files, missing));
    } catch (error) {
      report(`the replay ledger cannot be read back (${reasonOf(error)}): windows that were used before stay shut`);
      this.#bars = mergeRanges([...this.#bars, ...[...missing].map((window) => ({ first: window, last: window }))]);
      held.moveTo(range, []);
    }
  }

  // One change of the files at a time; marks alone come in between.
  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(task);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

function isOpenable(range: WindowRange): boolean {
  const areNumbers = Number.isSafeInteger(range.first) && Number.isSafeInteger(range.last);
  return (
    areNumbers && range.first >= 0 && range.first <= range.last && range.last <= LAST_WINDOW && range.last - range.first < OPEN_MAX_WINDOWS
  );
}
