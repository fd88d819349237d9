// Decides whether one more line of a kind may be logged: a few in each minute, the rest is counted and told once. Bounded memory.
import type { IpAddress } from '../protocol/address.ts';
import type { MonotonicMs } from './clock.ts';

export type LimiterOptions = { readonly lines: number; readonly periodMs: number; readonly maxKeys: number };

// Tunable
const DEFAULTS: LimiterOptions = { lines: 5, periodMs: 60_000, maxKeys: 1_024 };
const REST = 'rest';

type Entry = { readonly startMs: MonotonicMs; lines: number; leftOut: number };
export type LeftOut = { readonly key: string; readonly count: number };

export class LineLimiter {
  readonly #options: LimiterOptions;
  /** In the order of their start: a period begins with a kind's first line and ends with `sweep`. */
  readonly #entries = new Map<string, Entry>();

  constructor(options: Partial<LimiterOptions> = {}) {
    this.#options = { ...DEFAULTS, ...options };
  }

  /** Whether a line of this kind may be written now. Kinds beyond `maxKeys` share one allowance. */
  admit(key: string, now: MonotonicMs): boolean {
    const known = this.#entries.has(key) || this.#entries.size < this.#options.maxKeys ? key : REST;
    const entry = this.#entries.get(known) ?? { startMs: now, lines: 0, leftOut: 0 };
    this.#entries.set(known, entry);
    if (entry.lines >= this.#options.lines) {
      entry.leftOut += 1;
      return false;
    }
    entry.lines += 1;
    return true;
  }

  /** Ends all periods that are over (all, when `everything`) and gives back what they left out. */
  sweep(now: MonotonicMs, everything = false): readonly LeftOut[] {
    const leftOut: LeftOut[] = [];
    for (const [key, entry] of this.#entries) {
      if (!everything && now - entry.startMs < this.#options.periodMs) continue;
      this.#entries.delete(key);
      if (entry.leftOut > 0) leftOut.push({ key, count: entry.leftOut });
    }
    return leftOut;
  }

  /** How many kinds are remembered. */
  get size(): number {
    return this.#entries.size;
  }
}

/** One sender, as far as an address can tell: an IPv6 network of 64 bits belongs to one, who can send from all of it. */
export function senderKey(address: IpAddress): string {
  return address.family === 4 ? address.text : `${Buffer.from(address.bytes.subarray(0, 8)).toString('hex')}/64`;
}
