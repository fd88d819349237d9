// All rule files together, as policy uses them: clients with their keys, and allow entries in the order that decides. Plain data throughout (no
// functions, no classes): a thread reads it and hands it over.
import type { Network } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import type { PublicKey } from '../../protocol/identity.ts';
import type { PortRange } from '../../protocol/ports.ts';
import type { Hooks } from '../hooks/hook.ts';
import type { Place } from '../problem.ts';
import type { TimeWindow } from './time-window.ts';

/** One key of a client, with the limits that its keys_file line set on it. */
export type ClientKey = {
  readonly publicKey: PublicKey;
  readonly fingerprint: string;
  readonly expiresAtMs: UnixMs | undefined;
  /** From the keys_file's `from=`; undefined: anywhere. */
  readonly from: readonly Network[] | undefined;
  /** Where that `from=` stands. */
  readonly place?: Place;
};

export type Client = {
  readonly name: string;
  readonly keys: readonly ClientKey[];
  /** 32-byte pre-shared keys, none to two. With any, pairing without one does not exist. */
  readonly presharedKeys: readonly Uint8Array[];
  /** Knocks a minute, 1 to 64. */
  readonly slots: number;
  readonly enabled: boolean;
  readonly expiresAtMs: UnixMs | undefined;
  /** The allow entries that hold for this client, in deciding order: file name, then position. */
  readonly allow: readonly AllowEntry[];
  readonly place: Place;
};

export type NamedService = { readonly name: string; readonly ports: readonly PortRange[] };

export type AllowEntry = {
  readonly services: readonly NamedService[];
  readonly byDefault: boolean;
  readonly from: readonly Network[] | undefined;
  /** undefined: at any time. */
  readonly when: TimeWindow | undefined;
  /** Default lifetime and the most that a knock can ask for. */
  readonly ttlSeconds: number;
  readonly maxTtlSeconds: number;
  readonly once: boolean;
  readonly sessions: 'keep' | 'end';
  readonly requireSource: boolean;
  readonly onBehalf: boolean;
  readonly hooks: Hooks;
  readonly place: Place;
};

export type RuleBook = { readonly clients: readonly Client[] };
