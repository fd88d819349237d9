// Seals a knock into one datagram and opens it again (SPEC 5 and steps 2, 4 and 5 of SPEC 7). Reads no clock, keeps no state,
// decides nothing about replay or policy.
import { createHmac, sign, verify } from 'node:crypto';
import nacl from 'tweetnacl';
import { decodeBody, encodeBody, MAX_BODY_BYTES } from './body.ts';
import { type Brand, unixMs } from './brand.ts';
import { type PublicKey, type SecretKey, samePublicKey, signingKey, verifyingKey } from './identity.ts';
import type { KnockBody } from './knock.ts';
import type { Pairing } from './pairing.ts';
import { TAG_BYTES, tagOf, windowOf } from './tags.ts';

// biome-ignore lint/performance/noBarrelFile: whoever seals a body also encodes one; SPEC 5 is one chapter.
export { decodeBody, encodeBody } from './body.ts';

// Fixed by SPEC 5.1. Offsets and lengths in bytes.
//   0          16           40           56           120                        192…448
//   | tag      | nonce      | Poly1305   | signature  | body | zeros             |
//                           '------------- secretbox(nonce, HMAC(k_seal, tag)) --'
export const MIN_PACKET_BYTES = 192;
export const MAX_PACKET_BYTES = 448;
const PACKET = { tag: 0, nonce: TAG_BYTES, box: 40 } as const;
const NONCE_BYTES = 24;
const MAC_BYTES = 16;
const SIGNATURE_BYTES = 64;
/** All of a packet but body and padding. */
const OVERHEAD_BYTES = PACKET.box + MAC_BYTES + SIGNATURE_BYTES;
const SIGNATURE_LABEL = new TextEncoder().encode('postern/1 knock');

export type OpenFailure = 'length' | 'seal' | 'malformed' | 'window-mismatch' | 'signature';

/** Sealed and signed by the pairing's client, decoded strictly, sent inside its tag's window. Minted by `openKnock` only. */
export type AuthenticKnock = Brand<KnockBody, 'AuthenticKnock'>;

/** What an audit stores, so that a third person can verify that C signed this for S. */
export type KnockProof = {
  readonly tag: Uint8Array;
  readonly nonce: Uint8Array;
  readonly bodyBytes: Uint8Array;
  readonly signature: Uint8Array;
};

/** Who signed what for whom. */
export type SignedKnock = { readonly client: PublicKey; readonly server: PublicKey; readonly proof: KnockProof };

export type OpenedKnock =
  | { readonly ok: true; readonly body: AuthenticKnock; readonly proof: KnockProof }
  | { readonly ok: false; readonly reason: OpenFailure; readonly why: string };

export type SealOptions = {
  readonly pairing: Pairing;
  readonly secret: SecretKey;
  readonly window: number;
  readonly slot: number;
  readonly body: KnockBody;
  /** Gives n random bytes: the system's source, or a fixed one for test vectors. Called for the nonce first, then for the length. */
  readonly random: (byteCount: number) => Uint8Array;
};

/**
 * SPEC 5: one datagram. Throws a RangeError when the body cannot be encoded (`bodyProblem` says it first), when `sentAtMs` lies
 * outside the window, or when the secret is not the pairing's client.
 */
export function sealKnock({ pairing, secret, window, slot, body, random }: SealOptions): Uint8Array {
  if (windowOf(body.sentAtMs) !== window) throw new RangeError(`sealKnock: sent at ${body.sentAtMs} lies outside window ${window}`);
  if (!samePublicKey(secret.publicKey, pairing.client)) throw new RangeError('sealKnock: the secret key is not the one of the pairing');
  const tag = tagOf(pairing, window, slot);
  const bodyBytes = encodeBody(body);
  const nonce = random(NONCE_BYTES);
  const signature = sign(null, signedBytes(pairing.server, tag, nonce, bodyBytes), signingKey(secret));
  const packet = new Uint8Array(packetLength(bodyBytes.length, random));
  // What is not written stays zero: the padding.
  const content = new Uint8Array(packet.length - PACKET.box - MAC_BYTES);
  content.set(signature);
  content.set(bodyBytes, SIGNATURE_BYTES);
  packet.set(tag, PACKET.tag);
  packet.set(nonce, PACKET.nonce);
  packet.set(nacl.secretbox(content, nonce, boxKey(pairing, tag)), PACKET.box);
  return packet;
}

/** SPEC 7, step 2: the tag of a datagram, or undefined when its length is not a knock's. */
export function tagOfDatagram(payload: Uint8Array): Uint8Array | undefined {
  return hasPacketLength(payload) ? copied(payload, PACKET.tag, PACKET.nonce) : undefined;
}

/**
 * SPEC 7, steps 4 and 5 but for the accepted windows: unseals, decodes, compares `sent at` with the tag's window, verifies the
 * signature; the cheapest first. `pairing` and `window` are what the tag was looked up as. Never throws on any payload.
 */
export function openKnock(payload: Uint8Array, pairing: Pairing, window: number): OpenedKnock {
  if (!hasPacketLength(payload)) return failed('length', `${payload.length} bytes`);
  const tag = copied(payload, PACKET.tag, PACKET.nonce);
  const nonce = copied(payload, PACKET.nonce, PACKET.box);
  const content = nacl.secretbox.open(payload.subarray(PACKET.box), nonce, boxKey(pairing, tag));
  if (content === null) return failed('seal', 'the box does not open');
  const decoded = decodeBody(content.subarray(SIGNATURE_BYTES));
  if (!decoded.ok) return failed('malformed', decoded.why);
  const sentIn = windowOf(unixMs(decoded.body.sentAtMs));
  if (sentIn !== window) return failed('window-mismatch', `sent in window ${sentIn}, tag of window ${window}`);
  const signature = content.slice(0, SIGNATURE_BYTES);
  const bodyBytes = content.slice(SIGNATURE_BYTES, SIGNATURE_BYTES + decoded.byteLength);
  // node:crypto and not tweetnacl: 0.1 ms against 10 ms, and it refuses S + L (P1).
  const proof = { tag, nonce, bodyBytes, signature };
  if (!isProof({ client: pairing.client, server: pairing.server, proof })) return failed('signature', "the signature is not the client's");
  return { ok: true, body: decoded.body as AuthenticKnock, proof };
}

/** SPEC 5.2, for whoever holds the public keys alone: whether the client signed this for the server. Says nothing of when or from where it came. */
export function isProof({ client, server, proof: { tag, nonce, bodyBytes, signature } }: SignedKnock): boolean {
  return verify(null, signedBytes(server, tag, nonce, bodyBytes), verifyingKey(client), signature);
}

function hasPacketLength(payload: Uint8Array): boolean {
  return payload.length >= MIN_PACKET_BYTES && payload.length <= MAX_PACKET_BYTES;
}

/** A copy, so that what outlives the datagram does not hang on a buffer that is used again (a Buffer's slice() is a view). */
function copied(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return new Uint8Array(bytes.subarray(from, to));
}

/** SPEC 5.2: bound to the tag, so that nothing sealed earlier opens under another. */
function boxKey(pairing: Pairing, tag: Uint8Array): Uint8Array {
  return new Uint8Array(createHmac('sha256', pairing.sealKey).update(tag).digest());
}

/** SPEC 5.2: the label keeps signatures for SSH or another version out (P6), S those for another server (P4). */
function signedBytes(server: PublicKey, tag: Uint8Array, nonce: Uint8Array, bodyBytes: Uint8Array): Uint8Array {
  return Buffer.concat([SIGNATURE_LABEL, server, tag, nonce, bodyBytes]);
}

/** SPEC 5.1: uniform in [max(192, need), 448], by rejection: a remainder alone would favor short packets. */
function packetLength(bodyLength: number, random: SealOptions['random']): number {
  const shortest = Math.max(MIN_PACKET_BYTES, OVERHEAD_BYTES + bodyLength);
  const choices = OVERHEAD_BYTES + MAX_BODY_BYTES - shortest + 1;
  const bound = 0x1_0000 - (0x1_0000 % choices);
  for (;;) {
    const [high = 0, low = 0] = random(2);
    const draw = high * 256 + low;
    if (draw < bound) return shortest + (draw % choices);
  }
}

function failed(reason: OpenFailure, why: string): { readonly ok: false; readonly reason: OpenFailure; readonly why: string } {
  return { ok: false, reason, why };
}
