// A system under test: something that opens TIMED_PORT of a server for whoever knocks. What every measurement may ask of it; types only.
import type { Host } from '../../lab/host.ts';
import type { SentKnock } from '../knock-sender-calls.ts';

/** Lifetime of every grant: the default of all three systems. */
export const GRANT_SECONDS = 30;

/** A server with its cable to the client. */
export type Ground = {
  readonly server: Host;
  readonly client: Host;
};

export type SystemUnderTest = {
  /** As it stands in tables. */
  readonly name: string;
  readonly ground: Ground;
  /** Starts the daemon and comes back when it hears knocks; tells how long that took. */
  readonly start: () => Promise<{ readonly tookMs: number }>;
  readonly stop: () => Promise<void>;
  /** The daemon's own process. */
  readonly pid: () => number;
  /**
   * A valid knock for each of these source addresses, good for a minute or so: made before, so that making it is not measured. `client`: whose keys,
   * counting from 0; without it, whoever has knocks left.
   */
  readonly knocks: (from: readonly string[], client?: number) => Promise<readonly SentKnock[]>;
  /** The same by the system's own client program, whole: the command line, to be started inside `ground.client`. Undefined: it has none. */
  readonly clientCommand: (() => { readonly argv: readonly string[]; readonly env: Readonly<Record<string, string>> }) | undefined;
  /** Ends what `clientCommand` opened. */
  readonly shut: () => Promise<void>;
  /** Ends it and removes its files. */
  readonly close: () => Promise<void>;
};

/** One way to run a system. */
export type Variant = {
  /** For the command line and the results: letters, digits, hyphens. */
  readonly key: string;
  readonly name: string;
  /** How it was set up, for the documents. */
  readonly setup: string;
  /** `clients`: how many keys it knows. */
  readonly create: (ground: Ground, options?: { readonly clients?: number }) => Promise<SystemUnderTest>;
};
