// What the daemon asks of a firewall, in the daemon's words. Tables, sets and verdicts stay inside the backends.
import type { IpAddress, Network } from '../../protocol/address.ts';
import type { PortRange, Protocol } from '../../protocol/ports.ts';

/**
 * How the kernel hands knocks over: logged to an NFLOG group and dropped; let through to a socket on the port, or to a raw socket, with the
 * host silent about what nobody else listens for; or no sieve (kernel too old).
 */
export type Sieve =
  | { readonly kind: 'log'; readonly group: number; readonly prefix: string }
  /** Whatever is as long as a knock, whether a tag is armed or not: where tags are not known. */
  | { readonly kind: 'log-all'; readonly group: number; readonly prefix: string }
  | { readonly kind: 'pass'; readonly to: 'socket' | 'raw' }
  | { readonly kind: 'none' };

/** The structure of the gate: all that comes from the configuration. Elements (tags, openings) come later and go. */
export type GateLayout = {
  readonly knockPort: number;
  /** Empty: every interface but lo. */
  readonly interfaces: readonly string[];
  /** Merged, sorted, no overlaps. */
  readonly protect: readonly PortRange[];
  readonly trusted: readonly Network[];
  /** Networks behind this host that are gated too. */
  readonly networks: readonly Network[];
  readonly refuse: 'drop' | 'reject';
  readonly unmatched: 'drop' | 'pass';
  readonly sieve: Sieve;
  /** How many tags may be armed at once. */
  readonly tagCapacity: number;
};

/**
 * What a grant admits: `grant` any connection, `bound` those from one source port, `once` a single one. Connections live on after their
 * grant, except those of the kinds in `-ending` and of `ending`, which end with it.
 */
export const GRANT_KINDS = ['grant', 'ending', 'bound', 'bound-ending', 'once', 'once-ending'] as const;
export type GrantKind = (typeof GRANT_KINDS)[number];

/** One element of a set. `lasting` admits nobody: connections that end with their grant may go on while it stands. */
export type Opening = {
  readonly kind: GrantKind | 'lasting';
  readonly address: IpAddress;
  readonly protocol: Protocol;
  readonly port: number;
  /** The source port for `bound` and `bound-ending`, else 0. */
  readonly sourcePort: number;
};

/** Less than this is over before anybody could use it, and 0 would be for ever. */
export const SHORTEST_OPENING_MS = 1000;

/** An opening and how long it shall still stand; under SHORTEST_OPENING_MS it is left out. */
export type TimedOpening = { readonly opening: Opening; readonly remainingMs: number };

export const ONE_SHOT_KINDS: readonly Opening['kind'][] = ['once', 'once-ending'];

/** Whether it admits a single connection: the kernel then takes it out by itself, and only the kernel knows. */
export function admitsOnce(kind: Opening['kind']): boolean {
  return ONE_SHOT_KINDS.includes(kind);
}

/** The same opening has the same text, whatever object it is: a map key. */
export function openingKey(opening: Opening): string {
  return `${opening.kind} ${opening.address.text} ${opening.protocol} ${opening.port} ${opening.sourcePort}`;
}

export type GateCounters = {
  /** Knocks that the sieve handed over. */
  readonly knocks: number;
  /** Datagrams to the knock port without an armed tag. */
  readonly junk: number;
  /** Packets to protected ports without a grant. */
  readonly refused: number;
  /** Packets of connections that were cut or ended with their grant. */
  readonly ended: number;
};

/** `passing`: the gate goes with this process where the kernel can see to it (a trial that nobody ends must not lock anybody out). */
export type InstallOptions = { readonly passing?: boolean };

/** `closed` is what `close` did to it; a one-shot that was used is gone without any call of ours. */
export type Firewall = {
  readonly name: 'nftables' | 'iptables' | 'none';
  /**
   * Loads or replaces the whole gate in one transaction, then its elements; nothing slips through in between (P30e).
   * `fresh` is true when no gate stood before: connections that live already are then let on (P30f). Call nothing else that opens or shuts until
   * it has ended. Thousands of openings may follow the gate by a moment where none stood before: closing comes first.
   */
  readonly install: (
    layout: GateLayout,
    openings: readonly TimedOpening[],
    options?: InstallOptions,
  ) => Promise<{ readonly fresh: boolean }>;
  /** True while the gate in the kernel is the one we installed: a cheap check. */
  readonly intact: () => Promise<boolean>;
  /** Calls back, at once, whenever somebody may have changed or removed our table. Observing only; the caller decides. */
  readonly watch: (onSuspicion: () => void) => void;
  /**
   * One transaction: all of them stand for exactly the given time from now, or a FirewallError and none does. Takes them out of `cut`.
   * Done when it returns; a backend that needs longer gives a promise, and does this, `close` and `install` in the order of the calls.
   */
  readonly open: (openings: readonly TimedOpening[]) => Promise<void> | undefined;
  /** One transaction: takes openings out (absent ones are no error) and, with `cut`, ends their live connections. */
  readonly close: (openings: readonly Opening[], cut: boolean) => Promise<void>;
  /** What stands in the kernel now, of these kinds or of all, with what remains. Spent one-shots are absent. */
  readonly standing: (kinds?: readonly Opening['kind'][]) => Promise<readonly TimedOpening[]>;
  /** Makes tags valid in the sieve for `timeoutMs`. In batches, off the event loop. Ones already armed are left alone. */
  readonly arm: (tags: readonly Uint8Array[], timeoutMs: number) => Promise<void>;
  readonly disarm: (tags: readonly Uint8Array[]) => Promise<void>;
  readonly disarmAll: () => Promise<void>;
  readonly counters: () => Promise<GateCounters>;
  /** `gate down`: removes our table and nothing else. */
  readonly remove: () => Promise<void>;
  /** Lets go of sockets; the gate stays. */
  readonly release: () => Promise<void>;
};

/** The kernel or its tool refused. Nothing of the transaction holds. */
export class FirewallError extends Error {
  readonly code: string;
  readonly cure: string;
  constructor(code: string, message: string, cure: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'FirewallError';
    this.code = code;
    this.cure = cure;
  }
}
