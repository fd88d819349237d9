// What the gate shall hold: entries that are rules, and those that are elements of sets. Pure but for its own state.
import type { MonotonicMs } from '../../clock.ts';
import { type Entry, entryKey } from './entries.ts';
import { type Backing, isRule } from './ruleset.ts';

export class Kept {
  readonly #backing: Backing;
  #rules = new Map<string, Entry>();
  #elements = new Map<string, Entry>();

  constructor(backing: Backing) {
    this.#backing = backing;
  }

  rules(): readonly Entry[] {
    return [...this.#rules.values()];
  }

  elements(): readonly Entry[] {
    return [...this.#elements.values()];
  }

  all(): readonly Entry[] {
    return [...this.#rules.values(), ...this.#elements.values()];
  }

  isRule(entry: Entry): boolean {
    return isRule(entry, this.#backing);
  }

  get(key: string): Entry | undefined {
    return this.#rules.get(key) ?? this.#elements.get(key);
  }

  /** Undefined: no longer. */
  set(key: string, entry: Entry | undefined): void {
    this.#rules.delete(key);
    this.#elements.delete(key);
    if (entry === undefined) return;
    if (this.isRule(entry)) this.#rules.set(key, entry);
    else this.#elements.set(key, entry);
  }

  replace(entries: Iterable<readonly [string, Entry]>): void {
    this.#rules = new Map();
    this.#elements = new Map();
    for (const [key, entry] of entries) this.set(key, entry);
  }

  /** Forgets what is over; gives the rules among it. */
  expire(now: MonotonicMs): readonly Entry[] {
    for (const [key, { deadlineMs }] of this.#elements) if (deadlineMs <= now) this.#elements.delete(key);
    const over = this.rules().filter(({ deadlineMs }) => deadlineMs <= now);
    for (const entry of over) this.#rules.delete(entryKey(entry));
    return over;
  }

  nextDeadlineMs(): MonotonicMs | undefined {
    let next: MonotonicMs | undefined;
    for (const { deadlineMs } of this.#rules.values()) if (next === undefined || deadlineMs < next) next = deadlineMs;
    return next;
  }
}
