// How one stage hands on to the next: a value, or a drop for one reason out of a closed list.
import type { OpenFailure } from '../protocol/packet.ts';

/**
 * Each way in which a knock ends without a grant: one counter, one line in the log, one row in the documents.
 * The protocol's own (`OpenFailure`) come from opening the packet; the rest are the daemon's.
 */
export type DropReason =
  | OpenFailure
  | 'unknown-tag' // no armed tag: junk that the kernel let through (udp, raw)
  | 'replay' // the ledger has this tag as used
  | 'ledger-unwritable' // the tag could not be marked used, so nothing may be granted
  | 'clock-ahead' // opened, marked and refused: the client's clock is ahead
  | 'stale' // outside the accepted windows
  | 'relayed' // bound to another address than it came from
  | 'source-required' // the rule wants a bound source
  | 'senseless-address' // 0.0.0.0, loopback, multicast, …
  | 'client-disabled'
  | 'client-expired'
  | 'client-network' // the keys_file's from= does not hold the address
  | 'unknown-service' // a service name that the server does not define
  | 'not-allowed' // no allow entry covers the request
  | 'nothing-by-default' // asks for nothing by name, and no allow entry gives by default
  | 'from-network' // the entry's `from` does not hold the address
  | 'not-now' // outside the entry's time window
  | 'source-port' // a source port together with once or sessions: end
  | 'max-grants' // the client has as many live grants as it may
  | 'superseded' // an accepted close of the same client and address is younger
  | 'firewall'; // the kernel refused: nothing was opened

export type Step<T> =
  | { readonly pass: true; readonly value: T }
  | { readonly pass: false; readonly reason: DropReason; readonly detail: string };

export function pass<T>(value: T): { readonly pass: true; readonly value: T } {
  return { pass: true, value };
}

/** `detail` is one sentence for the log: never packet content, never an unescaped name. */
export function drop(reason: DropReason, detail = ''): { readonly pass: false; readonly reason: DropReason; readonly detail: string } {
  return { pass: false, reason, detail };
}
