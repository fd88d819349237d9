// A clock that a test moves by hand.
import { type BootMs, type Clock, monotonicMs } from '../../daemon/clock.ts';
import { unixMs } from '../../protocol/brand.ts';

export class HandClock {
  #wall: number;
  #monotonic = 1_000_000;
  #slept = 0;

  constructor(wall: number) {
    this.#wall = wall;
  }

  /** Time passes, for all clocks alike. */
  advance(ms: number): void {
    this.#wall += ms;
    this.#monotonic += ms;
  }

  /** Somebody sets the wall clock. */
  step(ms: number): void {
    this.#wall += ms;
  }

  /** The host is suspended: the monotonic clock stands still. */
  sleep(ms: number): void {
    this.#wall += ms;
    this.#slept += ms;
  }

  now(): number {
    return this.#wall;
  }

  clock(): Clock {
    return {
      wall: () => unixMs(this.#wall),
      monotonic: () => monotonicMs(this.#monotonic),
      boot: () => (this.#monotonic + this.#slept) as BootMs,
    };
  }
}
