// Ranges and sets of window numbers. Pure; knows no time and no marks.
import type { WindowRange } from './ledger.ts';

export function inRange(window: number, range: WindowRange | undefined): boolean {
  return range !== undefined && window >= range.first && window <= range.last;
}

export function intersection(one: WindowRange | undefined, other: WindowRange | undefined): WindowRange | undefined {
  if (one === undefined || other === undefined) return undefined;
  const range = { first: Math.max(one.first, other.first), last: Math.min(one.last, other.last) };
  return range.first <= range.last ? range : undefined;
}

/** Sorted, and merged where they touch: a crash loop must not grow the list of barred windows. */
export function mergeRanges(ranges: readonly WindowRange[]): WindowRange[] {
  const merged: WindowRange[] = [];
  for (const range of ranges.toSorted((one, other) => one.first - other.first)) {
    const before = merged.at(-1);
    if (before !== undefined && range.first <= before.last + 1) {
      merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
    } else merged.push(range);
  }
  return merged;
}

const PAGE_WINDOWS = 32768;

/** A set of windows as bits: 4 KiB for 22 days, so that 400 days of marks cost 80 KiB of memory. */
export class WindowSet {
  readonly #pages = new Map<number, Uint32Array>();

  add(window: number): void {
    const key = Math.floor(window / PAGE_WINDOWS);
    let page = this.#pages.get(key);
    if (page === undefined) {
      page = new Uint32Array(PAGE_WINDOWS / 32);
      this.#pages.set(key, page);
    }
    const bit = window % PAGE_WINDOWS;
    page[bit >>> 5] = (page[bit >>> 5] ?? 0) | (1 << (bit & 31));
  }

  has(window: number): boolean {
    const bit = window % PAGE_WINDOWS;
    const word = this.#pages.get(Math.floor(window / PAGE_WINDOWS))?.[bit >>> 5] ?? 0;
    return (word & (1 << (bit & 31))) !== 0;
  }
}
