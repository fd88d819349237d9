// libsodium for the tests: the second opinion on everything that protocol/ computes. Typed by hand, as sodium-native ships no types.
import { createRequire } from 'node:module';

export type Sodium = {
  readonly crypto_sign_seed_keypair: (publicKey: Buffer, secretKey: Buffer, seed: Buffer) => void;
  readonly crypto_sign_detached: (signature: Buffer, message: Buffer, secretKey: Buffer) => void;
  readonly crypto_sign_verify_detached: (signature: Buffer, message: Buffer, publicKey: Buffer) => boolean;
  readonly crypto_sign_ed25519_pk_to_curve25519: (out: Buffer, publicKey: Buffer) => void;
  readonly crypto_sign_ed25519_sk_to_curve25519: (out: Buffer, secretKey: Buffer) => void;
  readonly crypto_scalarmult: (out: Buffer, scalar: Buffer, point: Buffer) => void;
  readonly crypto_box_easy: (out: Buffer, message: Buffer, nonce: Buffer, publicKey: Buffer, secretKey: Buffer) => void;
  readonly crypto_secretbox_easy: (out: Buffer, message: Buffer, nonce: Buffer, key: Buffer) => void;
  readonly crypto_secretbox_open_easy: (out: Buffer, box: Buffer, nonce: Buffer, key: Buffer) => boolean;
  readonly crypto_hash_sha256: (out: Buffer, input: Buffer) => void;
  readonly crypto_core_ed25519_is_valid_point: (point: Buffer) => boolean;
  readonly crypto_core_ed25519_add: (out: Buffer, p: Buffer, q: Buffer) => void;
};

const require = createRequire(import.meta.url);
export const sodium = require('sodium-native') as Sodium;

/** Runs a function that fills a buffer, and gives the buffer. */
export function filled(byteCount: number, fill: (out: Buffer) => void): Buffer {
  const out = Buffer.alloc(byteCount);
  fill(out);
  return out;
}
