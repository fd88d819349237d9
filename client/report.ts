// What `knock` prints: lines for people, one object for scripts. The fields of the object are a contract (see --help): only ever add.
import type { KnockSource } from '../protocol/knock.ts';
import type { CommandError } from './command-error.ts';
import type { AddressReport } from './door.ts';
import { type Clock, correctionMs } from './time-source.ts';
import type { World } from './world.ts';

/** `result`: open (seen), sent (not checked), closed (seen), failed. */
export type JsonReport = {
  readonly ok: boolean;
  readonly action: 'open' | 'close';
  readonly host: string;
  readonly result: 'open' | 'sent' | 'closed' | 'failed';
  readonly address: string | null;
  readonly afterMs: number | null;
  readonly wasOpen: boolean | null;
  readonly knocksSent: number;
  readonly services: readonly string[];
  readonly addresses: readonly JsonAddress[];
  readonly notes: readonly string[];
  /** Null when no other clock was asked, or none answered. `offsetMs`: what this machine's is behind (negative: ahead). */
  readonly clock: JsonClock | null;
  readonly error: JsonError | null;
};

type JsonAddress = {
  readonly address: string;
  readonly knocksSent: number;
  readonly source: string | null;
  readonly ports: readonly { readonly service: string; readonly before: string; readonly after: string; readonly afterMs: number | null }[];
};

type JsonClock = { readonly source: string; readonly offsetMs: number; readonly corrected: boolean };

type JsonError = { readonly code: string; readonly message: string; readonly hints: readonly string[] };

export function jsonAddress(report: AddressReport): JsonAddress {
  return {
    address: report.address.text,
    knocksSent: report.sent,
    source: sourceText(report.source),
    ports: report.ports.map((port) => ({
      service: port.service,
      before: port.before,
      after: port.after,
      afterMs: port.openedAfterMs === undefined ? null : roundMs(port.openedAfterMs),
    })),
  };
}

/** `clock` is one that was signed by, `hostClock` one that was only compared with. */
export function jsonClock(clock: Clock | undefined, hostClock: Clock | undefined): JsonClock | null {
  const known = clock?.kind === 'measured' ? clock : hostClock?.kind === 'measured' ? hostClock : undefined;
  if (known === undefined) return null;
  return { source: known.source, offsetMs: Math.round(known.offsetMs), corrected: known === clock && correctionMs(known) !== 0 };
}

export function jsonError(error: CommandError): JsonError {
  return { code: error.code, message: error.message, hints: error.hints };
}

function sourceText(source: KnockSource | undefined): string | null {
  return source?.kind === 'bound' ? source.address.text : null;
}

/** `3 ms`, `0.8 ms`: short times keep a decimal. */
export function formatMs(ms: number): string {
  return ms < 10 ? `${ms.toFixed(1).replace(/\.0$/, '')} ms` : `${Math.round(ms)} ms`;
}

export function roundMs(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** An error and its hints, each a line of its own on stderr. */
export function printError(error: CommandError, world: World): void {
  const [red, plain] = world.color ? ['\x1b[31m', '\x1b[0m'] : ['', ''];
  const hints = error.hints.map((hint) => `  - ${hint}\n`).join('');
  world.err(`${red}knock: ${error.message}${plain}\n${hints}`);
}
