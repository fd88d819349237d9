// Keeps the tags of the acceptable windows armed, one window ahead, each only after the ledger knows that it may be used.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { acceptedWindows, WINDOW_MS, windowStartMs } from '../protocol/tags.ts';
import type { Clock } from './clock.ts';
import { type Firewall, FirewallError } from './firewall/firewall.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Peer } from './open/peers.ts';
import type { TagBook } from './open/tag-book.ts';

/** Tunable: peers whose tags are computed in one go; 16 HMACs each, so about 2 ms of the event loop. */
const PEERS_AT_ONCE = 50;

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
      const { tagBook, firewall } = this.#options;
      const before = this.#peers;
      this.#peers = peers;
      const gone = [...before.values()].filter((peer) => peers.get(peer.id)?.client.slots !== peer.client.slots);
      const tags = gone.flatMap((peer) => tagBook.erase(peer));
      if (!this.#stands) return;
      await firewall.disarm(tags);
      const came = [...peers.values()].filter((peer) => before.get(peer.id)?.client.slots !== peer.client.slots);
      for (const window of tagBook.windows()) await this.#arm(window, came);
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
    for (let window = range.first; window <= range.last; window += 1) {
      if (!written.has(window) && !ledger.isBarred(window)) await this.#arm(window, [...this.#peers.values()]);
    }
    this.#behind = undefined;
  }

  async #arm(window: number, peers: readonly Peer[]): Promise<void> {
    const { tagBook, ledger, firewall, clock, toleranceMs } = this.#options;
    for (let at = 0; at < peers.length; at += PEERS_AT_ONCE) {
      const tags = peers.slice(at, at + PEERS_AT_ONCE).flatMap((peer) => {
        const isUsed = (slot: number) => ledger.isUsed({ client: peer.key.publicKey, server: peer.server, window, slot });
        return tagBook.write(peer, window, isUsed);
      });
      const timeoutMs = windowStartMs(window) + WINDOW_MS + toleranceMs - clock.wall();
      if (timeoutMs > 0) await firewall.arm(tags, timeoutMs);
      if (at + PEERS_AT_ONCE < peers.length) await nextTurn();
    }
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
