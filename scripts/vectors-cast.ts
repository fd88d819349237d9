// Who appears in the test vectors, and when: fixed keys, pairings and one window.
import { createHash } from 'node:crypto';
import { type SecretKey, secretFromSeed } from '../protocol/identity.ts';
import { type Pairing, pairAsClient } from '../protocol/pairing.ts';

export const NAMES = ['alice', 'bob', 'server-1', 'server-2'] as const;
export type Name = (typeof NAMES)[number];

/** 2026-11-21 14:00:00 UTC, the first millisecond of a window. */
export const START_MS = 1_795_269_600_000;
export const WINDOW = START_MS / 60_000;

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function digest(text: string): Uint8Array {
  return createHash('sha256').update(text).digest();
}

export function secretOf(name: Name): SecretKey {
  return secretFromSeed(digest(`postern test vectors: ${name}`));
}

export const PSK = digest('postern test vectors: pre-shared key');

export const PAIRINGS = {
  'alice → server-1': { client: 'alice', server: 'server-1' },
  'alice → server-1, pre-shared key': { client: 'alice', server: 'server-1', psk: PSK },
  'alice → server-2': { client: 'alice', server: 'server-2' },
  'bob → server-1': { client: 'bob', server: 'server-1' },
} as const satisfies Record<string, { client: Name; server: Name; psk?: Uint8Array }>;
export type PairingName = keyof typeof PAIRINGS;

export function pairingOf(name: PairingName): Pairing {
  const pairing: { client: Name; server: Name; psk?: Uint8Array } = PAIRINGS[name];
  return pairAsClient(secretOf(pairing.client), secretOf(pairing.server).publicKey, pairing.psk);
}
