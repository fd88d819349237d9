// Keeps the gate in the kernel the one we mean: puts it up, takes it down when told, and puts it back when somebody else took it.
import type { Firewall, GateLayout, TimedOpening } from './firewall/firewall.ts';
import { FirewallError } from './firewall/firewall.ts';
import type { GrantKeeper } from './grants/grant-keeper.ts';
import type { SieveKeeper } from './sieve-keeper.ts';

/** Tunable: how long to wait before a gate that could not be loaded is tried again. */
const RETRY_MS = 1000;

export type GateKeeperOptions = {
  readonly firewall: Firewall;
  readonly grants: GrantKeeper;
  readonly sieve: SieveKeeper;
  readonly onEvent: (level: 'info' | 'warn' | 'error', text: string) => void;
};

export class GateKeeper {
  readonly #options: GateKeeperOptions;
  #layout: GateLayout;
  #wanted: 'up' | 'down' = 'down';
  #queue: Promise<unknown> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;

  constructor(layout: GateLayout, options: GateKeeperOptions) {
    this.#layout = layout;
    this.#options = options;
  }

  state(): 'up' | 'down' {
    return this.#wanted;
  }

  /** Loads the gate with every live grant, then arms the tags. Throws FirewallError when the kernel refuses. */
  up(layout: GateLayout = this.#layout): Promise<void> {
    return this.#inTurn(async () => {
      await this.#install(layout);
      this.#layout = layout;
      this.#wanted = 'up';
    });
  }

  /** Opens everything: only ever by an administrator's word. */
  down(): Promise<void> {
    return this.#inTurn(async () => {
      this.#wanted = 'down';
      await this.#options.sieve.disarm();
      await this.#options.firewall.remove();
    });
  }

  /** Cheap when all is well. Repairs at once when not, and again until it succeeds: closed on every doubt. */
  verify(): Promise<void> {
    return this.#inTurn(async () => {
      const { firewall, onEvent } = this.#options;
      if (this.#wanted === 'down' || (await firewall.intact())) return;
      onEvent('warn', 'the gate in the kernel is not ours any more (somebody flushed or changed the ruleset): loading it again');
      try {
        await this.#install(this.#layout);
        onEvent('info', 'the gate is back, with its live grants');
      } catch (error) {
        if (!(error instanceof FirewallError)) throw error;
        onEvent('error', `the gate could not be loaded: ${error.message}: ${error.cure}; trying again in ${RETRY_MS / 1000} s`);
        clearTimeout(this.#retry);
        this.#retry = setTimeout(() => void this.verify(), RETRY_MS);
      }
    });
  }

  end(): void {
    clearTimeout(this.#retry);
  }

  async #install(layout: GateLayout): Promise<void> {
    const { firewall, grants, sieve } = this.#options;
    // What stood just before tells which one-shots were not used yet; after a flush nothing did.
    const before = await firewall.standing().catch((): readonly TimedOpening[] => []);
    await firewall.install(layout, grants.standing(before));
    await sieve.rearm();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}
