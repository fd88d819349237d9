// A system under test: something that opens TIMED_PORT of a server for whoever knocks. What every measurement may ask of it.
import type { Host } from '../../lab/host.ts';
import type { Command, SentKnock } from '../knock-sender-calls.ts';

/** Lifetime of every grant: the default of all three systems. */
export const GRANT_SECONDS = 30;

/** A server with its cable to the client. */
export type Ground = {
  readonly server: Host;
  readonly client: Host;
};

/** The client's address on the cable to this server: where its own programs knock from. */
export function clientAddress({ server, client }: Ground): string {
  const cable = server.ipv4().split('.').slice(0, 3).join('.');
  const found = client.interfaces.find(({ ipv4 }) => ipv4.startsWith(`${cable}.`));
  if (found === undefined) throw new Error(`no cable from ${client.name} to ${server.name}`);
  return found.ipv4;
}

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
  /** The same by the system's own client program, whole: the command line, to be started inside `ground.client`. */
  readonly clientCommand: () => Command;
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
  readonly create: (ground: Ground, options?: CreateOptions) => Promise<SystemUnderTest>;
};

export type CreateOptions = {
  /** How many keys it knows. */
  readonly clients?: number;
  /** Knocks of each in a minute, where the system limits them. */
  readonly slots?: number;
};
