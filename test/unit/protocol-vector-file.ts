// protocol/vectors.json as the tests read it.
import { readFileSync } from 'node:fs';

export type GoodKey = {
  readonly name: string;
  readonly seed: string;
  readonly public: string;
  readonly line: string;
  readonly fingerprint: string;
  readonly x25519_scalar: string;
  readonly x25519_public: string;
};

export type PairingVector = {
  readonly name: string;
  readonly client: string;
  readonly server: string;
  readonly box_key: string;
  readonly psk: string | null;
  readonly k: string;
  readonly k_tag: string;
  readonly k_seal: string;
};

export type RequestFields = { readonly service: string } | { readonly protocol: number; readonly first: number; readonly last: number };

export type PacketVector = {
  readonly name: string;
  readonly pairing: string;
  readonly window: number;
  readonly slot: number;
  readonly nonce: string;
  readonly padding: number;
  readonly fields: {
    readonly flags: number;
    readonly sent_at: number;
    readonly lifetime: number;
    readonly source: string;
    readonly source_text: string | null;
    readonly source_port: number;
    readonly requests: readonly RequestFields[];
  };
  readonly body: string;
  readonly packet: string;
};

export type RefusedPacket = {
  readonly name: string;
  readonly pairing: string;
  readonly window: number;
  readonly reason: 'length' | 'seal' | 'malformed' | 'window-mismatch' | 'signature';
  readonly packet: string;
};

export type InvitationVector = {
  readonly name: string;
  readonly fields: {
    readonly flags: number;
    readonly source: number;
    readonly slots: number;
    readonly port: number;
    readonly server: string;
    readonly seed: string | null;
    readonly host: string;
    readonly services: readonly {
      readonly flags: number;
      readonly name: string;
      readonly ranges: readonly { readonly protocol: number; readonly first: number; readonly last: number }[];
    }[];
  };
  readonly line: string;
};

export type Vectors = {
  readonly keys: {
    readonly good: readonly GoodKey[];
    readonly refused: readonly { readonly name: string; readonly public: string; readonly reason: string }[];
  };
  readonly pairings: readonly PairingVector[];
  readonly tags: readonly { readonly pairing: string; readonly window: number; readonly slot: number; readonly tag: string }[];
  readonly accepted_windows: readonly {
    readonly now: number;
    readonly tolerance: number;
    readonly first: number;
    readonly last: number;
  }[];
  readonly packets: readonly PacketVector[];
  readonly refused_packets: readonly RefusedPacket[];
  readonly invitations: readonly InvitationVector[];
  readonly refused_invitations: readonly { readonly name: string; readonly reason: string; readonly line: string }[];
};

export const VECTORS_TEXT = readFileSync(new URL('../../../protocol/vectors.json', import.meta.url), 'utf8');
export const VECTORS = JSON.parse(VECTORS_TEXT) as Vectors;

export function bytes(hex: string): Buffer {
  return Buffer.from(hex, 'hex');
}

/** The element of that name; a vector file that names something it does not hold fails the test. */
export function named<T extends { readonly name: string }>(list: readonly T[], name: string): T {
  const found = list.find((item) => item.name === name);
  if (found === undefined) throw new Error(`vectors.json holds no ${name}`);
  return found;
}
