// Turns raw 32-byte keys into node:crypto key objects and back. Decides nothing about them: see curve.ts.
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

export const RAW_KEY_BYTES = 32;

// Fixed by RFC 8410: the DER in front of the 32 bytes of a seed.
const ED25519_PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');

type Curve = 'Ed25519' | 'X25519';

/**
 * The key of a seed whose public half nobody has said. Through DER, because a JWK must have both halves; that takes OpenSSL's decoders
 * 0.4 ms (1 ms the first time) against 0.04 ms for `privateKey`.
 */
export function ed25519FromSeed(seed: Uint8Array): KeyObject {
  const der = Buffer.concat([ED25519_PRIVATE_PREFIX, exactly32(seed)]);
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  } finally {
    der.fill(0);
  }
}

/** A private key with its claimed public half. What is derived from it follows the private half: compare `rawPublicOf` with the claim. */
export function privateKey(curve: Curve, secret: Uint8Array, claimedPublic: Uint8Array): KeyObject {
  return createPrivateKey({ key: { kty: 'OKP', crv: curve, d: base64url(secret), x: base64url(claimedPublic) }, format: 'jwk' });
}

export function publicKey(curve: Curve, raw: Uint8Array): KeyObject {
  return createPublicKey({ key: { kty: 'OKP', crv: curve, x: base64url(raw) }, format: 'jwk' });
}

/** The raw public half that belongs to a private key object. */
export function rawPublicOf(key: KeyObject): Uint8Array {
  return new Uint8Array(Buffer.from(createPublicKey(key).export({ format: 'jwk' }).x ?? '', 'base64url'));
}

function base64url(raw: Uint8Array): string {
  return Buffer.from(exactly32(raw)).toString('base64url');
}

function exactly32(raw: Uint8Array): Uint8Array {
  if (raw.length !== RAW_KEY_BYTES) throw new RangeError(`a raw key has ${RAW_KEY_BYTES} bytes, not ${raw.length}`);
  return raw;
}
