// Computes protocol/vectors.json: the same bytes on every run. Writes nothing: see vectors.ts. The tests reproduce every value by a
// second implementation, so nothing here may be copied there.
import { createHash, createHmac } from 'node:crypto';
import nacl from 'tweetnacl';
import { mappedBytes, parseAddress } from '../protocol/address.ts';
import { unixMs } from '../protocol/brand.ts';
import { toX25519 } from '../protocol/curve.ts';
import { agreementKey } from '../protocol/identity.ts';
import type { KnockBody, Request } from '../protocol/knock.ts';
import { fingerprint, formatPublicLine } from '../protocol/openssh.ts';
import { encodeBody, sealKnock } from '../protocol/packet.ts';
import { acceptedWindows, tagOf } from '../protocol/tags.ts';
import { digest, hex, NAMES, type Name, PAIRINGS, type PairingName, pairingOf, START_MS, secretOf, WINDOW } from './vectors-cast.ts';
import { invitationVectors, refusedInvitations } from './vectors-invitations.ts';
import { refusedKeys } from './vectors-keys.ts';
import { malformedPackets } from './vectors-malformed.ts';

/** Everything that the file holds, in its order. */
export function vectorsContent(): object {
  return {
    about:
      'Test vectors of the knock protocol, version 1. Bytes are hexadecimal, times are milliseconds since the Unix epoch. See SPEC.md, section 10.',
    version: 1,
    keys: { good: NAMES.map(goodKey), refused: refusedKeys(secretOf('alice').publicKey) },
    pairings: (Object.keys(PAIRINGS) as PairingName[]).map(pairingVector),
    tags: tagVectors(),
    accepted_windows: windowVectors(),
    packets: PACKETS.map(packetVector),
    refused_packets: malformedPackets(),
    invitations: invitationVectors(),
    refused_invitations: refusedInvitations(),
  };
}

function goodKey(name: Name): object {
  const secret = secretOf(name);
  const scalar = agreementKey(secret).export({ format: 'jwk' }).d ?? '';
  return {
    name,
    seed: hex(secret.seed),
    public: hex(secret.publicKey),
    line: formatPublicLine(secret.publicKey, name),
    fingerprint: fingerprint(secret.publicKey),
    x25519_scalar: hex(clamped(Buffer.from(scalar, 'base64url'))),
    x25519_public: hex(toX25519(secret.publicKey)),
  };
}

function clamped(scalar: Uint8Array): Uint8Array {
  const out = new Uint8Array(scalar);
  out[0] = (out[0] ?? 0) & 248;
  out[31] = ((out[31] ?? 0) & 127) | 64;
  return out;
}

function pairingVector(name: PairingName): object {
  const { client, server, psk }: { client: Name; server: Name; psk?: Uint8Array } = PAIRINGS[name];
  const pairing = pairingOf(name);
  // tweetnacl's own, which the code of the project does not call.
  const scalar = createHash('sha512').update(secretOf(client).seed).digest().subarray(0, 32);
  const box = nacl.box.before(toX25519(secretOf(server).publicKey), scalar);
  return {
    name,
    client,
    server,
    box_key: hex(box),
    psk: psk === undefined ? null : hex(psk),
    k: hex(psk === undefined ? box : createHmac('sha256', psk).update(box).digest()),
    k_tag: hex(pairing.tagKey),
    k_seal: hex(pairing.sealKey),
  };
}

function tagVectors(): object[] {
  const cases: readonly (readonly [PairingName, number, number])[] = [
    ['alice → server-1', WINDOW, 0],
    ['alice → server-1', WINDOW, 15],
    ['alice → server-1', WINDOW, 63],
    ['alice → server-1', WINDOW + 1, 0],
    ['alice → server-1', 0, 0],
    // Beyond 32 bits: the window is a u64.
    ['alice → server-1', 2 ** 37, 1],
    ['alice → server-1, pre-shared key', WINDOW, 0],
    ['alice → server-2', WINDOW, 0],
    ['bob → server-1', WINDOW, 0],
  ];
  return cases.map(([pairing, window, slot]) => ({ pairing, window, slot, tag: hex(tagOf(pairingOf(pairing), window, slot)) }));
}

function windowVectors(): object[] {
  const cases = [
    [START_MS, 60_000],
    [START_MS - 1, 60_000],
    [START_MS + 59_999, 60_000],
    [START_MS, 0],
    [START_MS + 30_000, 30_000],
    [START_MS + 30_000, 29_999],
    [START_MS, 300_000],
    [30_000, 60_000],
  ] as const;
  return cases.map(([now, tolerance]) => ({ now, tolerance, ...acceptedWindows(unixMs(now), tolerance) }));
}

/** Everything about one packet that the caller may choose. */
type PacketCase = {
  readonly name: string;
  readonly pairing?: PairingName;
  readonly slot?: number;
  readonly length: number;
  readonly body: KnockBody;
};

function source(text: string): KnockBody['source'] {
  const address = parseAddress(text);
  if (!address.ok) throw new TypeError(address.why);
  return { kind: 'bound', address: address.value };
}

const OPEN: KnockBody = {
  action: { kind: 'open', lifetimeSeconds: 0, once: false },
  sentAtMs: unixMs(START_MS + 12_345),
  source: { kind: 'unbound' },
  sourcePort: 0,
  requests: [],
};
const SSH: Request = { kind: 'ports', ports: { protocol: 'tcp', first: 22, last: 22 } };
const RANGE: Request = { kind: 'ports', ports: { protocol: 'udp', first: 60_000, last: 65_535 } };

function service(name: string): Request {
  return { kind: 'service', name };
}

const PACKETS: readonly PacketCase[] = [
  { name: 'open, all by default, not bound, shortest packet', length: 192, body: OPEN },
  { name: 'open, all by default, not bound, longest packet', slot: 1, length: 448, body: OPEN },
  { name: 'open, bound to an IPv4 address', slot: 2, length: 200, body: { ...OPEN, source: source('203.0.113.9') } },
  {
    name: 'open, bound to an IPv6 address and a source port, for five minutes',
    slot: 3,
    length: 301,
    body: {
      ...OPEN,
      action: { kind: 'open', lifetimeSeconds: 300, once: false },
      source: source('2001:db8::17'),
      sourcePort: 40_000,
      requests: [SSH],
    },
  },
  {
    name: 'one-shot',
    slot: 4,
    length: 222,
    body: { ...OPEN, action: { kind: 'open', lifetimeSeconds: 30, once: true }, requests: [service('ssh')] },
  },
  { name: 'close of everything', slot: 5, length: 192, body: { ...OPEN, action: { kind: 'close' } } },
  {
    name: 'close of one service, bound',
    slot: 6,
    length: 333,
    body: { ...OPEN, action: { kind: 'close' }, source: source('203.0.113.9'), requests: [service('admin-panel')] },
  },
  { name: 'a service, a port and a range', slot: 7, length: 250, body: { ...OPEN, requests: [service('vpn'), SSH, RANGE] } },
  {
    name: 'the most requests, the longest lifetime',
    slot: 8,
    length: 260,
    body: {
      ...OPEN,
      action: { kind: 'open', lifetimeSeconds: 0xffff_ffff, once: false },
      requests: Array.from({ length: 16 }, (_, at) => (at % 2 === 0 ? SSH : RANGE)),
    },
  },
  {
    name: 'a body that leaves no room for padding',
    slot: 9,
    length: 448,
    body: {
      ...OPEN,
      requests: [
        ...Array.from({ length: 8 }, (_, at) => service(`${at}-`.padEnd(32, 'abcdefghijklmnopqrstuvwxyz'))),
        SSH,
        SSH,
        RANGE,
        service('x-9'),
      ],
    },
  },
  { name: 'sent in the first millisecond of the window', slot: 10, length: 193, body: { ...OPEN, sentAtMs: unixMs(START_MS) } },
  { name: 'sent in the last millisecond of the window', slot: 11, length: 194, body: { ...OPEN, sentAtMs: unixMs(START_MS + 59_999) } },
  { name: 'highest slot', slot: 63, length: 195, body: OPEN },
  { name: 'with a pre-shared key', pairing: 'alice → server-1, pre-shared key', length: 280, body: OPEN },
  { name: 'another server', pairing: 'alice → server-2', length: 280, body: OPEN },
];

function packetVector({ name, pairing = 'alice → server-1', slot = 0, length, body }: PacketCase): object {
  const bodyBytes = encodeBody(body);
  const nonce = digest(`postern test vectors: nonce: ${name}`).slice(0, 24);
  const shortest = Math.max(192, 120 + bodyBytes.length);
  const packet = sealKnock({
    pairing: pairingOf(pairing),
    secret: secretOf('alice'),
    window: WINDOW,
    slot,
    body,
    random: (count) => (count === 24 ? nonce : Uint8Array.of((length - shortest) >> 8, (length - shortest) & 0xff)),
  });
  return {
    name,
    pairing,
    window: WINDOW,
    slot,
    nonce: hex(nonce),
    padding: length - 120 - bodyBytes.length,
    fields: fieldsOf(body),
    body: hex(bodyBytes),
    packet: hex(packet),
  };
}

/** A body by the names of SPEC 5.3. */
function fieldsOf(body: KnockBody): object {
  const { action } = body;
  const bound = body.source.kind === 'bound';
  return {
    flags: (bound ? 1 : 0) | (action.kind === 'close' ? 4 : action.once ? 2 : 0),
    sent_at: body.sentAtMs,
    lifetime: action.kind === 'close' ? 0 : action.lifetimeSeconds,
    source: hex(body.source.kind === 'bound' ? mappedBytes(body.source.address) : new Uint8Array(16)),
    source_text: body.source.kind === 'bound' ? body.source.address.text : null,
    source_port: body.sourcePort,
    requests: body.requests.map((request) =>
      request.kind === 'service'
        ? { service: request.name }
        : { protocol: request.ports.protocol === 'tcp' ? 6 : 17, first: request.ports.first, last: request.ports.last },
    ),
  };
}
