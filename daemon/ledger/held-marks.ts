// The marks that memory holds: all of the windows near the open ones, and for the rest only which windows have any. Reads no file.
import type { LedgerRecord } from './format.ts';
import type { WindowRange } from './ledger.ts';
import { inRange, WindowSet } from './windows.ts';

type MarkRecord = Extract<LedgerRecord, { kind: 'mark' }>;

// Tunable: windows held on either side of the open ones. A clock that is set by a few minutes finds its marks in memory.
const MARGIN_WINDOWS = 8;

/** 400 days of marks stay on disk; a window outside of `held` is read again before it opens, so memory is bounded by what is acceptable. */
export class HeldMarks {
  readonly #pairs = new Map<string, number>();
  #byWindow = new Map<number, Set<number>>();
  readonly #marked = new WindowSet();
  #held: WindowRange;

  constructor(open: WindowRange) {
    this.#held = around(open);
  }

  isHeld(window: number): boolean {
    return inRange(window, this.#held);
  }

  isMarked(window: number): boolean {
    return this.#marked.has(window);
  }

  /** A window of which the disk holds marks; the marks themselves need `add` if it is held. */
  noteWindow(window: number): void {
    this.#marked.add(window);
  }

  add(mark: Pick<MarkRecord, 'pair' | 'window' | 'slot'>): void {
    this.#marked.add(mark.window);
    if (!this.isHeld(mark.window)) return;
    this.#slotsOf(this.#byWindow, mark.window).add(this.#key(mark.pair, mark.slot));
  }

  /** For a window that is not held `true` when it has any marks: not known to be free. */
  has(pair: string, window: number, slot: number): boolean {
    if (!this.#marked.has(window)) return false;
    if (!this.isHeld(window)) return true;
    const id = this.#pairs.get(pair);
    return id !== undefined && (this.#byWindow.get(window)?.has(id * 64 + slot) ?? false);
  }

  /** What must be read from disk before `moveTo(open, …)`: windows that would be held and have marks, but are not held now. */
  missingFor(open: WindowRange): ReadonlySet<number> {
    const missing = new Set<number>();
    const wanted = around(open);
    for (let window = wanted.first; window <= wanted.last; window++) {
      if (!this.isHeld(window) && this.#marked.has(window)) missing.add(window);
    }
    return missing;
  }

  /** Holds the windows around `open` and forgets the others; `read` are all marks of the missing windows. */
  moveTo(open: WindowRange, read: Iterable<MarkRecord>): void {
    const wanted = around(open);
    const kept = new Map<number, Set<number>>();
    for (const [window, slots] of this.#byWindow) if (inRange(window, wanted)) kept.set(window, slots);
    for (const mark of read) this.#slotsOf(kept, mark.window).add(this.#key(mark.pair, mark.slot));
    this.#byWindow = kept;
    this.#held = wanted;
  }

  #slotsOf(windows: Map<number, Set<number>>, window: number): Set<number> {
    let slots = windows.get(window);
    if (slots === undefined) {
      slots = new Set();
      windows.set(window, slots);
    }
    return slots;
  }

  // Pairs are never forgotten: only clients with a valid signature get here, and there are as many as rules name.
  #key(pair: string, slot: number): number {
    let id = this.#pairs.get(pair);
    if (id === undefined) {
      id = this.#pairs.size;
      this.#pairs.set(pair, id);
    }
    return id * 64 + slot;
  }
}

function around(open: WindowRange): WindowRange {
  return { first: Math.max(0, open.first - MARGIN_WINDOWS), last: open.last + MARGIN_WINDOWS };
}
