// When `knock hold` knocks next, and when it looks at the port too. Pure: the time is an argument.
//
// The server never says how long a grant really lasts: the rule may give less than was asked for. So the pause between knocks is a third of what
// was asked for (or of the daemon's default), which leaves room for two lost packets, and a look at the port tells whether that was short enough.
// Looks are connections, and a service sees each of them: they become rare as long as the door is found open.

// Tunable. What a daemon gives where neither it nor the knock names a lifetime.
const ASSUMED_LIFETIME_MS = 30_000;
const KNOCKS_PER_LIFETIME = 3;
// A grant is worth more than a packet every five minutes; also, this is how long a silent change on the way can go unnoticed.
const LONGEST_INTERVAL_MS = 300_000;
const LONGEST_LOOK_GAP_MS = 600_000;
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 30_000;
// P16b: other knocks of this minute need slots too.
const SHARE_OF_SLOTS = 0.75;
const SLOT_WINDOW_MS = 60_000;

/** What a look found. `stood`: open all the time; `gap`: shut before this knock, open after it; `shut`: not open after it either. */
export type Look = 'stood' | 'gap' | 'shut';

export type Due = { readonly atMs: number; readonly look: boolean };

/** The shortest pause that the slots allow. */
export function shortestIntervalMs(addresses: number, slots: number): number {
  return Math.ceil((SLOT_WINDOW_MS * addresses) / Math.max(1, slots * SHARE_OF_SLOTS));
}

export class HoldSchedule {
  readonly #shortestMs: number;
  readonly #looks: boolean;
  #intervalMs: number;
  #lookGapMs: number;
  #lookedAtMs: number;
  #retryMs = FIRST_RETRY_MS;
  #due: Due;

  /** After a first knock that opened the door at `nowMs`. `lifetimeMs`: as it was asked for. `looks`: whether there is anything to look at. */
  constructor(options: {
    readonly lifetimeMs: number | undefined;
    readonly shortestMs: number;
    readonly looks: boolean;
    readonly nowMs: number;
  }) {
    const { lifetimeMs = ASSUMED_LIFETIME_MS, shortestMs, looks, nowMs } = options;
    this.#shortestMs = shortestMs;
    this.#looks = looks;
    this.#intervalMs = Math.max(shortestMs, Math.min(LONGEST_INTERVAL_MS, Math.floor(lifetimeMs / KNOCKS_PER_LIFETIME)));
    this.#lookGapMs = this.#intervalMs;
    this.#lookedAtMs = nowMs;
    this.#due = this.#after(nowMs);
  }

  get intervalMs(): number {
    return this.#intervalMs;
  }

  get due(): Due {
    return this.#due;
  }

  /** A knock was sent without a look. */
  sent(nowMs: number): false {
    this.#retryMs = FIRST_RETRY_MS;
    this.#due = this.#after(nowMs);
    return false;
  }

  /** There was a look, or not even a way out (`shut`). Gives whether the pause had to become shorter. */
  looked(found: Look, nowMs: number): boolean {
    const before = this.#intervalMs;
    this.#lookedAtMs = nowMs;
    if (found === 'shut') {
      this.#due = { atMs: nowMs + this.#retryMs, look: this.#looks };
      this.#retryMs = Math.min(this.#retryMs * 2, LAST_RETRY_MS);
      return false;
    }
    // After an outage the door is found open by the knock itself: that says nothing about lifetimes.
    const outage = this.#retryMs > FIRST_RETRY_MS;
    this.#retryMs = FIRST_RETRY_MS;
    if (found === 'stood') this.#lookGapMs = Math.min(this.#lookGapMs * 2, LONGEST_LOOK_GAP_MS);
    else {
      if (!outage) this.#intervalMs = Math.max(this.#shortestMs, Math.floor(this.#intervalMs / 2));
      this.#lookGapMs = this.#intervalMs;
    }
    this.#due = this.#after(nowMs);
    return this.#intervalMs < before;
  }

  /** Something changed (the network, a long sleep): knocks and looks now. What it finds says nothing about lifetimes. */
  hurry(nowMs: number): void {
    this.#retryMs = FIRST_RETRY_MS * 2;
    this.#due = { atMs: nowMs, look: this.#looks };
  }

  /** No packet could be sent: tries again at that time. */
  postpone(atMs: number): void {
    this.#due = { atMs, look: this.#looks };
  }

  #after(nowMs: number): Due {
    const atMs = nowMs + this.#intervalMs;
    return { atMs, look: this.#looks && atMs - this.#lookedAtMs >= this.#lookGapMs };
  }
}
