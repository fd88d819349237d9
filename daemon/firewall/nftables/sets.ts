// The sets of the gate: their names, key layouts, sizes, and how an opening becomes the key of an element. Pure.
import type { IpAddress } from '../../../protocol/address.ts';
import { addressFromBytes } from '../../../protocol/address.ts';
import { PROTOCOL_NUMBER, type Protocol } from '../../../protocol/ports.ts';
import { admitsOnce, GRANT_KINDS, type Opening } from '../firewall.ts';
import type { KeyPart } from './expressions.ts';

export type SetSpec = {
  readonly name: string;
  readonly key: readonly KeyPart[];
  /** How many elements it can hold. */
  readonly size: number;
  /** What an element lives for when nobody says. Never absent: an element can never become permanent by mistake. */
  readonly timeoutMs: number;
  /** Rules add or delete elements. */
  readonly dynamic: boolean;
  /** Each element matches once. */
  readonly once: boolean;
};

// Tunable
const GRANT_SIZE = 262_144;
const SMALL_SIZE = 65_536;
const GRANT_TIMEOUT_MS = 30_000;
/** A connection lets conntrack know its answer within two minutes, or it never does. */
const ADMITTED_TIMEOUT_MS = 120_000;
/** As long as conntrack remembers an idle established connection. */
export const CUT_TIMEOUT_MS = 432_000_000;
/** Live connections that were there before the gate, and that conntrack does not know, may stay as idle as others. */
export const LIVE_TIMEOUT_MS = CUT_TIMEOUT_MS;
const TAG_TIMEOUT_MS = 180_000;
/** Room for arming the next tags before the last ones are gone. */
const TAG_HEADROOM = 2;

export type Version = 4 | 6;
export const VERSIONS: readonly Version[] = [4, 6];

const BASE = {
  grant: 'grants',
  ending: 'ending',
  bound: 'bound',
  'bound-ending': 'boundending',
  once: 'once',
  'once-ending': 'onceending',
  lasting: 'lasting',
} as const satisfies Record<Opening['kind'], string>;
export const OPENING_KINDS: readonly Opening['kind'][] = [...GRANT_KINDS, 'lasting'];

export function openingSet(kind: Opening['kind'], version: Version): string {
  return `${BASE[kind]}${version}`;
}

export function openingKeyParts(kind: Opening['kind'], version: Version): readonly KeyPart[] {
  return hasSourcePort(kind) ? [`saddr${version}`, 'l4proto', 'sport', 'dport'] : [`saddr${version}`, 'l4proto', 'dport'];
}

function hasSourcePort(kind: Opening['kind']): boolean {
  return kind === 'bound' || kind === 'bound-ending';
}

export function cutSet(version: Version): string {
  return `cut${version}`;
}

export function cutKeyParts(version: Version): readonly KeyPart[] {
  return [`saddr${version}`, 'l4proto', 'dport'];
}

export function admittedSet(version: Version): string {
  return `admitted${version}`;
}

/** The same for connections that end with their grant: they are let in again only while it stands. */
export function admittedEndingSet(version: Version): string {
  return `admittedending${version}`;
}

export function admittedKeyParts(version: Version): readonly KeyPart[] {
  return [`saddr${version}`, `daddr${version}`, 'l4proto', 'sport', 'dport'];
}

export const TAG_SET = 'tags';
export const TAG_KEY: readonly KeyPart[] = ['tag'];
export const PROTECTED_SET = 'protected';
export const PROTECTED_KEY: readonly KeyPart[] = ['l4proto', 'dport'];

/** Every set with elements that come and go. Without a sieve there are no tags. */
export function setSpecs(tagCapacity: number | undefined): readonly SetSpec[] {
  const tags: SetSpec[] =
    tagCapacity === undefined
      ? []
      : [
          {
            name: TAG_SET,
            key: TAG_KEY,
            size: Math.max(SMALL_SIZE, tagCapacity * TAG_HEADROOM),
            timeoutMs: TAG_TIMEOUT_MS,
            dynamic: true,
            once: true,
          },
        ];
  return [
    ...tags,
    ...OPENING_KINDS.flatMap((kind) =>
      VERSIONS.map((version) => ({
        name: openingSet(kind, version),
        key: openingKeyParts(kind, version),
        size: admitsOnce(kind) || kind === 'lasting' ? SMALL_SIZE : GRANT_SIZE,
        timeoutMs: GRANT_TIMEOUT_MS,
        dynamic: admitsOnce(kind),
        once: admitsOnce(kind),
      })),
    ),
    ...[admittedSet, admittedEndingSet].flatMap((nameOf) =>
      VERSIONS.map((version) => ({
        name: nameOf(version),
        key: admittedKeyParts(version),
        size: SMALL_SIZE,
        timeoutMs: ADMITTED_TIMEOUT_MS,
        dynamic: true,
        once: false,
      })),
    ),
    ...VERSIONS.map((version) => ({
      name: cutSet(version),
      key: cutKeyParts(version),
      size: SMALL_SIZE,
      timeoutMs: CUT_TIMEOUT_MS,
      dynamic: false,
      once: false,
    })),
  ];
}

/** Each part of a key fills whole 32-bit words. */
const PART_BYTES: Record<KeyPart, number> = { saddr4: 4, daddr4: 4, saddr6: 16, daddr6: 16, l4proto: 4, sport: 4, dport: 4, tag: 16 };

export function keyBytes(parts: readonly KeyPart[]): number {
  return parts.reduce((sum, part) => sum + PART_BYTES[part], 0);
}

function encodeKey(...parts: readonly (Uint8Array | { readonly protocol: Protocol } | { readonly port: number })[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + (part instanceof Uint8Array ? part.length : 4), 0));
  let at = 0;
  for (const part of parts) {
    if (part instanceof Uint8Array) {
      out.set(part, at);
      at += part.length;
    } else {
      if ('protocol' in part) out[at] = PROTOCOL_NUMBER[part.protocol];
      else out.set([part.port >> 8, part.port & 0xff], at);
      at += 4;
    }
  }
  return out;
}

export function openingKeyBytes(opening: Opening): Uint8Array {
  const { kind, address, protocol, port, sourcePort } = opening;
  return hasSourcePort(kind)
    ? encodeKey(address.bytes, { protocol }, { port: sourcePort }, { port })
    : encodeKey(address.bytes, { protocol }, { port });
}

export function cutKeyBytes(opening: Opening): Uint8Array {
  return encodeKey(opening.address.bytes, { protocol: opening.protocol }, { port: opening.port });
}

export function protectedKeyBytes(protocol: Protocol, port: number): Uint8Array {
  return encodeKey({ protocol }, { port });
}

/** A TCP connection between a peer and this host. */
export type Flow = { readonly peer: IpAddress; readonly peerPort: number; readonly local: IpAddress; readonly localPort: number };

export function admittedKeyBytes(flow: Flow): Uint8Array {
  return encodeKey(flow.peer.bytes, flow.local.bytes, { protocol: 'tcp' }, { port: flow.peerPort }, { port: flow.localPort });
}

/** What an element of an opening set stands for; undefined for one that we cannot have written. */
export function decodeOpening(kind: Opening['kind'], version: Version, key: Uint8Array): Opening | undefined {
  const width = version === 4 ? 4 : 16;
  if (key.length !== keyBytes(openingKeyParts(kind, version))) return undefined;
  const protocol = key[width] === PROTOCOL_NUMBER.tcp ? 'tcp' : key[width] === PROTOCOL_NUMBER.udp ? 'udp' : undefined;
  if (protocol === undefined) return undefined;
  const port = (at: number): number => (key[at] ?? 0) * 256 + (key[at + 1] ?? 0);
  const address = addressFromBytes(key.subarray(0, width));
  if (address.family !== version) return undefined;
  return {
    kind,
    address,
    protocol,
    port: port(hasSourcePort(kind) ? width + 8 : width + 4),
    sourcePort: hasSourcePort(kind) ? port(width + 4) : 0,
  };
}
