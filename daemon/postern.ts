// The daemon's parts tied together in the one direction of the flow; start, reload and stop in the order that keeps the door shut.
import type { Logger } from 'pino';
import type { Datagram } from './capture/capture.ts';
import type { Clock } from './clock.ts';
import { ClockWatch } from './clock-watch.ts';
import { CommandError } from './command-error.ts';
import type { Config } from './config/config.ts';
import { keepLastGood } from './config/last-good.ts';
import type { Observer } from './decision.ts';
import type { EventObserver } from './events.ts';
import { type Firewall, FirewallError, type GateLayout, type Sieve } from './firewall/firewall.ts';
import { fixedDifferences, fixedParts } from './fixed-parts.ts';
import { Flow } from './flow.ts';
import { GateKeeper } from './gate-keeper.ts';
import { type OrderByHand, readByHand } from './grants/by-hand.ts';
import { footingOf } from './grants/footing.ts';
import type { Grant } from './grants/grant-book.ts';
import { GrantKeeper } from './grants/grant-keeper.ts';
import type { Restored } from './grants/restore.ts';
import { gateLayout } from './layout.ts';
import type { Ledger } from './ledger/ledger.ts';
import type { Peer } from './open/peers.ts';
import { TagBook } from './open/tag-book.ts';
import { formatProblem } from './problem.ts';
import { readSetup, type Setup } from './setup.ts';
import { SieveKeeper } from './sieve-keeper.ts';

export type PosternParts = {
  readonly setup: Setup;
  readonly firewall: Firewall;
  readonly ledger: Ledger;
  readonly sieve: Sieve;
  readonly clock: Clock;
  readonly bootId: string;
  readonly runtimeFolder: string;
  /** What the daemon before this one had granted. */
  readonly left: Restored;
  readonly observe: Observer;
  readonly note?: EventObserver;
  readonly log: Logger;
};

export type OpenedByHand = { readonly grants: readonly Grant[]; readonly notes: readonly string[] };
export type Reloaded = { readonly clients: number; readonly warnings: readonly string[]; readonly notes: readonly string[] };

export class Postern {
  readonly grants: GrantKeeper;
  readonly gate: GateKeeper;
  readonly tagBook = new TagBook();
  readonly #parts: Omit<PosternParts, 'setup' | 'left'>;
  readonly #sieve: SieveKeeper;
  readonly #flow: Flow;
  readonly #clockWatch: ClockWatch;
  #setup: Setup;
  #peers: ReadonlyMap<string, Peer>;
  #rulesLoadedAtMs: number;
  /** When a client or key of the rules expires next. */
  #nextExpiryMs = Number.POSITIVE_INFINITY;
  #reloading: Promise<unknown> = Promise.resolve();
  readonly #receiving = new Set<Promise<void>>();

  constructor(parts: PosternParts) {
    // Not kept with the other parts: the first rules must not stay in memory for ever.
    const { setup, left, ...fixed } = parts;
    const { firewall, ledger, clock, bootId, runtimeFolder, observe, log } = fixed;
    this.#parts = fixed;
    this.#setup = setup;
    this.#rulesLoadedAtMs = clock.wall();
    this.#peers = setup.peers;
    const onTrouble = (why: string) => log.error(why);
    const repair = async () => {
      await this.gate.verify();
      return this.gate.state();
    };
    this.grants = new GrantKeeper({ firewall, clock, runtimeFolder, bootId, left, observe, onTrouble, repair });
    this.#sieve = new SieveKeeper({
      tagBook: this.tagBook,
      ledger,
      firewall,
      clock,
      toleranceMs: setup.config.clockToleranceMs,
      onTrouble,
    });
    const onEvent = (level: 'info' | 'warn' | 'error', text: string) => log[level](text);
    this.gate = new GateKeeper(this.#layout(setup, this.#peers), {
      firewall,
      grants: this.grants,
      sieve: this.#sieve,
      onEvent,
      onOrder: (state) => fixed.note?.({ kind: `gate-${state}` }),
    });
    this.#flow = new Flow({
      config: setup.config,
      tagBook: this.tagBook,
      ledger,
      grants: this.grants,
      clock,
      observe,
      repair,
    });
    this.#clockWatch = new ClockWatch(clock);
  }

  config(): Config {
    return this.#setup.config;
  }

  clientCount(): number {
    return this.#setup.book.clients.length;
  }

  rulesLoadedAtMs(): number {
    return this.#rulesLoadedAtMs;
  }

  /**
   * Puts the gate up (or does with it what `putUp` does), then arms. The capture must be bound already: a tag that comes while nobody listens
   * is spent.
   */
  async start(putUp: () => Promise<void> = () => this.gate.up()): Promise<void> {
    this.#useRules();
    await putUp();
    // The rules may have changed while no daemon ran.
    for (const note of await this.#endOrphans()) this.#parts.log.warn(note);
    await this.#sieve.replacePeers(this.#peers);
    const refusal = this.#sieve.refusal();
    // A running daemon tries again; one that cannot hear anybody from the start had better say so and end.
    if (refusal !== undefined) throw refusal;
    this.#parts.firewall.watch(() => void this.gate.verify());
    await this.#keepConfig();
  }

  receive(datagram: Datagram): Promise<void> {
    const work = this.#flow
      .receive(datagram)
      .catch((error: unknown) => this.#parts.log.error({ err: error }, 'a knock could not be worked off'))
      .finally(() => this.#receiving.delete(work));
    this.#receiving.add(work);
    return work;
  }

  /** Once a second: windows, clock steps, grants that are over. */
  async tick(): Promise<void> {
    const event = this.#clockWatch.look();
    if (event.kind === 'step') {
      this.#parts.log.warn(`the clock moved by ${Math.round(event.byMs / 1000)} s: arming the tags of the windows that are acceptable now`);
      // Who has expired by the new time is out, who has not is in.
      this.#nextExpiryMs = 0;
      if (this.gate.state() === 'up') await this.#sieve.rearm();
    } else if (event.kind === 'sleep') {
      this.#parts.log.warn(`the host slept for ${Math.round(event.byMs / 1000)} s: grants end as if it had not, tags are armed anew`);
      await this.grants.age(event.byMs);
      await this.gate.again();
    } else if (event.kind === 'window' || this.#sieve.refusal() !== undefined) {
      await this.#sieve.refresh();
    }
    if (this.#parts.clock.wall() >= this.#nextExpiryMs) await this.#endOrphans();
    await this.grants.sweep();
  }

  /** Finds out which one-shots were used: the kernel takes them without a word. Asks only when there are any. */
  async noteSpent(): Promise<void> {
    // Without a gate nothing stands, and nothing was spent.
    if (this.gate.state() === 'down') return;
    await this.grants.oneShots.noteUsed().catch((error: unknown) => {
      if (!(error instanceof FirewallError)) throw error;
    });
  }

  /** Reads everything again. What is wrong changes nothing: the running rules stay, and the error names every problem. */
  reload(): Promise<Reloaded> {
    const turn = this.#reloading.then(() => this.#reload());
    const told = turn.then(
      ({ clients }) => this.#parts.note?.({ kind: 'reload', clients }),
      (error: unknown) => this.#parts.note?.({ kind: 'reload-failed', why: error instanceof Error ? error.message : String(error) }),
    );
    this.#reloading = told.catch(() => undefined);
    return turn;
  }

  /** Opens what an administrator orders, without any rule. Throws a CommandError when that makes no sense or did not work. */
  async grantByHand(order: OrderByHand): Promise<OpenedByHand> {
    const { clock, observe } = this.#parts;
    const { config, book } = this.#setup;
    const now = clock.wall();
    const context = { config, clients: book.clients, grantsOf: (client: string) => this.grants.of(client), now };
    const { owner, authorized, notes } = readByHand(order, context);
    if (this.gate.state() === 'down') throw new CommandError(1, 'the gate is down, so everything is open: "posternd gate up" closes it');
    await this.grants.oneShots.before(authorized);
    let granted = await this.grants.grant(owner, authorized, now);
    if (!granted.pass) {
      // As for a knock: the table may just have been flushed by somebody.
      await this.gate.verify();
      granted = await this.grants.grant(owner, authorized, now);
    }
    if (!granted.pass) throw new CommandError(1, `nothing was opened: ${granted.detail}`);
    const { grants, prolonged } = granted.value;
    const { address, services } = authorized;
    const lifetimeSeconds = Math.max(...services.map((service) => service.lifetimeSeconds));
    observe({
      kind: 'granted',
      client: owner.client,
      address,
      services: services.map(({ label }) => label),
      lifetimeSeconds,
      prolonged,
      grants,
    });
    return { grants, notes };
  }

  /** Ends what one of these names: a grant's id, a client's name, an address. */
  async revoke(who: string, keepSessions: boolean): Promise<readonly Grant[]> {
    const matches = this.grants.named(who);
    if (matches.length === 0) {
      throw new CommandError(1, `no live grant has ${JSON.stringify(who)} as its id, client or address: "posternd grants" lists them`);
    }
    try {
      await this.grants.revoke(matches, !keepSessions, 'by an administrator');
    } catch (error) {
      if (!(error instanceof FirewallError)) throw error;
      throw new CommandError(1, `not all of it could be shut: ${error.message}: ${error.cure}; the rest is tried again every second`);
    }
    return matches;
  }

  /** The first half of a stop: nobody knocks in vain on a daemon that is gone. What is on its way is still worked off. */
  async disarm(): Promise<void> {
    await this.gate.end();
    await this.#sieve.disarm();
  }

  /** The second half, when the capture has handed over its last packet. The gate stays, with its grants. */
  async end(): Promise<void> {
    await Promise.all(this.#receiving);
    this.grants.end();
  }

  /** A mistake in the file must not leave the server open at the next boot: `gate up` falls back to this. */
  async #keepConfig(): Promise<void> {
    const trouble = await keepLastGood(this.#setup.config);
    if (trouble !== undefined) this.#parts.log.warn(trouble);
  }

  async #reload(): Promise<Reloaded> {
    const next = await readSetup(this.#setup.config.file, this.#peers);
    const fixed = fixedParts(this.#setup.config, this.#parts.sieve);
    const notes = fixedDifferences(fixed, fixedParts(next.config, this.#parts.sieve));
    const config = { ...next.config, ...fixed };
    const setup: Setup = { ...next, config };
    const { peers } = setup;
    // The kernel may refuse: then nothing else has changed yet.
    await this.gate.use(this.#layout(setup, peers));
    if (config.log.level !== this.#setup.config.log.level) this.#parts.log.level = config.log.level;
    this.#setup = setup;
    this.#peers = peers;
    this.#rulesLoadedAtMs = this.#parts.clock.wall();
    this.#useRules();
    // Who is out must be out whatever else fails.
    let standing: readonly string[] = [];
    try {
      standing = await this.#endOrphans();
    } finally {
      await this.#sieve.replacePeers(peers);
    }
    await this.#keepConfig();
    return { clients: setup.book.clients.length, warnings: setup.warnings.map(formatProblem), notes: [...notes, ...standing] };
  }

  #useRules(): void {
    this.#flow.use(this.#setup.config, this.#peers, () => this.gate.state() === 'up');
  }

  /** P39: a client that is gone, disabled, expired or lost the key takes its own grants along, and nobody else's. Gives back what stands on. */
  async #endOrphans(): Promise<readonly string[]> {
    const { clock, log } = this.#parts;
    const { orphans, notes, nextExpiryMs } = await footingOf(this.grants.each(), this.#setup.book, clock.wall());
    this.#nextExpiryMs = nextExpiryMs;
    try {
      await this.grants.revoke(orphans, true, 'the rules do not give this client and key anything any more');
    } catch (error) {
      // The new rules hold all the same.
      if (!(error instanceof FirewallError)) throw error;
      log.error(`not all grants of clients that are out could be shut: ${error.message}: ${error.cure}; trying again every second`);
    }
    return notes;
  }

  #layout(setup: Setup, peers: ReadonlyMap<string, Peer>): GateLayout {
    const slots = [...peers.values()].reduce((sum, peer) => sum + peer.client.slots, 0);
    return gateLayout(setup.config, this.#parts.sieve, slots);
  }
}
