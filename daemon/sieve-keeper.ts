// Keeps the tags of the acceptable windows armed, one window ahead, each only after the ledger knows that it may be used.
import { acceptedWindows, WINDOW_MS, windowOf, windowStartMs } from '../protocol/tags.ts';
import type { Clock } from './clock.ts';
import { type Firewall, FirewallError } from './firewall/firewall.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Peer } from './open/peers.ts';
import type { TagBook } from './open/tag-book.ts';
import { pacing } from './pacing.ts';

/** Tunable: as many as the kernel takes in one transaction. */
const TAGS_AT_ONCE = 1000;

export type SieveKeeperOptions = {
  readonly tagBook: TagBook;
  readonly ledger: Ledger;
  readonly firewall: Firewall;
  readonly clock: Clock;
  readonly toleranceMs: number;
  readonly onTrouble: (why: string) => void;
};

export class SieveKeeper {
  readonly #options: SieveKeeperOptions;
  #peers: ReadonlyMap<string, Peer> = new Map();
  #queue: Promise<void> = Promise.resolve();
  /** Whether a gate stands that tags can be armed in. */
  #stands = false;
  /** Set: what the kernel has is less than it should be, and why. The next refresh arms everything. */
  #behind: FirewallError | 'ledger' | undefined;

  constructor(options: SieveKeeperOptions) {
    this.#options = options;
  }

  /** The kernel refused tags: knocks of some clients are not heard until a refresh succeeds. */
  refusal(): FirewallError | undefined {
    return this.#behind === 'ledger' ? undefined : this.#behind;
  }

  /** Call at each new window, and again while there is a `refusal`. */
  refresh(): Promise<void> {
    return this.#inTurn(() => this.#refresh());
  }

  /**
   * After a step of the clock, or when the gate was loaded anew: nothing that was armed counts any more. What the kernel handed over before is
   * still in the book, so that a knock in flight is not lost; whether it is fresh and unused is decided when it is opened.
   */
  rearm(): Promise<void> {
    return this.#inTurn(async () => {
      this.#stands = true;
      await this.#options.firewall.disarmAll();
      await this.#refresh(true);
    });
  }

  /** New rules: tags of those who are gone are disarmed at once, those who stay are not touched, those who came are armed. */
  replacePeers(peers: ReadonlyMap<string, Peer>): Promise<void> {
    return this.#inTurn(async () => {
      const { tagBook } = this.#options;
      const before = this.#peers;
      this.#peers = peers;
      const gone = [...before.values()].filter((peer) => peers.get(peer.id)?.client.slots !== peer.client.slots);
      await this.#strike(gone);
      if (!this.#stands) return;
      const came = [...peers.values()].filter((peer) => before.get(peer.id)?.client.slots !== peer.client.slots);
      for (const window of this.#presentFirst(tagBook.windows())) await this.#arm(window, came);
      await this.#refresh();
    });
  }

  /** Before the end: tags that come while nobody listens would be spent for nothing. Knocks that are on their way are still opened. */
  disarm(): Promise<void> {
    return this.#inTurn(async () => {
      if (!this.#stands) return;
      this.#stands = false;
      await this.#options.firewall.disarmAll();
    });
  }

  async #refresh(everything = this.#behind !== undefined): Promise<void> {
    if (!this.#stands) return;
    const { tagBook, ledger, clock, toleranceMs, onTrouble } = this.#options;
    const accepted = acceptedWindows(clock.wall(), toleranceMs);
    const range = { first: accepted.first, last: accepted.last + 1 };
    if (!(await ledger.openWindows(range))) {
      onTrouble('the replay ledger cannot be written: no new tags are armed, knocks of the coming minutes will be refused');
      if (everything) this.#behind = 'ledger';
      return;
    }
    for (const window of tagBook.windows()) if (window < range.first || window > range.last) tagBook.forget(window);
    const written = new Set(everything ? [] : tagBook.windows());
    const all = Array.from({ length: range.last - range.first + 1 }, (_, at) => range.first + at);
    for (const window of this.#presentFirst(all)) {
      if (!written.has(window) && !ledger.isBarred(window)) await this.#arm(window, [...this.#peers.values()]);
    }
    this.#behind = undefined;
  }

  /** Most clocks are right: with ten thousand clients it takes seconds to come to those that are not. */
  #presentFirst(windows: readonly number[]): readonly number[] {
    const present = windowOf(this.#options.clock.wall());
    return windows.toSorted((a, b) => Math.abs(a - present) - Math.abs(b - present));
  }

  /** Out of the book all of them, whatever the kernel says of some. */
  async #strike(gone: readonly Peer[]): Promise<void> {
    const { tagBook, firewall } = this.#options;
    const pace = pacing();
    let refusal: unknown;
    let batch: Uint8Array[] = [];
    const disarm = async (): Promise<void> => {
      const tags = batch;
      batch = [];
      if (!this.#stands || refusal !== undefined || tags.length === 0) return;
      await firewall.disarm(tags).catch((error: unknown) => {
        refusal = error;
      });
    };
    for (const { id } of gone) {
      batch.push(...tagBook.erase(id));
      if (batch.length >= TAGS_AT_ONCE) await disarm();
      await pace();
    }
    await disarm();
    if (refusal !== undefined) throw refusal;
  }

  async #arm(window: number, peers: readonly Peer[]): Promise<void> {
    const { tagBook, ledger } = this.#options;
    tagBook.expect(window, peers);
    const pace = pacing();
    let batch: Uint8Array[] = [];
    for (const peer of peers) {
      const isUsed = (slot: number) => ledger.isUsed({ client: peer.key.publicKey, server: peer.server, window, slot });
      batch.push(...tagBook.write(peer, window, isUsed));
      if (batch.length >= TAGS_AT_ONCE) {
        await this.#send(window, batch);
        batch = [];
      }
      await pace();
    }
    await this.#send(window, batch);
  }

  async #send(window: number, tags: readonly Uint8Array[]): Promise<void> {
    const { firewall, clock, toleranceMs } = this.#options;
    const timeoutMs = windowStartMs(window) + WINDOW_MS + toleranceMs - clock.wall();
    if (timeoutMs > 0 && tags.length > 0) await firewall.arm(tags, timeoutMs);
  }

  /**
   * One change at a time: a reload in the middle of a minute's change must not leave half of each. What the kernel refuses is told, remembered and
   * made good by the next refresh; it never undoes what else the caller has to do.
   */
  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(work).catch((error: unknown) => {
      if (!(error instanceof FirewallError)) throw error;
      if (this.#behind === undefined) this.#options.onTrouble(`${error.message}: ${error.cure}; trying again`);
      this.#behind = error;
    });
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}
