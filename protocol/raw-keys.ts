// Turns raw 32-byte keys into node:crypto key objects and back. Decides nothing about them: see curve.ts.
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

export const RAW_KEY_BYTES = 32;

// Fixed by RFC 8410: the DER in front of the 32 bytes of each kind of key.
const PRIVATE_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
const PRIVATE_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const PUBLIC_ED25519 = Buffer.from('302a300506032b6570032100', 'hex');
const PUBLIC_X25519 = Buffer.from('302a300506032b656e032100', 'hex');

export function ed25519Private(seed: Uint8Array): KeyObject {
  return privateKey(PRIVATE_ED25519, seed);
}

export function x25519Private(scalar: Uint8Array): KeyObject {
  return privateKey(PRIVATE_X25519, scalar);
}

export function ed25519Public(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([PUBLIC_ED25519, exactly32(raw)]), format: 'der', type: 'spki' });
}

export function x25519Public(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([PUBLIC_X25519, exactly32(raw)]), format: 'der', type: 'spki' });
}

/** The raw public half of a private Ed25519 key object. */
export function rawPublicOf(key: KeyObject): Uint8Array {
  return new Uint8Array(createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(PUBLIC_ED25519.length));
}

function privateKey(prefix: Uint8Array, raw: Uint8Array): KeyObject {
  const der = Buffer.concat([prefix, exactly32(raw)]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

function exactly32(raw: Uint8Array): Uint8Array {
  if (raw.length !== RAW_KEY_BYTES) throw new RangeError(`a raw key has ${RAW_KEY_BYTES} bytes, not ${raw.length}`);
  return raw;
}
