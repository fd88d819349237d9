// Counts values by size, as Prometheus wants a histogram. Pure.

/** Tunable: upper bounds in seconds. A knock takes under a millisecond here; a firewall command takes some. */
const BOUNDS = [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1] as const;

export type HistogramSnapshot = {
  /** Values up to and including `bound`. */
  readonly buckets: readonly { readonly bound: number; readonly count: number }[];
  readonly count: number;
  readonly sum: number;
};

export class Histogram {
  readonly #counts: number[] = BOUNDS.map(() => 0);
  #count = 0;
  #sum = 0;

  add(value: number): void {
    const at = BOUNDS.findIndex((bound) => value <= bound);
    if (at >= 0) this.#counts[at] = (this.#counts[at] ?? 0) + 1;
    this.#count += 1;
    this.#sum += value;
  }

  snapshot(): HistogramSnapshot {
    let below = 0;
    const buckets = BOUNDS.map((bound, at) => {
      below += this.#counts[at] ?? 0;
      return { bound, count: below };
    });
    return { buckets, count: this.#count, sum: this.#sum };
  }
}
