// The daemon's parts tied together in the one direction of the flow; start, reload and stop in the order that keeps the door shut.
import type { Logger } from 'pino';
import { keyId } from '../protocol/identity.ts';
import type { Datagram } from './capture/capture.ts';
import type { Clock } from './clock.ts';
import { ClockWatch } from './clock-watch.ts';
import { CommandError, type ExitCode } from './command-error.ts';
import type { Config } from './config/config.ts';
import type { Observer } from './decision.ts';
import { type Firewall, FirewallError, type GateLayout, type Sieve } from './firewall/firewall.ts';
import { Flow } from './flow.ts';
import { GateKeeper } from './gate-keeper.ts';
import type { Grant } from './grants/grant-book.ts';
import { GrantKeeper } from './grants/grant-keeper.ts';
import { gateLayout } from './layout.ts';
import type { Ledger } from './ledger/ledger.ts';
import { type Peer, pairPeers } from './open/peers.ts';
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
  readonly observe: Observer;
  readonly log: Logger;
};

export type Reloaded = { readonly clients: number; readonly warnings: readonly string[]; readonly notes: readonly string[] };

export class Postern {
  readonly grants: GrantKeeper;
  readonly gate: GateKeeper;
  readonly tagBook = new TagBook();
  readonly #parts: PosternParts;
  readonly #sieve: SieveKeeper;
  readonly #flow: Flow;
  readonly #clockWatch: ClockWatch;
  #setup: Setup;
  #peers: ReadonlyMap<string, Peer>;
  #rulesLoadedAtMs: number;
  #reloading: Promise<unknown> = Promise.resolve();

  constructor(parts: PosternParts) {
    const { setup, firewall, ledger, clock, bootId, runtimeFolder, observe, log } = parts;
    this.#parts = parts;
    this.#setup = setup;
    this.#rulesLoadedAtMs = clock.wall();
    this.#peers = pairPeers(setup.book, setup.secrets, new Map());
    const onTrouble = (why: string) => log.error(why);
    this.grants = new GrantKeeper({ firewall, clock, runtimeFolder, bootId, observe, onTrouble });
    this.#sieve = new SieveKeeper({
      tagBook: this.tagBook,
      ledger,
      firewall,
      clock,
      toleranceMs: setup.config.clockToleranceMs,
      onTrouble,
    });
    const onEvent = (level: 'info' | 'warn' | 'error', text: string) => log[level](text);
    this.gate = new GateKeeper(this.#layout(setup, this.#peers), { firewall, grants: this.grants, sieve: this.#sieve, onEvent });
    this.#flow = new Flow({
      config: setup.config,
      tagBook: this.tagBook,
      ledger,
      grants: this.grants,
      clock,
      observe,
      repair: () => this.gate.verify(),
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

  /** Puts the gate up, then arms. The capture must be bound already: a tag that comes while nobody listens is spent. */
  async start(): Promise<void> {
    this.#useRules();
    await this.gate.up();
    await this.#sieve.replacePeers(this.#peers);
    this.#parts.firewall.watch(() => void this.gate.verify());
  }

  receive(datagram: Datagram): Promise<void> {
    return this.#flow.receive(datagram).catch((error: unknown) => this.#parts.log.error({ err: error }, 'a knock could not be worked off'));
  }

  /** Once a second: windows, clock steps, grants that are over. */
  async tick(): Promise<void> {
    const event = this.#clockWatch.look();
    if (event.kind === 'step') {
      this.#parts.log.warn(`the clock moved by ${Math.round(event.byMs / 1000)} s: arming the tags of the windows that are acceptable now`);
      if (this.gate.state() === 'up') await this.#sieve.rearm();
    } else if (event.kind === 'window' && this.gate.state() === 'up') {
      await this.#sieve.refresh();
    }
    this.grants.sweep();
  }

  /** Finds out which one-shots were used: the kernel takes them without a word. Asks only when there are any. */
  async noteSpent(): Promise<void> {
    const candidates = this.grants.all().filter((grant) => grant.kind === 'once');
    if (candidates.length === 0) return;
    this.grants.noteSpent(candidates, await this.#parts.firewall.standing());
  }

  /** Reads everything again. What is wrong changes nothing: the running rules stay, and the error names every problem. */
  reload(): Promise<Reloaded> {
    const turn = this.#reloading.then(() => this.#reload());
    this.#reloading = turn.catch(() => undefined);
    return turn;
  }

  /** Ends what one of these names: a grant's id, a client's name, an address. */
  async revoke(who: string, keepSessions: boolean): Promise<readonly Grant[]> {
    const matches = this.grants.all().filter((grant) => grant.id === who || grant.client === who || grant.address.text === who);
    if (matches.length === 0) {
      throw new CommandError(1, `no live grant has ${JSON.stringify(who)} as its id, client or address: "posternd grants" lists them`);
    }
    await this.grants.revoke(matches, !keepSessions, 'by an administrator');
    return matches;
  }

  /** The gate stays, with its grants. Disarm first, so that no tag is spent on a daemon that is gone. */
  async stop(): Promise<void> {
    this.gate.end();
    if (this.gate.state() === 'up') await this.#sieve.disarm();
    this.grants.end();
  }

  async #reload(): Promise<Reloaded> {
    const next = await readSetup(this.#setup.config.file);
    const notes = fixedDifferences(this.#setup.config, next.config);
    const config = { ...next.config, ...fixedParts(this.#setup.config) };
    const setup: Setup = { ...next, config };
    const peers = pairPeers(setup.book, setup.secrets, this.#peers);
    const before = JSON.stringify(this.#layout(this.#setup, this.#peers));
    const layout = this.#layout(setup, peers);
    // The kernel may refuse: then nothing else has changed yet.
    if (this.gate.state() === 'up' && JSON.stringify(layout) !== before) await this.gate.up(layout);
    this.#setup = setup;
    this.#peers = peers;
    this.#rulesLoadedAtMs = this.#parts.clock.wall();
    this.#useRules();
    await this.#sieve.replacePeers(peers);
    await this.#endOrphans();
    return { clients: setup.book.clients.length, warnings: setup.warnings.map(formatProblem), notes };
  }

  #useRules(): void {
    this.#flow.use(this.#setup.config, this.#peers, () => this.gate.state() === 'up');
  }

  /** P39: a client that is gone, disabled or lost the key takes its own grants along, and nobody else's. */
  async #endOrphans(): Promise<void> {
    const holders = new Set(
      this.#setup.book.clients
        .filter(({ enabled }) => enabled)
        .flatMap((client) => client.keys.map((key) => `${client.name} ${keyId(key.publicKey)}`)),
    );
    const orphans = this.grants.all().filter((grant) => !holders.has(`${grant.client} ${grant.key}`));
    await this.grants.revoke(orphans, true, 'the rules do not know this client and key any more');
  }

  #layout(setup: Setup, peers: ReadonlyMap<string, Peer>): GateLayout {
    const slots = [...peers.values()].reduce((sum, peer) => sum + peer.client.slots, 0);
    return gateLayout(setup.config, this.#parts.sieve, slots);
  }
}

/** What a running daemon cannot change: it stands on these. */
function fixedParts(config: Config) {
  const { state, control, table, nflogGroup, capture, firewall, clockToleranceMs } = config;
  const udpPort = capture === 'udp' ? { port: config.port } : {};
  return { state, control, table, nflogGroup, capture, firewall, clockToleranceMs, ...udpPort };
}

function fixedDifferences(running: Config, next: Config): readonly string[] {
  const fixed = fixedParts(running);
  const wanted: Record<string, unknown> = { ...fixedParts(next), ...('port' in fixed ? { port: next.port } : {}) };
  return Object.entries(fixed)
    .filter(([key, value]) => wanted[key] !== value)
    .map(([key]) => `a change of "${key}" needs a restart: until then the old value holds`);
}

/** A host that cannot run the backend is a wrong configuration; all else that the kernel refuses did not work. */
const EXIT_OF: Readonly<Record<string, ExitCode>> = { NO_PERMISSION: 3, KERNEL_TOO_OLD: 2, NATIVE_MISSING: 2 };

/** For the caller that turns a refusal of the kernel into an end of the command. */
export function asCommandError(error: unknown): unknown {
  if (!(error instanceof FirewallError)) return error;
  return new CommandError(EXIT_OF[error.code] ?? 1, `${error.message}: ${error.cure}`);
}
