// Notices what a running clock does not do: steps of the wall clock, a resume from suspend, the change of a window.
import { windowOf } from '../protocol/tags.ts';
import type { Clock } from './clock.ts';

/** Tunable: some systems tell the boot clock in whole seconds only; smaller steps stay within any tolerance. */
const STEP_MS = 1500;

export type ClockEvent =
  | { readonly kind: 'quiet' }
  | { readonly kind: 'window' }
  /** Somebody set the wall clock. */
  | { readonly kind: 'step'; readonly byMs: number }
  /** The host was suspended: time has passed that neither the kernel's timeouts nor CLOCK_MONOTONIC know of. */
  | { readonly kind: 'sleep'; readonly byMs: number };

/** Call `look` about once a second. A sleep wins over a step, and that over a new window: arming anew does all. */
export class ClockWatch {
  readonly #clock: Clock;
  #offsetMs: number;
  #suspendMs: number;
  #window: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offsetMs = clock.wall() - clock.boot();
    this.#suspendMs = clock.boot() - clock.monotonic();
    this.#window = windowOf(clock.wall());
  }

  look(): ClockEvent {
    const wall = this.#clock.wall();
    const boot = this.#clock.boot();
    const offsetMs = wall - boot;
    const suspendMs = boot - this.#clock.monotonic();
    const window = windowOf(wall);
    const stepMs = offsetMs - this.#offsetMs;
    // Kernel timeouts do not run while the host sleeps: tags that should be over still stand.
    const sleptMs = suspendMs - this.#suspendMs;
    const newWindow = window !== this.#window;
    this.#offsetMs = offsetMs;
    this.#suspendMs = suspendMs;
    this.#window = window;
    if (sleptMs > STEP_MS) return { kind: 'sleep', byMs: sleptMs };
    if (Math.abs(stepMs) > STEP_MS) return { kind: 'step', byMs: stepMs };
    return newWindow ? { kind: 'window' } : { kind: 'quiet' };
  }
}
