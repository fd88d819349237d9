// Derives the keys that one client and one server share (SPEC 3). Holds no state and draws no randomness.
import { createHmac, diffieHellman } from 'node:crypto';
import nacl from 'tweetnacl';
import { toX25519 } from './curve.ts';
import { agreementKey, type PublicKey, type SecretKey } from './identity.ts';
import { publicKey } from './raw-keys.ts';

/** What both ends derive. With a pre-shared key it is another pairing: a rule with two keys has two pairings. */
export type Pairing = {
  readonly client: PublicKey;
  readonly server: PublicKey;
  readonly tagKey: Uint8Array;
  readonly sealKey: Uint8Array;
};

// Fixed by SPEC 3.
export const PSK_BYTES = 32;
const TAG_LABEL = 'postern/1 tag';
const SEAL_LABEL = 'postern/1 seal';

/** The part of tweetnacl that its own types leave out. `nacl.box.before` is this core over `nacl.scalarMult`. */
type HSalsa20 = (out: Uint8Array, input: Uint8Array, key: Uint8Array, constant: Uint8Array) => void;
const hsalsa20 = (nacl as unknown as { readonly lowlevel: { readonly crypto_core_hsalsa20: HSalsa20 } }).lowlevel.crypto_core_hsalsa20;
const SIGMA = new TextEncoder().encode('expand 32-byte k');
const ZEROS = new Uint8Array(16);

export function pairAsClient(secret: SecretKey, server: PublicKey, psk?: Uint8Array): Pairing {
  return pair(secret, server, { client: secret.publicKey, server }, psk);
}

export function pairAsServer(secret: SecretKey, client: PublicKey, psk?: Uint8Array): Pairing {
  return pair(secret, client, { client, server: secret.publicKey }, psk);
}

function pair(
  own: SecretKey,
  peer: PublicKey,
  ends: { readonly client: PublicKey; readonly server: PublicKey },
  psk?: Uint8Array,
): Pairing {
  const boxKey = sharedBoxKey(own, peer);
  const root = psk === undefined ? boxKey : hmac(checkedPsk(psk), boxKey);
  return {
    ...ends,
    tagKey: hmac(root, TAG_LABEL, ends.client, ends.server),
    sealKey: hmac(root, SEAL_LABEL, ends.client, ends.server),
  };
}

/**
 * SPEC 3: `nacl.box.before`, with X25519 by node:crypto (0.1 ms against 1.5 ms). SPEC 3 also wants 32 zero bytes refused before the
 * core, whose output would hide them: OpenSSL refuses them by itself, and the check stands here too, so that it depends on nobody.
 */
function sharedBoxKey(own: SecretKey, peer: PublicKey): Uint8Array {
  const shared = diffieHellman({ privateKey: agreementKey(own), publicKey: publicKey('X25519', toX25519(peer)) });
  if (shared.every((byte) => byte === 0)) throw new RangeError('X25519 gave zero: the peer key was never checked');
  const boxKey = new Uint8Array(32);
  hsalsa20(boxKey, ZEROS, shared, SIGMA);
  shared.fill(0);
  return boxKey;
}

function checkedPsk(psk: Uint8Array): Uint8Array {
  if (psk.length !== PSK_BYTES) throw new RangeError(`a pre-shared key has ${PSK_BYTES} bytes, not ${psk.length}`);
  return psk;
}

function hmac(key: Uint8Array, ...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const mac = createHmac('sha256', key);
  for (const part of parts) mac.update(part);
  return new Uint8Array(mac.digest());
}
