// Keeps book, journal and firewall in step: the one place where a grant begins or ends. Decides nothing about who may have one.
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { IpAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { type Clock, monotonicMs } from '../clock.ts';
import type { Observer } from '../decision.ts';
import { type Firewall, FirewallError, type TimedOpening } from '../firewall/firewall.ts';
import { pacing } from '../pacing.ts';
import type { AllowedService, Authorized } from '../policy/authorized.ts';
import { drop, pass, type Step } from '../step.ts';
import { CloseMarks } from './close-marks.ts';
import type { Grant, GrantBook } from './grant-book.ts';
import { GrantJournal } from './grant-journal.ts';
import { OneShots } from './one-shots.ts';
import { type Restored, standingOf } from './restore.ts';
import { Shutting } from './shutting.ts';
import { Unproven } from './unproven.ts';

/** Tunable: rewrite the journal when it holds this many lines more than twice what lives: the cost of a rewrite is spread over as many knocks. */
const JOURNAL_SLACK = 5000;
/** Tunable: grants whose end is told in one go. */
const SWEPT_AT_ONCE = 20;
/** Tunable: grants that end in one transaction. */
const ENDED_AT_ONCE = 200;

export type Owner = { readonly client: string; readonly key: string };

export type Granted = { readonly grants: readonly Grant[]; readonly prolonged: boolean };

type TellEnded = (ended: readonly Grant[]) => void;

export type GrantKeeperOptions = {
  readonly firewall: Firewall;
  readonly clock: Clock;
  /** The folder that lives as long as this boot. */
  readonly runtimeFolder: string;
  readonly bootId: string;
  /** What the daemon before this one had granted. */
  readonly left: Restored;
  readonly observe: Observer;
  readonly onTrouble: (why: string) => void;
  /** The kernel refused: look after the gate, and say how it stands then. `down`: an administrator took it down. Never rejects. */
  readonly repair: () => Promise<'up' | 'down'>;
};

export class GrantKeeper {
  readonly #book: GrantBook;
  readonly #closes: CloseMarks;
  readonly #unproven: Unproven;
  readonly #journal: GrantJournal;
  /** They ended while no daemon ran: the first sweep tells it. */
  readonly #missed: Grant[];
  #held: Promise<unknown> | undefined;
  readonly #shutting: Shutting;
  /** Which of them were used. */
  readonly oneShots: OneShots;
  #sweeping = false;
  #ended = false;
  readonly #options: GrantKeeperOptions;

  constructor(options: GrantKeeperOptions) {
    this.#options = options;
    const { book, missed, closes } = options.left;
    this.#book = book;
    this.#unproven = new Unproven(book);
    this.#shutting = new Shutting({ ...options, book });
    this.#missed = [...missed];
    this.#closes = new CloseMarks(closes);
    this.#journal = new GrantJournal(options.runtimeFolder, options.bootId, { grants: book.all(), closes }, options.onTrouble);
    this.oneShots = new OneShots({
      book,
      journal: this.#journal,
      firewall: options.firewall,
      isProven: (grant) => !this.#unproven.has(grant),
      ended: (grant) => this.#tell('ended', grant, 'its one connection was made'),
    });
  }

  /** Grants of an earlier daemon whose end is still to be told. */
  missed(): readonly Grant[] {
    return this.#missed;
  }

  get size(): number {
    return this.#book.size;
  }

  all(): readonly Grant[] {
    return this.#book.all();
  }

  /** In no order; may be walked in slices of time. */
  each(): Iterable<Grant> {
    return this.#book.each();
  }

  /** What one of these names: a grant's id, a client's name, an address. */
  named(who: string): readonly Grant[] {
    return this.#book.named(who);
  }

  /** Live grants of one client, also those that an administrator opened for it. */
  of(client: string): readonly Grant[] {
    const now = this.#options.clock.monotonic();
    return this.#book.of(client).filter((grant) => grant.deadlineMs > now);
  }

  /** Those that end first at the top; may be walked in slices of time. */
  soonestFirst(): Iterable<Grant> {
    return this.#book.soonestFirst(this.#options.clock.monotonic());
  }

  countOf(client: string): number {
    return this.#book.countOf(client, this.#options.clock.monotonic());
  }

  /** Whether granting this would only prolong. */
  isLive(owner: Owner, address: IpAddress, service: AllowedService): boolean {
    return this.#book.isLive(owner, address, service, this.#options.clock.monotonic());
  }

  /** SPEC "Close": an open that was sent before an accepted close of the same client and address must not reopen the door. */
  isSuperseded(owner: Owner, address: IpAddress, sentAtMs: UnixMs): boolean {
    return this.#closes.isSuperseded(owner.key, address, sentAtMs);
  }

  /**
   * In the book from the moment of the decision, so that what is decided meanwhile sees it; in the journal and reported only when the kernel has
   * opened. What the kernel refuses leaves the book as if it had never been there.
   */
  async grant(owner: Owner, request: Authorized, sentAtMs: UnixMs): Promise<Step<Granted>> {
    while (this.#held !== undefined) await this.#held;
    const { firewall, clock } = this.#options;
    const now = clock.monotonic();
    const prolonged = request.services.every((service) => this.#book.isLive(owner, request.address, service, now));
    const { grants, open } = this.#book.plan(owner, request, sentAtMs, clock.wall(), now);
    this.#unproven.put(grants);
    let isSlow = false;
    try {
      // Not a moment's pause where the kernel has done it already.
      const pending = firewall.open(open);
      isSlow = pending !== undefined;
      if (pending !== undefined) await pending;
    } catch (error) {
      const { gone, back } = this.#unproven.takeBack(grants);
      this.#journal.put(back);
      // A gate that was loaded meanwhile has taken them in, and a lost answer may have been a yes.
      if (isSlow || (error instanceof FirewallError && error.code === 'ANSWER_LOST')) this.#shutting.later(gone);
      if (error instanceof FirewallError) return drop('firewall', error.message);
      throw error;
    }
    this.#unproven.proven(grants);
    // A close or a revocation that came meanwhile has ended it, in the kernel too; unless it overtook the opening there.
    const standing = grants.filter(({ id }) => this.#book.get(id) !== undefined);
    if (isSlow) this.#shutting.later(grants.filter((grant) => !standing.includes(grant)));
    if (standing.length === 0) return drop('superseded', 'closed while it was being opened');
    this.#journal.put(standing.filter((grant) => this.#book.get(grant.id) === grant));
    return pass({ grants: standing, prolonged });
  }

  /** The client's own close: its grants for this address that are meant and older than the close. Connections that live go on. */
  async closeBy(owner: Owner, address: IpAddress, sentAtMs: UnixMs, isMeant: (grant: Grant) => boolean, tell: TellEnded): Promise<void> {
    while (this.#held !== undefined) await this.#held;
    const mark = { key: owner.key, address: address.text, sentAtMs, atMs: this.#options.clock.monotonic() };
    if (this.#closes.add(mark)) this.#journal.closed(mark);
    const ending = this.#book.at(address).filter((grant) => grant.key === owner.key && grant.sentAtMs < sentAtMs && isMeant(grant));
    await this.#end(ending, false, tell);
  }

  /** Ends grants before their time. With `cut`, live connections end too, unless another owner's opening stands for them. */
  async revoke(grants: readonly Grant[], cut: boolean, why: string): Promise<void> {
    await this.#end(grants, cut, (some) => {
      for (const grant of some) this.#tell('revoked', grant, why);
    });
  }

  /**
   * Takes note of grants whose time is over (the kernel has closed them by itself) and forgets closes nobody can be older than. In slices of time:
   * a hundred thousand may end in one second. Call it each second; a sweep that is under way is not disturbed.
   */
  async sweep(): Promise<void> {
    if (this.#sweeping || this.#ended) return;
    this.#sweeping = true;
    try {
      while (this.#held !== undefined) await this.#held;
      await this.#shutting.again();
      const pace = pacing();
      const expired = this.#book.expired(this.#options.clock.monotonic());
      for (let over = this.#takeOver(expired); over.length > 0; over = this.#takeOver(expired)) {
        for (const grant of over) this.#tell('ended', grant, 'its time was over');
        await pace();
      }
      if (this.#ended) return;
      this.#closes.forgetOld(this.#options.clock.monotonic());
      if (this.#journal.lines() > 2 * (this.#book.size + this.#closes.size) + JOURNAL_SLACK) {
        await this.#journal.renew({ grants: this.#book.each(), closes: this.#closes.all() });
      }
    } finally {
      this.#sweeping = false;
    }
  }

  /** Some of those that are over, out of book and journal. */
  #takeOver(expired: Generator<Grant, void>): readonly Grant[] {
    if (this.#ended) return [];
    const over: Grant[] = [];
    while (over.length < SWEPT_AT_ONCE) {
      const next = expired.next();
      if (next.done === true) break;
      over.push(next.value);
    }
    this.#book.remove(over);
    this.#journal.drop(over);
    return [...this.#missed.splice(0, SWEPT_AT_ONCE), ...over];
  }

  /** The host slept: every grant ends that much sooner by the clock that did not run. The gate must be loaded anew after this. */
  async age(sleptMs: number): Promise<void> {
    while (this.#held !== undefined) await this.#held;
    await this.hold(async () => {
      const pace = pacing();
      for (const grant of this.#book.all()) {
        // Somebody else's end of it may have been told meanwhile.
        if (this.#book.get(grant.id) === grant) {
          this.#book.put([{ ...grant, deadlineMs: monotonicMs(grant.deadlineMs - sleptMs) }]);
        }
        await pace();
      }
      await this.#journal.renew({ grants: this.#book.each(), closes: this.#closes.all() });
    });
    await this.sweep();
  }

  /** Set while `hold` is under way: wait for it, look again, and only then decide. */
  get held(): Promise<unknown> | undefined {
    return this.#held;
  }

  /** While this works nothing is opened or shut: what a gate that is loaded anew shall hold stays what it was. One at a time. */
  async hold(work: () => Promise<void>): Promise<void> {
    const working = work();
    this.#held = working.catch(() => undefined);
    try {
      await working;
    } finally {
      this.#held = undefined;
    }
  }

  /** What a gate that is loaded anew shall hold. One-shots stand only if they stood in the kernel just before. */
  async standing(before: readonly TimedOpening[]): Promise<readonly TimedOpening[]> {
    return standingOf(this.#book, this.#options.clock, before);
  }

  /** All of it stands in the journal already, unless some of it could not be written. */
  end(): void {
    this.#ended = true;
    if (!this.#journal.isWhole) this.#journal.rewrite({ grants: this.#book.all(), closes: this.#closes.all() });
    this.#journal.end();
  }

  /** Some at a time: each transaction holds up whoever knocks meanwhile. What fails for some is done for the others (P23). */
  async #end(ending: readonly Grant[], cut: boolean, tell: TellEnded): Promise<void> {
    const failures: unknown[] = [];
    for (let from = 0; from < ending.length; from += ENDED_AT_ONCE) {
      while (this.#held !== undefined) await this.#held;
      // As they stand now: somebody may have ended some of them meanwhile, and told it, or prolonged them.
      const some = ending.slice(from, from + ENDED_AT_ONCE).flatMap(({ id }) => this.#book.get(id) ?? []);
      if (some.length === 0) continue;
      try {
        await this.#endSome(some, cut);
        tell(some);
      } catch (error) {
        failures.push(error);
      }
      if (some.length === ENDED_AT_ONCE) await nextTurn();
    }
    if (failures.length > 0) throw failures[0];
  }

  async #endSome(ending: readonly Grant[], cut: boolean): Promise<void> {
    this.#journal.drop(ending);
    this.#book.remove(ending);
    await this.#shutting.shut(ending, cut);
  }

  #tell(kind: 'revoked' | 'ended', grant: Grant, why: string): void {
    this.#options.observe({ kind, client: grant.client, address: grant.address, services: [grant.label], why, grants: [grant] });
  }
}
