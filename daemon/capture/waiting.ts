// Datagrams that a socket hands over faster than they are worked off: they wait here, so that the event loop turns in between. A socket gives up to
// thirty-two in one go, and without V8's compiler a knock for ten ports takes two milliseconds. Knows nothing of what is in them.
import { pacing } from '../pacing.ts';
import type { Datagram, OnDatagram } from './capture.ts';

/** Tunable: what a flood brings beyond this is worked off at once, so that it fills the kernel's queue and not our memory. */
const MOST_WAITING = 256;

export class WaitingDatagrams {
  readonly #hand: OnDatagram;
  readonly #waiting: Datagram[] = [];
  /** One for all: the socket calls for each datagram by itself, however many it has. */
  readonly #pace = pacing();
  #working: Promise<void> | undefined;

  /** `hand` must not throw. */
  constructor(hand: OnDatagram) {
    this.#hand = hand;
  }

  /** In the order of their coming. */
  add(datagram: Datagram): void {
    this.#waiting.push(datagram);
    this.#working ??= this.#work();
    if (this.#waiting.length > MOST_WAITING) this.#handNext();
  }

  /** Resolves when none waits any more. */
  async empty(): Promise<void> {
    await this.#working;
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      this.#handNext();
      await this.#pace();
    }
    this.#working = undefined;
  }

  #handNext(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) this.#hand(next);
  }
}
