// The packets that must be refused (SPEC 7), for the test vectors. Each breaks one rule; whatever is not said to be broken is right:
// the malformed ones are sealed and signed by the right keys.
import { createHmac, sign } from 'node:crypto';
import nacl from 'tweetnacl';
import { type SecretKey, signingKey } from '../protocol/identity.ts';
import type { OpenFailure } from '../protocol/packet.ts';
import { type Pairing, pairAsClient } from '../protocol/pairing.ts';
import { tagOf } from '../protocol/tags.ts';
import { digest, hex, pairingOf, START_MS, secretOf, WINDOW } from './vectors-cast.ts';

const LENGTH = 240;
const CONTENT_BYTES = LENGTH - 120;

/** The parts of a packet before it is sealed. */
type Parts = {
  readonly pairing: Pairing;
  readonly secret: SecretKey;
  readonly label: string;
  readonly server: Uint8Array;
  readonly tag: Uint8Array;
  readonly nonce: Uint8Array;
  readonly body: Uint8Array;
  /** The bytes behind the body; they are not signed. */
  readonly padding: Uint8Array;
  readonly sealTag: Uint8Array;
  readonly changeSignature: (signature: Uint8Array) => Uint8Array;
};

type Case = readonly [name: string, reason: OpenFailure, packet: Uint8Array];

/** A body by its numbers, so that each of them can be wrong. */
type Fields = {
  readonly version: number;
  readonly flags: number;
  readonly sentAt: bigint;
  readonly lifetime: number;
  readonly source: string;
  readonly sourcePort: number;
  readonly count: number;
  readonly requests: string;
};

const SOUND: Fields = {
  version: 1,
  flags: 0,
  sentAt: BigInt(START_MS) + 12_345n,
  lifetime: 0,
  source: '00'.repeat(16),
  sourcePort: 0,
  count: 0,
  requests: '',
};

export function malformedPackets(): object[] {
  return [...wholePackets(), ...bodies(), ...signatures()].map(([name, reason, packet]) => ({
    name,
    pairing: 'alice → server-1',
    window: WINDOW,
    reason,
    packet: hex(packet),
  }));
}

function wholePackets(): Case[] {
  const sound = seal({});
  const flipped = (at: number) => sound.map((byte, index) => (index === at ? byte ^ 1 : byte));
  return [
    ['empty', 'length', new Uint8Array(0)],
    ['one byte shorter than the shortest', 'length', sound.slice(0, 191)],
    ['one byte longer than the longest', 'length', Uint8Array.from({ length: 449 }, (_, at) => sound[at] ?? 0)],
    ['a bit of the tag flipped', 'seal', flipped(3)],
    ['a bit of the nonce flipped', 'seal', flipped(20)],
    ['a bit of the authenticator flipped', 'seal', flipped(45)],
    ['a bit of the signature flipped', 'seal', flipped(60)],
    ['the last bit flipped', 'seal', flipped(LENGTH - 1)],
    ['one byte cut off', 'seal', sound.slice(0, -1)],
    ['one zero byte more', 'seal', Uint8Array.from({ length: LENGTH + 1 }, (_, at) => sound[at] ?? 0)],
    ['sealed under another tag', 'seal', seal({ sealTag: tagOf(pairing(), WINDOW, 1) })],
    ['sealed for the pairing with a pre-shared key', 'seal', seal({ pairing: pairingOf('alice → server-1, pre-shared key') })],
    ['sealed for another server', 'seal', seal({ pairing: pairingOf('alice → server-2') })],
  ];
}

function bodies(): Case[] {
  const address = '20010db8000000000000000000000001';
  const malformed: readonly (readonly [string, Partial<Fields>])[] = [
    ['version 0', { version: 0 }],
    ['version 2', { version: 2 }],
    ['flag 3', { flags: 8 }],
    ['flag 7', { flags: 128 }],
    ['sent at of 2^53', { sentAt: 2n ** 53n }],
    ['sent at of 2^64 - 1', { sentAt: 2n ** 64n - 1n }],
    ['bound to no address', { flags: 1 }],
    ['an address, but not bound', { source: address }],
    ['close and one-shot', { flags: 6 }],
    ['close with a lifetime', { flags: 4, lifetime: 1 }],
    ['17 requests', { count: 17, requests: '0006' }],
    ['255 requests', { count: 255 }],
    ['a request of kind 2', { count: 1, requests: '020600160016' }],
    ['a request of kind 255', { count: 1, requests: 'ff0600160016' }],
    ['protocol 1', { count: 1, requests: '000100160016' }],
    ['protocol 0: a request fewer than counted', { count: 2, requests: '000600160016' }],
    ['first port 0', { count: 1, requests: '000600000016' }],
    ['both ports 0', { count: 1, requests: '000600000000' }],
    ['a range that runs backwards', { count: 1, requests: '000600170016' }],
    ['a request more than counted', { count: 1, requests: '000600160016000600160016' }],
    ['a request, none counted', { count: 0, requests: '000600160016' }],
    ['a service name of no letters', { count: 1, requests: '0100' }],
    ['a service name of 33 letters', { count: 1, requests: `0121${'61'.repeat(33)}` }],
    ['a service name with a capital', { count: 1, requests: '0103537368' }],
    ['a service name with a slash', { count: 1, requests: '0103612f62' }],
    ['a service name with a zero byte', { count: 1, requests: '0103610062' }],
    ['a service name with a letter beyond ASCII', { count: 1, requests: '010261e4' }],
    ['a service name longer than its length says', { count: 1, requests: '0102737368' }],
  ];
  const full = (fields: Partial<Fields>) => seal({ body: bodyOf({ ...SOUND, ...fields }) });
  const zeros = CONTENT_BYTES - bodyOf(SOUND).length;
  const padding = (at: number) => Uint8Array.from({ length: zeros }, (_, index) => (index === at ? 1 : 0));
  return [
    ...malformed.map(([name, fields]): Case => [name, 'malformed', full(fields)]),
    ['a first padding byte that is not zero', 'malformed', seal({ padding: padding(0) })],
    ['a last padding byte that is not zero', 'malformed', seal({ padding: padding(zeros - 1) })],
    ['a range that is cut off by the end', 'malformed', cutOff('0006001600')],
    ['a service name that is cut off by the end', 'malformed', cutOff('01057373')],
    ['a request of one byte', 'malformed', cutOff('00')],
    ['sent one millisecond before the window', 'window-mismatch', full({ sentAt: BigInt(START_MS) - 1n })],
    ['sent one millisecond after the window', 'window-mismatch', full({ sentAt: BigInt(START_MS) + 60_000n })],
    ['sent at 0', 'window-mismatch', full({ sentAt: 0n })],
  ];
}

function signatures(): Case[] {
  return [
    ['signed by another client', 'signature', seal({ secret: secretOf('bob') })],
    ['signed by the server', 'signature', seal({ secret: secretOf('server-1') })],
    ['signed for another server', 'signature', seal({ server: secretOf('server-2').publicKey })],
    ['signed for another version', 'signature', seal({ label: 'postern/2 knock' })],
    ['signed as SSH signs', 'signature', seal({ label: 'SSHSIG' })],
    ['signed without a label', 'signature', seal({ label: '' })],
    ['signed for another tag', 'signature', sealSignedOver({ tag: tagOf(pairing(), WINDOW, 1) })],
    ['signed for another nonce', 'signature', sealSignedOver({ nonce: digest('another nonce').slice(0, 24) })],
    ['signed for another body', 'signature', sealSignedOver({ body: bodyOf({ ...SOUND, flags: 4 }) })],
    ['signature with S + L', 'signature', seal({ changeSignature: addGroupOrder })],
    ['signature of zeros', 'signature', seal({ changeSignature: () => new Uint8Array(64) })],
  ];
}

function pairing(): Pairing {
  return pairAsClient(secretOf('alice'), secretOf('server-1').publicKey);
}

function soundParts(): Parts {
  const tag = tagOf(pairing(), WINDOW, 0);
  return {
    pairing: pairing(),
    secret: secretOf('alice'),
    label: 'postern/1 knock',
    server: secretOf('server-1').publicKey,
    tag,
    nonce: digest('postern test vectors: nonce of refused packets').slice(0, 24),
    body: bodyOf(SOUND),
    padding: new Uint8Array(0),
    sealTag: tag,
    changeSignature: (signature) => signature,
  };
}

function seal(changes: Partial<Parts>, signedOver: Partial<Parts> = {}): Uint8Array {
  const parts = { ...soundParts(), ...changes };
  const signed = { ...parts, ...signedOver };
  const message = Buffer.concat([Buffer.from(signed.label), signed.server, signed.tag, signed.nonce, signed.body]);
  const signature = parts.changeSignature(sign(null, message, signingKey(parts.secret)));
  const content = Buffer.concat([signature, parts.body, parts.padding]);
  const padded = Buffer.concat([content, Buffer.alloc(Math.max(0, CONTENT_BYTES + 64 - content.length))]);
  return sealContent(parts, padded);
}

function sealSignedOver(signedOver: Partial<Parts>): Uint8Array {
  return seal({}, signedOver);
}

/** The body ends where the packet ends, in the middle of a request. */
function cutOff(tail: string): Uint8Array {
  const parts = soundParts();
  // Two requests before it bring the packet above the shortest length.
  const filler = `0120${'61'.repeat(32)}`;
  const body = bodyOf({ ...SOUND, count: 3, requests: `${filler}${filler}${tail}` });
  const message = Buffer.concat([Buffer.from(parts.label), parts.server, parts.tag, parts.nonce, body]);
  return sealContent(parts, Buffer.concat([sign(null, message, signingKey(parts.secret)), body]));
}

function sealContent(parts: Parts, content: Uint8Array): Uint8Array {
  const key = createHmac('sha256', parts.pairing.sealKey).update(parts.sealTag).digest();
  return Buffer.concat([parts.tag, parts.nonce, nacl.secretbox(content, parts.nonce, key)]);
}

function bodyOf(fields: Fields): Uint8Array {
  const fixed = Buffer.alloc(33);
  fixed.writeUInt8(fields.version, 0);
  fixed.writeUInt8(fields.flags, 1);
  fixed.writeBigUInt64BE(fields.sentAt, 2);
  fixed.writeUInt32BE(fields.lifetime, 10);
  fixed.write(fields.source, 14, 'hex');
  fixed.writeUInt16BE(fields.sourcePort, 30);
  fixed.writeUInt8(fields.count, 32);
  return Buffer.concat([fixed, Buffer.from(fields.requests, 'hex')]);
}

/** P1: the same signature with S + L, which tweetnacl 1.0.3 takes. */
function addGroupOrder(signature: Uint8Array): Uint8Array {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const scalar = BigInt(`0x${Buffer.from(signature.slice(32)).reverse().toString('hex')}`) + order;
  return Buffer.concat([signature.subarray(0, 32), Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex').reverse()]);
}
