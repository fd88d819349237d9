// Makes the kernel follow the book where grants have ended, and goes on trying where it refused. Decides nothing about who ends.
import type { Clock } from '../clock.ts';
import { admitsOnce, type Firewall, FirewallError, ONE_SHOT_KINDS, openingKey } from '../firewall/firewall.ts';
import type { Grant, GrantBook } from './grant-book.ts';

export type ShuttingOptions = {
  readonly book: GrantBook;
  readonly firewall: Firewall;
  readonly clock: Clock;
  /** The kernel refused: look after the gate, and say how it stands then. */
  readonly repair: () => Promise<'up' | 'down'>;
};

type Ended = { readonly ended: readonly Grant[]; readonly cut: boolean };

/** Tunable: each transaction holds up whoever knocks meanwhile. */
const SHUT_AT_ONCE = 200;

export class Shutting {
  readonly #options: ShuttingOptions;
  /** What the kernel would not shut stands in no book any more: nobody could revoke it, and it may have a month to go. */
  #refused: readonly Ended[] = [];

  constructor(options: ShuttingOptions) {
    this.#options = options;
  }

  /** These are out of the book already. What the kernel refuses is thrown, and is for `again`. */
  async shut(ended: readonly Grant[], cut: boolean): Promise<void> {
    try {
      await this.#shut({ ended, cut });
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      // Without a gate nothing is open by us. One that was repaired does not hold these any more, but cuts nobody yet either.
      if ((await this.#options.repair()) === 'up') await this.#shutOrKeep({ ended, cut });
    }
  }

  /** What perhaps stands, although nobody was told so: shut with the next `again`. */
  later(ended: readonly Grant[]): void {
    if (ended.length > 0) this.#refused = [...this.#refused, { ended, cut: false }];
  }

  /** Tries once more what was refused, unless its time is over. Call it each second; a kernel that refuses again is asked no more until then. */
  async again(): Promise<void> {
    const now = this.#options.clock.monotonic();
    const left = this.#refused.map(({ ended, cut }) => ({ ended: ended.filter(({ deadlineMs }) => deadlineMs > now), cut }));
    this.#refused = [];
    const batches = [true, false].flatMap((cut) =>
      batchesOf(
        left.flatMap((each) => (each.cut === cut ? each.ended : [])),
        cut,
      ),
    );
    for (const [at, batch] of batches.entries()) {
      try {
        await this.#shutOrKeep(batch);
      } catch (error) {
        this.#refused = [...this.#refused, ...batches.slice(at + 1)];
        if (!(error instanceof FirewallError)) throw error;
        return;
      }
    }
  }

  async #shutOrKeep(what: Ended): Promise<void> {
    try {
      await this.#shut(what);
    } catch (error) {
      this.#refused = [...this.#refused, what];
      throw error;
    }
  }

  /** One failing step never keeps the others from being done (P23). */
  async #shut({ ended, cut }: Ended): Promise<void> {
    const { book, firewall, clock } = this.#options;
    const isShared = ({ kind, address }: Grant): boolean => admitsOnce(kind) && book.at(address).some((other) => other.kind === kind);
    // A one-shot that was used must not be opened anew for its other owners, and only the kernel knows.
    const standing = ended.some(isShared)
      ? new Set((await firewall.standing(ONE_SHOT_KINDS)).map(({ opening }) => openingKey(opening)))
      : undefined;
    const plan = book.planEnd(ended, clock.monotonic());
    const open = plan.open.filter(({ opening }) => !admitsOnce(opening.kind) || standing?.has(openingKey(opening)) === true);
    // All three are begun before anything is waited for: no grant comes in between.
    const steps = [async () => firewall.open(open), () => firewall.close(plan.shut, cut), () => firewall.close(plan.shutOnly, false)];
    const results = await Promise.allSettled(steps.map((step) => step()));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

function batchesOf(ended: readonly Grant[], cut: boolean): readonly Ended[] {
  const count = Math.ceil(ended.length / SHUT_AT_ONCE);
  return Array.from({ length: count }, (_, at) => ({ ended: ended.slice(at * SHUT_AT_ONCE, (at + 1) * SHUT_AT_ONCE), cut }));
}
