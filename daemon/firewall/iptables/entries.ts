// What stands in the gate for a while: openings, cut connections, and connections that were there before. One shape for all of them,
// whether the kernel keeps them as elements of sets or as rules. Pure.
import type { Family, IpAddress } from '../../../protocol/address.ts';
import type { Protocol } from '../../../protocol/ports.ts';
import type { MonotonicMs } from '../../clock.ts';
import type { Opening } from '../firewall.ts';
import type { Flow } from '../nftables/sets.ts';

export const ENTRY_KINDS = ['grant', 'ending', 'bound', 'bound-ending', 'cut', 'live'] as const;
export type EntryKind = (typeof ENTRY_KINDS)[number];

export type Entry = {
  readonly kind: EntryKind;
  readonly peer: IpAddress;
  readonly protocol: Protocol;
  readonly port: number;
  /** For `bound`, `bound-ending` and `live`, else 0. */
  readonly sourcePort: number;
  /** This host's address, for `live`. */
  readonly local: IpAddress | undefined;
  readonly deadlineMs: MonotonicMs;
};

// Tunable
/** As long as conntrack remembers an idle established connection. */
export const LONG_MS = 432_000_000;

/** The same entry has the same text, whatever its deadline: a map key. */
export function entryKey({ kind, peer, protocol, port, sourcePort, local }: Omit<Entry, 'deadlineMs'>): string {
  return `${kind} ${peer.text} ${protocol} ${port} ${sourcePort} ${local?.text ?? ''}`;
}

export function familyOf(entry: Pick<Entry, 'peer'>): Family {
  return entry.peer.family;
}

/** Undefined for one-shots: what admits exactly one connection cannot be told to iptables. So nothing needs to last for one, either. */
export function entryOf(opening: Opening, deadlineMs: MonotonicMs): Entry | undefined {
  const { kind, address, protocol, port, sourcePort } = opening;
  return kind === 'once' || kind === 'once-ending' || kind === 'lasting'
    ? undefined
    : { kind, peer: address, protocol, port, sourcePort, local: undefined, deadlineMs };
}

/** The entry that cuts the connections of an opening. */
export function cutOf({ address, protocol, port }: Pick<Opening, 'address' | 'protocol' | 'port'>, deadlineMs: MonotonicMs): Entry {
  return { kind: 'cut', peer: address, protocol, port, sourcePort: 0, local: undefined, deadlineMs };
}

export function liveOf(flow: Flow, deadlineMs: MonotonicMs): Entry {
  const { peer, peerPort, local, localPort } = flow;
  return { kind: 'live', peer, protocol: 'tcp', port: localPort, sourcePort: peerPort, local, deadlineMs };
}

/** Undefined for what is no opening. */
export function openingOf({ kind, peer, protocol, port, sourcePort }: Entry): Opening | undefined {
  return kind === 'cut' || kind === 'live' ? undefined : { kind, address: peer, protocol, port, sourcePort };
}

/** Each entry once: the last one given counts. */
export function byKey(entries: readonly Entry[]): Map<string, Entry> {
  return new Map(entries.map((entry) => [entryKey(entry), entry]));
}
