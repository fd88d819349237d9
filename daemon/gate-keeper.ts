// Keeps the gate in the kernel the one we mean: puts it up, takes it down when told, and puts it back when somebody else took it.
import type { Firewall, GateLayout, InstallOptions, TimedOpening } from './firewall/firewall.ts';
import { FirewallError, ONE_SHOT_KINDS } from './firewall/firewall.ts';
import type { GrantKeeper } from './grants/grant-keeper.ts';
import type { SieveKeeper } from './sieve-keeper.ts';

/** Tunable: how long to wait before a gate that could not be loaded is tried again. */
const RETRY_MS = 1000;

export type GateKeeperOptions = {
  readonly firewall: Firewall;
  readonly grants: GrantKeeper;
  readonly sieve: SieveKeeper;
  readonly onEvent: (level: 'info' | 'warn' | 'error', text: string) => void;
  /** It goes up or down by order; told when that is done. */
  readonly onOrder: (state: 'up' | 'down') => void;
};

export class GateKeeper {
  readonly #options: GateKeeperOptions;
  #layout: GateLayout;
  #wanted: 'up' | 'down' = 'down';
  /** While a trial runs: the gate then goes with this process. */
  #passing = false;
  #queue: Promise<unknown> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #failures = 0;
  #ended = false;

  constructor(layout: GateLayout, options: GateKeeperOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  state(): 'up' | 'down' {
    return this.#wanted;
  }

  /**
   * Loads the gate with every live grant, then arms the tags. Throws FirewallError when the kernel refuses. `passing`: only for as long as this
   * process lives; a later call without it makes the same gate stay.
   */
  up({ passing = false }: InstallOptions = {}): Promise<void> {
    return this.#inTurn(async () => {
      const before = this.#passing;
      this.#passing = passing;
      try {
        await this.#install(this.#layout);
      } catch (error) {
        this.#passing = before;
        throw error;
      }
      const isNew = this.#wanted === 'down';
      this.#wanted = 'up';
      if (isNew) this.#options.onOrder('up');
    });
  }

  /** New rules. A gate that stands changes now, or this throws and nothing has changed; one that is down will be this one when it goes up. */
  use(layout: GateLayout): Promise<void> {
    return this.#inTurn(async () => {
      const same = JSON.stringify(layout) === JSON.stringify(this.#layout);
      if (this.#wanted === 'up' && !same) await this.#install(layout);
      this.#layout = layout;
    });
  }

  /** Time has passed that the kernel does not know of: every opening gets what is left of it, and nothing that was armed counts any more. */
  again(): Promise<void> {
    return this.#inTurn(async () => {
      try {
        if (this.#wanted === 'up') await this.#install(this.#layout);
      } catch (error) {
        this.#tryAgain(error, () => this.again());
      }
    });
  }

  /** Opens everything: only ever by an administrator's word. */
  down(): Promise<void> {
    return this.#inTurn(async () => {
      const { sieve, firewall, onOrder } = this.#options;
      const before = this.#wanted;
      this.#wanted = 'down';
      await sieve.disarm();
      try {
        await firewall.remove();
      } catch (error) {
        // It still stands, so it must go on hearing knocks.
        this.#wanted = before;
        if (before === 'up') await sieve.rearm();
        throw error;
      }
      if (before === 'up') onOrder('down');
    });
  }

  /** Cheap when all is well. Repairs at once when not, and again until it succeeds: closed on every doubt. Never rejects: nobody waits for most calls. */
  verify(): Promise<void> {
    return this.#inTurn(async () => {
      const { firewall, onEvent } = this.#options;
      try {
        if (this.#wanted === 'down') return;
        if (await firewall.intact()) {
          if (this.#failures > 0) onEvent('info', 'the gate stands again');
          this.#failures = 0;
          return;
        }
        // Once: while it cannot be loaded this is asked every second.
        if (this.#failures === 0)
          onEvent('warn', 'the gate in the kernel is not ours any more (somebody flushed or changed the ruleset): loading it again');
        await this.#install(this.#layout);
        onEvent('info', 'the gate is back, with its live grants');
      } catch (error) {
        this.#tryAgain(error, () => this.verify());
      }
    });
  }

  /** From here on nothing touches the gate any more, whoever asks: it stays as it stands. */
  end(): Promise<void> {
    clearTimeout(this.#retry);
    const last = this.#inTurn(async () => clearTimeout(this.#retry));
    this.#ended = true;
    return last.then(() => undefined);
  }

  #tryAgain(error: unknown, work: () => Promise<void>): void {
    this.#failures += 1;
    // The 1st, 2nd, 4th, 8th … time: a kernel that says no all night must not fill the log.
    if ((this.#failures & (this.#failures - 1)) === 0) {
      const { onEvent } = this.#options;
      const why = error instanceof FirewallError ? `${error.message}: ${error.cure}` : String(error);
      onEvent('error', `the gate could not be loaded: ${why}; trying again every ${RETRY_MS / 1000} s`);
    }
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void work(), RETRY_MS);
  }

  async #install(layout: GateLayout): Promise<void> {
    const { firewall, grants, sieve } = this.#options;
    await grants.hold(async () => {
      // What stood just before tells which one-shots were not used yet; after a flush nothing did.
      const before = await firewall.standing(ONE_SHOT_KINDS).catch((): readonly TimedOpening[] => []);
      await firewall.install(layout, await grants.standing(before), { passing: this.#passing });
    });
    this.#failures = 0;
    await sieve.rearm();
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    if (this.#ended) return this.#queue.then(() => undefined);
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}
