// Decides what counts as an identity: an Ed25519 key that cannot be twisted. Must not read files or know who owns a key.
import { createHash, type KeyObject } from 'node:crypto';
import { type Brand, type Parsed, parsed, unparsed } from './brand.ts';
import { checkPoint, toX25519 } from './curve.ts';
import { ed25519FromSeed, privateKey, publicKey as publicKeyObject, RAW_KEY_BYTES, rawPublicOf } from './raw-keys.ts';

/** 32 bytes: an Ed25519 public key, canonical and of prime order. Minted by this file only. */
export type PublicKey = Brand<Uint8Array, 'PublicKey'>;

/** An Ed25519 key pair: the 32-byte seed of RFC 8032 and what follows from it. */
export type SecretKey = { readonly seed: Uint8Array; readonly publicKey: PublicKey };

const FAULTS = {
  'non-canonical': 'is not encoded canonically',
  'small-order': 'has a small order',
  'not-prime-order': 'is not a point of the prime-order subgroup',
} as const;

/**
 * SPEC 2.1: refuses keys that are not canonical, of small or mixed order, or no curve point at all. Verifiers disagree about
 * signatures under such keys, and a shared secret made with them is partly known to everyone (P1). Copies the bytes.
 */
export function checkPublicKey(bytes: Uint8Array): Parsed<PublicKey> {
  if (bytes.length !== RAW_KEY_BYTES) return unparsed(`an Ed25519 public key has ${RAW_KEY_BYTES} bytes, not ${bytes.length}`);
  const check = checkPoint(bytes);
  if (!check.ok) return unparsed(`this Ed25519 public key ${FAULTS[check.fault]}: no honest program made it, do not use it`);
  return parsed(new Uint8Array(bytes) as PublicKey);
}

/** The key pair of a 32-byte seed. Its public key is a multiple of the base point, so it needs no check. */
export function secretFromSeed(seed: Uint8Array): SecretKey {
  return secretOf(seed, ed25519FromSeed(seed));
}

/** The same for a file that holds both halves: undefined when its public half is not the seed's. */
export function secretFromPair(seed: Uint8Array, claimedPublic: Uint8Array): SecretKey | undefined {
  const secret = secretOf(seed, privateKey('Ed25519', seed, claimedPublic));
  return samePublicKey(secret.publicKey, claimedPublic as PublicKey) ? secret : undefined;
}

function secretOf(seed: Uint8Array, key: KeyObject): SecretKey {
  const secret: SecretKey = { seed: new Uint8Array(seed), publicKey: rawPublicOf(key) as PublicKey };
  signingKeys.set(secret, key);
  return secret;
}

export function samePublicKey(a: PublicKey, b: PublicKey): boolean {
  return a.every((byte, at) => byte === b[at]);
}

/** A key for maps and sets: equal texts mean equal public keys. */
export function keyId(publicKey: PublicKey): string {
  return Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.length).toString('base64');
}

// Key objects cost as much to make as a signature costs to check, so each is made once for each key that is in use.
const signingKeys = new WeakMap<SecretKey, KeyObject>();
const agreementKeys = new WeakMap<SecretKey, KeyObject>();

export function signingKey(secret: SecretKey): KeyObject {
  return remembered(signingKeys, secret, () => privateKey('Ed25519', secret.seed, secret.publicKey));
}

/** SPEC 2.2: the X25519 scalar is the first half of SHA-512 of the seed; X25519 clamps it. */
export function agreementKey(secret: SecretKey): KeyObject {
  return remembered(agreementKeys, secret, () => {
    const scalar = createHash('sha512').update(secret.seed).digest().subarray(0, 32);
    return privateKey('X25519', scalar, toX25519(secret.publicKey));
  });
}

// A server may have ten thousand clients, and each key object weighs two kilobytes: only the last ones are kept.
const verifyingKeys = new Map<PublicKey, KeyObject>();
const MOST_VERIFYING_KEYS = 256;

export function verifyingKey(publicKey: PublicKey): KeyObject {
  const known = verifyingKeys.get(publicKey);
  if (known !== undefined) return known;
  const made = publicKeyObject('Ed25519', publicKey);
  const [oldest] = verifyingKeys.keys();
  if (oldest !== undefined && verifyingKeys.size === MOST_VERIFYING_KEYS) verifyingKeys.delete(oldest);
  verifyingKeys.set(publicKey, made);
  return made;
}

function remembered<K extends object>(memory: WeakMap<K, KeyObject>, key: K, make: () => KeyObject): KeyObject {
  const known = memory.get(key);
  if (known !== undefined) return known;
  const made = make();
  memory.set(key, made);
  return made;
}
