// The ciphers that OpenSSH encrypts private key files with, and the bcrypt that turns a passphrase into their keys.
// Reads no file layout; loads bcrypt only when it is called: most keys of a client that is in a hurry have no passphrase.
import { createCipheriv, createDecipheriv, timingSafeEqual } from 'node:crypto';
// biome-ignore lint/style/noRestrictedImports: the only way to load bcrypt late and without a promise; it reads no file but code.
import { createRequire } from 'node:module';

type Bcrypt = {
  readonly pbkdf: (
    passphrase: Uint8Array,
    passphraseLength: number,
    salt: Uint8Array,
    saltLength: number,
    key: Uint8Array,
    keyLength: number,
    rounds: number,
  ) => number;
};

type NodeCipher =
  | 'aes-128-ctr'
  | 'aes-192-ctr'
  | 'aes-256-ctr'
  | 'aes-128-cbc'
  | 'aes-192-cbc'
  | 'aes-256-cbc'
  | 'aes-128-gcm'
  | 'aes-256-gcm';

/** What a cipher of a key file needs. Lengths in bytes; the tag stands after the encrypted string. */
export type KeyFileCipher = {
  readonly keyBytes: number;
  readonly ivBytes: number;
  readonly blockBytes: number;
  readonly tagBytes: number;
  readonly node: NodeCipher | 'chacha20-poly1305@openssh.com';
};

/** Those of `ssh -Q cipher`. */
export const KEY_FILE_CIPHERS: ReadonlyMap<string, KeyFileCipher> = new Map([
  ['aes256-ctr', aes('aes-256-ctr', 32)],
  ['aes192-ctr', aes('aes-192-ctr', 24)],
  ['aes128-ctr', aes('aes-128-ctr', 16)],
  ['aes256-cbc', aes('aes-256-cbc', 32)],
  ['aes192-cbc', aes('aes-192-cbc', 24)],
  ['aes128-cbc', aes('aes-128-cbc', 16)],
  ['aes256-gcm@openssh.com', { keyBytes: 32, ivBytes: 12, blockBytes: 16, tagBytes: 16, node: 'aes-256-gcm' }],
  ['aes128-gcm@openssh.com', { keyBytes: 16, ivBytes: 12, blockBytes: 16, tagBytes: 16, node: 'aes-128-gcm' }],
  ['chacha20-poly1305@openssh.com', { keyBytes: 64, ivBytes: 0, blockBytes: 8, tagBytes: 16, node: 'chacha20-poly1305@openssh.com' }],
]);

/** Fixed by OpenSSH: more rounds than this would take minutes; a file that asks for more was not made for use. */
export const MAX_BCRYPT_ROUNDS = 1000;

/** Key and IV of a file, as sshkey.c derives them: one run of bcrypt_pbkdf for both. */
export function derive(
  cipher: KeyFileCipher,
  passphrase: Uint8Array,
  salt: Uint8Array,
  rounds: number,
): { key: Uint8Array; iv: Uint8Array } {
  const require = createRequire(import.meta.url);
  const bcrypt = require('bcrypt-pbkdf') as Bcrypt;
  const out = new Uint8Array(cipher.keyBytes + cipher.ivBytes);
  const status = bcrypt.pbkdf(passphrase, passphrase.length, salt, salt.length, out, out.length, rounds);
  if (status !== 0) throw new RangeError('bcrypt_pbkdf refused its input');
  return { key: out.subarray(0, cipher.keyBytes), iv: out.subarray(cipher.keyBytes) };
}

/** The plain bytes, or undefined when the tag says that the key is wrong (or the file damaged). Padding is left on. */
export function decrypt(
  cipher: KeyFileCipher,
  key: Uint8Array,
  iv: Uint8Array,
  sealed: Uint8Array,
  tag: Uint8Array,
): Uint8Array | undefined {
  if (cipher.node === 'chacha20-poly1305@openssh.com') {
    const expected = chachaTag(key, sealed);
    return timingSafeEqual(expected, tag) ? chacha(key, 1, sealed) : undefined;
  }
  if (cipher.node === 'aes-256-gcm' || cipher.node === 'aes-128-gcm') {
    const gcm = createDecipheriv(cipher.node, key, iv, { authTagLength: cipher.tagBytes });
    gcm.setAuthTag(tag);
    const plain = gcm.update(sealed);
    try {
      return Buffer.concat([plain, gcm.final()]);
    } catch {
      return undefined;
    }
  }
  const decipher = createDecipheriv(cipher.node, key, iv).setAutoPadding(false);
  return Buffer.concat([decipher.update(sealed), decipher.final()]);
}

/** aes256-ctr, the cipher that ssh-keygen writes by default. */
export function encryptCtr(key: Uint8Array, iv: Uint8Array, plain: Uint8Array): Uint8Array {
  const encipher = createCipheriv('aes-256-ctr', key, iv);
  return Buffer.concat([encipher.update(plain), encipher.final()]);
}

/**
 * ChaCha20 as OpenSSH uses it (PROTOCOL.chacha20poly1305): 64-bit counter, 64-bit nonce, which is the packet number: 0 in a file. The
 * first half of the key is for the content; the second, for the length of packets, is not used here.
 */
function chacha(key: Uint8Array, counter: number, input: Uint8Array): Uint8Array {
  const iv = new Uint8Array(16);
  new DataView(iv.buffer).setUint32(0, counter, true);
  return createCipheriv('chacha20', key.subarray(0, 32), iv).update(input);
}

function chachaTag(key: Uint8Array, sealed: Uint8Array): Uint8Array {
  return poly1305(chacha(key, 0, new Uint8Array(32)), sealed);
}

/** RFC 8439, section 2.5, by BigInt: used for a few hundred bytes, once, when a file asks for it. */
function poly1305(oneTimeKey: Uint8Array, message: Uint8Array): Uint8Array {
  const number = (bytes: Uint8Array) => BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`);
  const r = number(oneTimeKey.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn;
  let sum = 0n;
  for (let at = 0; at < message.length; at += 16) {
    const block = message.subarray(at, at + 16);
    sum = ((sum + number(block) + (1n << BigInt(8 * block.length))) * r) % (2n ** 130n - 5n);
  }
  const tag = BigInt.asUintN(128, sum + number(oneTimeKey.subarray(16, 32)));
  return Buffer.from(tag.toString(16).padStart(32, '0'), 'hex').reverse();
}

function aes(node: NodeCipher, keyBytes: number): KeyFileCipher {
  return { keyBytes, ivBytes: 16, blockBytes: 16, tagBytes: 0, node };
}
