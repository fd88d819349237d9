// The packet path with its real cryptography: length, tag lookup, unsealing, strict decoding, window, signature, mark, freshness. An input is not a
// packet but how to make one, so that changes get behind the seal: the bytes of body and padding are changed, then signed and sealed anew.
//
//   0     what it is: junk | a true tag before junk | sealed by one who cannot sign | sealed and signed; and what fails meanwhile (FAULTS)
//   1–3   peer, window, slot
//   4     who signs: the peer's client, mostly; other clients; a stranger; the server
//   5     what is done besides, a bit each (TWIST)
//   6–7   where; 8 the nonce
//   9 …   body and padding (or junk)
//
// What must come out is said in `expected`, which knows how the packet was made and reads the body by a second decoder.
import { createHash } from 'node:crypto';
import type { Datagram } from '../../../daemon/capture/capture.ts';
import type { Ledger, Mark } from '../../../daemon/ledger/ledger.ts';
import { type OpenContext, openDatagram } from '../../../daemon/open/open.ts';
import type { Peer } from '../../../daemon/open/peers.ts';
import { TagBook } from '../../../daemon/open/tag-book.ts';
import { addressFromBytes, mappedBytes } from '../../../protocol/address.ts';
import { unixMs } from '../../../protocol/brand.ts';
import { keyId, type SecretKey, secretFromSeed } from '../../../protocol/identity.ts';
import type { KnockBody } from '../../../protocol/knock.ts';
import { encodeBody, openKnock, sealKnock } from '../../../protocol/packet.ts';
import { pairAsServer } from '../../../protocol/pairing.ts';
import { tagOf } from '../../../protocol/tags.ts';
import { forge, signed } from '../../unit/protocol-forge.ts';
import { hold, sameBytes } from '../hold.ts';
import type { Random } from '../random.ts';
import { type ReferenceBody, referenceBody } from '../reference-body.ts';
import type { FuzzTarget } from '../target.ts';

const HEAD_BYTES = 9;
const NOW = unixMs(1_795_269_612_345);
const WINDOW = Math.floor(NOW / 60_000);
/** One is over, two are accepted, one comes too early, one far too early. */
const WINDOWS = [WINDOW - 2, WINDOW - 1, WINDOW, WINDOW + 1, WINDOW + 2];
const TOLERANCE_MS = 30_000;
const [FIRST_ACCEPTED, LAST_ACCEPTED] = [Math.floor((NOW - TOLERANCE_MS) / 60_000), Math.floor((NOW + TOLERANCE_MS) / 60_000)];
const BARRED = WINDOW - 1;

/** What is done to a packet besides. `barred`: this window was open when the host stopped uncleanly. */
const TWIST = { flip: 1, cut: 2, extend: 4, label: 8, otherServer: 16, malleate: 32, ownTime: 64, barred: 128 } as const;

/** What fails between check and mark, once in four inputs: the place for marks, the window, another process was faster, the client was just removed. */
const FAULTS = ['unwritable', 'window-closed', 'already-used', 'removed'] as const;
type Fault = (typeof FAULTS)[number] | undefined;

function faultOf(input: Uint8Array): Fault {
  const number = (input[0] ?? 0) >> 2;
  return number >= 48 ? FAULTS[number % FAULTS.length] : undefined;
}

const secret = (name: string): SecretKey => secretFromSeed(createHash('sha256').update(name).digest());
const SERVERS = [secret('server'), secret('second server')] as const;
const STRANGER = secret('stranger');
const ENROLLED = [
  { name: 'alice', slots: 16, psk: undefined, server: 0 },
  { name: 'bob', slots: 1, psk: undefined, server: 0 },
  { name: 'carol', slots: 64, psk: new Uint8Array(32).fill(7), server: 0 },
  { name: 'alice', slots: 16, psk: undefined, server: 1 },
] as const;

type Enrolled = { readonly peer: Peer; readonly secret: SecretKey; readonly server: SecretKey };
const PEERS: readonly Enrolled[] = ENROLLED.map(({ name, slots, psk, server }, index) => {
  const [own, ours] = [secret(name), SERVERS[server]];
  const key = { publicKey: own.publicKey, fingerprint: '', expiresAtMs: undefined, from: undefined };
  const client = {
    name,
    keys: [key],
    presharedKeys: [],
    slots,
    enabled: true,
    expiresAtMs: undefined,
    allow: [],
    place: { file: '', line: 1, column: 1 },
  };
  const peer = { id: `peer ${index}`, client, key, server: ours.publicKey, pairing: pairAsServer(ours, own.publicKey, psk) };
  return { peer, secret: own, server: ours };
});

const tagBook = new TagBook();
/** What each tag means, known apart from the tag book; and the tags, each made once. */
const MEANINGS = new Map<string, string>();
const TAGS = new Map<string, Uint8Array>();
for (const window of WINDOWS) {
  for (const { peer } of PEERS) {
    tagBook.expect(window, [peer]);
    tagBook.write(peer, window, () => false);
    for (let slot = 0; slot < peer.client.slots; slot += 1) {
      const tag = tagOf(peer.pairing, window, slot);
      TAGS.set(`${peer.id} ${window} ${slot}`, tag);
      MEANINGS.set(tagText(tag), `${peer.id} ${window} ${slot}`);
    }
  }
}
const peers = new Map(PEERS.map(({ peer }) => [peer.id, peer]));
const source = addressFromBytes(Uint8Array.of(203, 0, 113, 9));

/** Exact, in memory, and empty again for each input. */
class InputLedger implements Ledger {
  readonly used = new Set<string>();
  barred: number | undefined;
  fault: Fault;
  isUsed = (mark: Mark): boolean => this.used.has(markText(mark));
  isBarred = (window: number): boolean => window === this.barred;
  mark = (mark: Mark) => {
    if (this.fault !== undefined && this.fault !== 'removed') return this.fault;
    if (this.isUsed(mark)) return 'already-used' as const;
    this.used.add(markText(mark));
    return 'marked' as const;
  };
  openWindows = async () => true;
  health = () => ({ place: 'state', marks: this.used.size, note: '' }) as const;
  close = async () => undefined;
}
const ledger = new InputLedger();
const context: OpenContext = { peers, tagBook, ledger, toleranceMs: TOLERANCE_MS, now: NOW };
const withoutPeers: OpenContext = { ...context, peers: new Map() };

/** A packet and how it came about. */
type Made = {
  readonly payload: Uint8Array;
  /** Undefined: never sealed, or changed since. */
  readonly sealed:
    | { readonly of: Enrolled; readonly window: number; readonly body: ReferenceBody | undefined; readonly signatureHolds: boolean }
    | undefined;
};

function make(input: Uint8Array): Made {
  const [kind = 0, peerByte = 0, windowByte = 0, slotByte = 0, signerByte = 0, twist = 0, high = 0, low = 0, nonceByte = 0] = input;
  const content = input.slice(HEAD_BYTES);
  if (kind % 4 === 0) return { payload: content, sealed: undefined };
  const of = PEERS[peerByte % PEERS.length] ?? PEERS[0];
  hold(of !== undefined, 'nobody is enrolled');
  const window = WINDOWS[windowByte % WINDOWS.length] ?? WINDOW;
  const tag = TAGS.get(`${of.peer.id} ${window} ${slotByte % of.peer.client.slots}`);
  hold(tag !== undefined, 'a tag that was not made');
  if (kind % 4 === 1) return { payload: new Uint8Array([...tag, ...content]), sealed: undefined };

  // Mostly with a time that its tag admits; otherwise nearly all changes of the tag's window would end there.
  if ((twist & TWIST.ownTime) === 0 && content.length >= 10)
    new DataView(content.buffer).setBigUint64(2, BigInt(window) * 60_000n + BigInt(high * 200 + low));
  const body = referenceBody(content);
  const bodyBytes = content.subarray(0, body?.byteLength ?? content.length);
  const proof = { tag, nonce: new Uint8Array(24).fill(nonceByte), bodyBytes };
  const signer = kind % 4 === 2 ? undefined : signerOf(signerByte, of);
  let signature = new Uint8Array(64).fill(signerByte);
  // What is malformed is refused before its signature is looked at: 60 µs saved.
  if (signer !== undefined && body !== undefined) {
    const server = (twist & TWIST.otherServer) === 0 ? of.server : SERVERS[of.server === SERVERS[0] ? 1 : 0];
    const label = (twist & TWIST.label) === 0 ? undefined : 'postern/2 knock';
    signature = new Uint8Array(signed(signer, server.publicKey, proof, label).signature);
    if ((twist & TWIST.malleate) !== 0) signature = malleated(signature);
  }
  const honest = (twist & (TWIST.otherServer | TWIST.label | TWIST.malleate)) === 0;
  const sealedBytes = new Uint8Array(forge(of.peer.pairing, { ...proof, signature }, content.subarray(bodyBytes.length)));
  const payload = afterSealing(sealedBytes, twist, high * 256 + low);
  const signatureHolds = signer?.publicKey !== undefined && keyId(signer.publicKey) === keyId(of.secret.publicKey) && honest;
  return { payload, sealed: sameBytes(payload, sealedBytes) ? { of, window, body, signatureHolds } : undefined };
}

function signerOf(byte: number, { secret: own, server }: Enrolled): SecretKey {
  // Others than the true one are rare: a quarter.
  return [PEERS[0]?.secret, PEERS[1]?.secret, PEERS[2]?.secret, STRANGER, server][byte % 20] ?? own;
}

function afterSealing(packet: Uint8Array, twist: number, argument: number): Uint8Array {
  let out = packet;
  // A third of the flips are in tag and nonce.
  const place = argument % 3 === 0 ? Math.floor(argument / 3) % 40 : argument % packet.length;
  if ((twist & TWIST.flip) !== 0) out = out.map((byte, at) => (at === place ? byte ^ (1 << (argument & 7)) : byte));
  if ((twist & TWIST.cut) !== 0) out = out.subarray(0, Math.max(0, out.length - 1 - (argument % 64)));
  if ((twist & TWIST.extend) !== 0) out = new Uint8Array([...out, ...new Uint8Array(1 + (argument % 64))]);
  return out;
}

/** (R, S + L): another signature that loose verifiers take (P1). */
function malleated(signature: Uint8Array): Uint8Array<ArrayBuffer> {
  const order = 2n ** 252n + 27742317777372353535851937790883648493n;
  const scalar = BigInt(`0x${Buffer.from(signature.subarray(32)).reverse().toString('hex')}`) + order;
  return new Uint8Array([...signature.subarray(0, 32), ...Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex').reverse()]);
}

/** What SPEC 7 says that becomes of it. */
function expected({ payload, sealed }: Made, barred: number | undefined, fault: Fault): string {
  if (payload.length < 192 || payload.length > 448) return 'length';
  const meaning = MEANINGS.get(tagText(payload.subarray(0, 16)));
  if (meaning === undefined || fault === 'removed') return 'unknown-tag';
  if (Number(meaning.split(' ')[2]) === barred) return 'stale';
  if (sealed === undefined) return 'seal';
  if (sealed.body === undefined) return 'malformed';
  if (Math.floor(sealed.body.sentAtMs / 60_000) !== sealed.window) return 'window-mismatch';
  if (!sealed.signatureHolds) return 'signature';
  if (fault !== undefined) return { unwritable: 'ledger-unwritable', 'window-closed': 'stale', 'already-used': 'replay' }[fault];
  if (sealed.window > LAST_ACCEPTED) return 'clock-ahead';
  return sealed.window < FIRST_ACCEPTED ? 'stale' : 'opened';
}

function run(input: Uint8Array): string {
  ledger.used.clear();
  ledger.barred = ((input[5] ?? 0) & TWIST.barred) === 0 ? undefined : BARRED;
  ledger.fault = faultOf(input);
  const made = make(input);
  const datagram: Datagram = { payload: made.payload, source, sourcePort: 40_000 };
  const before = made.payload.slice();
  const opened = openDatagram(datagram, ledger.fault === 'removed' ? withoutPeers : context);
  const outcome = opened.pass ? 'opened' : opened.reason;
  const wanted = expected(made, ledger.barred, ledger.fault);
  hold(outcome === wanted, () => `${outcome} instead of ${wanted}${opened.pass ? '' : ` (${opened.detail})`}`);
  hold(sameBytes(before, made.payload), 'the payload was changed');
  // A mark is made if and only if the client is proven and nothing failed; then the same packet is a replay.
  const marked = opened.signed !== undefined && ledger.fault === undefined;
  hold(ledger.used.size === (marked || opened.pass ? 1 : 0), `${ledger.used.size} marks after ${outcome}`);
  if (opened.pass || marked) {
    const again = openDatagram(datagram, context);
    hold(!again.pass && again.reason === 'replay', 'opened twice');
  }
  if (opened.pass) {
    holdSays(opened.value.body, made);
    // Two signatures more: not each time.
    if ((input[8] ?? 0) % 4 === 0) holdSealsAgain(opened.value.body, made, input[8] ?? 0);
  }
  return outcome;
}

/** What our own client seals of it opens, and says the same. */
function holdSealsAgain(body: KnockBody, { sealed }: Made, draw: number): void {
  if (sealed === undefined) return;
  const { peer, secret: own } = sealed.of;
  const random = (count: number) => new Uint8Array(count).fill(draw);
  const packet = sealKnock({
    pairing: peer.pairing,
    secret: own,
    window: sealed.window,
    slot: 0,
    body,
    random,
  });
  const opened = openKnock(packet, peer.pairing, sealed.window);
  hold(opened.ok && sameBytes(encodeBody(opened.body), encodeBody(body)), 'what was opened does not seal and open again');
}

/** What was opened says what was sealed, and encodes to the same bytes. */
function holdSays(body: KnockBody, { sealed }: Made): void {
  const reference = sealed?.body;
  hold(reference !== undefined, 'opened, and was never sealed');
  const { action, source: from } = body;
  const said = [
    body.sentAtMs,
    action.kind === 'close',
    action.kind === 'open' && action.once,
    action.kind === 'open' ? action.lifetimeSeconds : 0,
    from.kind === 'bound' ? Buffer.from(mappedBytes(from.address)).toString('hex') : undefined,
    body.sourcePort,
    ...body.requests.map((request) => (request.kind === 'service' ? request.name : portsText(request.ports))),
  ];
  const { sentAtMs, close, once, lifetimeSeconds, source: sealedSource, sourcePort, requests } = reference;
  const meant = [sentAtMs, close, once, lifetimeSeconds, sealedSource, sourcePort, ...requests];
  hold(JSON.stringify(said) === JSON.stringify(meant), () => `says ${JSON.stringify(said)} and was sealed as ${JSON.stringify(meant)}`);
  hold(referenceBody(encodeBody(body))?.byteLength === reference.byteLength, 'encodes to something else');
}

function portsText({ protocol, first, last }: { readonly protocol: 'tcp' | 'udp'; readonly first: number; readonly last: number }): string {
  const hex = (port: number) => port.toString(16).padStart(4, '0');
  return `${protocol === 'tcp' ? '06' : '11'} ${hex(first)} ${hex(last)}`;
}

function tagText(tag: Uint8Array): string {
  return Buffer.from(tag.buffer, tag.byteOffset, tag.length).toString('latin1');
}

function markText({ client, server, window, slot }: Mark): string {
  return `${keyId(client)} ${keyId(server)} ${window} ${slot}`;
}

/** A sound body with some padding, then perhaps one field of it changed. */
function generate(random: Random): Uint8Array {
  const bound = random.oneIn(2);
  const close = random.oneIn(4);
  const requests = Array.from({ length: random.oneIn(8) ? 17 : random.below(5) }, () =>
    random.oneIn(2) ? portsBytes(random) : nameBytes(random),
  );
  const address = random.oneIn(2) ? [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...random.bytes(4)] : [0x20, ...random.bytes(15)];
  const body = Uint8Array.from([
    1,
    (bound ? 1 : 0) | (close ? 4 : 0) | (random.oneIn(close ? 8 : 3) ? 2 : 0),
    ...new Uint8Array(8),
    ...(close && !random.oneIn(6) ? new Uint8Array(4) : random.oneIn(2) ? random.bytes(4) : [0, 0, 0, 60]),
    ...(bound !== random.oneIn(12) ? address : new Uint8Array(16)),
    ...random.bytes(2),
    requests.length,
    ...requests.flat(),
    ...new Uint8Array(random.oneIn(3) ? random.below(300) : 60 + random.below(100)),
  ]);
  if (random.oneIn(3)) body[random.below(body.length)] = random.below(256);
  const twist = random.oneIn(4) ? 1 << random.below(8) : 0;
  const kind = (random.oneIn(6) ? random.below(4) : 3) | (random.oneIn(8) ? random.below(64) << 2 : 0);
  const head = [kind, random.below(256), random.below(256), random.below(256), random.below(256), twist];
  return Uint8Array.from([...head, ...random.bytes(3), ...body]);
}

function portsBytes(random: Random): number[] {
  const first = 1 + random.below(65_535);
  const last = random.oneIn(8) ? random.below(65_536) : first + random.below(65_536 - first);
  return [0, random.oneIn(2) ? 6 : 17, first >> 8, first & 255, last >> 8, last & 255];
}

function nameBytes(random: Random): number[] {
  const name = Array.from({ length: 1 + random.below(32) }, () => 'abcdefghijklmnopqrstuvwxyz0123456789-'.charCodeAt(random.below(37)));
  return [1, name.length, ...name];
}

const SSH = [0, 6, 0, 22, 0, 22];
const seedOf = (head: readonly number[], body: readonly number[]): Uint8Array =>
  Uint8Array.from([...head, 0, 0, 0, ...body, ...new Uint8Array(80)]);
const OPEN = [1, 0, ...new Uint8Array(8), 0, 0, 0, 60, ...new Uint8Array(18)];

export const target: FuzzTarget = {
  about: 'a datagram from its length to a knock that a client signed, with real keys, seals and signatures',
  covers: [
    'protocol/packet.ts',
    'protocol/body.ts',
    'protocol/tags.ts',
    'daemon/open/open.ts',
    'daemon/open/tag-book.ts',
    'daemon/open/tag-page.ts',
  ],
  kind: 'bytes',
  maxBytes: 460,
  seeds: [
    seedOf([3, 0, 2, 0, 19, 0], [...OPEN, 0]),
    seedOf([3, 1, 2, 0, 19, 0], [...OPEN, 1, ...SSH]),
    seedOf([3, 2, 3, 9, 19, 0], [...OPEN, 2, ...SSH, 1, 3, 0x73, 0x73, 0x68]),
    seedOf([2, 0, 2, 0, 0, 0], [...OPEN, 0]),
    seedOf(
      [1, 0, 2, 0, 0, 0],
      Array.from({ length: 200 }, (_, at) => (at * 31) % 256),
    ),
    Uint8Array.from([0, ...new Uint8Array(240).fill(0xa5)]),
  ],
  dictionary: [
    Uint8Array.of(0, 6, 0, 22, 0, 22),
    Uint8Array.of(0, 17, 0, 1, 0xff, 0xff),
    Uint8Array.of(1, 3, 0x73, 0x73, 0x68),
    new Uint8Array(10),
    new Uint8Array(16),
  ],
  generate,
  run,
  mustReach: [
    'length',
    'unknown-tag',
    'seal',
    'malformed',
    'window-mismatch',
    'signature',
    'ledger-unwritable',
    'replay',
    'stale',
    'clock-ahead',
    'opened',
  ],
};
