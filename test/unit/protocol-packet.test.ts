// Sealing and opening: what must open, and that nothing else does (P1, P2, P4, P5, P6, P8).
import assert from 'node:assert/strict';
import { randomBytes, verify } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import nacl from 'tweetnacl';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { secretFromSeed, verifyingKey } from '../../protocol/identity.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import {
  decodeBody,
  encodeBody,
  type KnockProof,
  MAX_PACKET_BYTES,
  MIN_PACKET_BYTES,
  type OpenFailure,
  openKnock,
  sealKnock,
  tagOfDatagram,
} from '../../protocol/packet.ts';
import { pairAsClient, pairAsServer } from '../../protocol/pairing.ts';
import { tagOf, WINDOW_MS, windowOf, windowStartMs } from '../../protocol/tags.ts';
import { forge, signed, signedMessage } from './protocol-forge.ts';
import { sodium } from './protocol-sodium.ts';

const SENT_AT = unixMs(1_795_269_612_345);
const WINDOW = windowOf(SENT_AT);
const [alice, bob] = [secretFromSeed(randomBytes(32)), secretFromSeed(randomBytes(32))];
const [server, otherServer] = [secretFromSeed(randomBytes(32)), secretFromSeed(randomBytes(32))];
const atClient = pairAsClient(alice, server.publicKey);
const atServer = pairAsServer(server, alice.publicKey);

const BODY: KnockBody = {
  action: { kind: 'open', lifetimeSeconds: 30, once: false },
  sentAtMs: SENT_AT,
  source: { kind: 'unbound' },
  sourcePort: 0,
  requests: [{ kind: 'service', name: 'ssh' }],
};

function seal(body: KnockBody = BODY, slot = 0): Uint8Array {
  return sealKnock({ pairing: atClient, secret: alice, window: windowOf(body.sentAtMs), slot, body, random: randomBytes });
}

function reasonOf(payload: Uint8Array, window = WINDOW, pairing = atServer): OpenFailure | 'opened' {
  const opened = openKnock(payload, pairing, window);
  return opened.ok ? 'opened' : opened.reason;
}

function proofOf(payload: Uint8Array): KnockProof {
  const opened = openKnock(payload, atServer, WINDOW);
  assert.ok(opened.ok);
  return opened.proof;
}

const ADDRESS = fc
  .oneof(fc.ipV4(), fc.ipV6())
  .map((text) => parseAddress(text))
  .filter((address) => address.ok && address.value.text !== '::')
  .map((address) => {
    assert.ok(address.ok);
    return address.value;
  });
const PORT = fc.integer({ min: 1, max: 65_535 });
/** Plain objects, as our code makes them: fc.record's own may have no prototype. */
function record<T extends object>(shape: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<T> {
  return fc.record(shape, { noNullPrototype: true }) as fc.Arbitrary<T>;
}
const REQUEST = fc.oneof(
  record({
    kind: fc.constant('ports' as const),
    ports: fc.tuple(fc.constantFrom('tcp' as const, 'udp' as const), PORT, PORT).map(([protocol, a, b]) => ({
      protocol,
      first: Math.min(a, b),
      last: Math.max(a, b),
    })),
  }),
  record({ kind: fc.constant('service' as const), name: fc.stringMatching(/^[a-z0-9-]{1,16}$/) }),
);
const KNOCK: fc.Arbitrary<KnockBody> = record({
  action: fc.oneof(
    record({ kind: fc.constant('open' as const), lifetimeSeconds: fc.integer({ min: 0, max: 0xffff_ffff }), once: fc.boolean() }),
    fc.constant({ kind: 'close' } as const),
  ),
  sentAtMs: fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER }).map(unixMs),
  source: fc.oneof(
    fc.constant({ kind: 'unbound' } as const),
    ADDRESS.map((address) => ({ kind: 'bound' as const, address })),
  ),
  sourcePort: fc.integer({ min: 0, max: 65_535 }),
  requests: fc.array(REQUEST, { maxLength: 16 }),
});

describe('a sealed knock', () => {
  test('opens at its server as what was sealed, whatever it says', () => {
    fc.assert(
      fc.property(KNOCK, fc.integer({ min: 0, max: 63 }), (body, slot) => {
        const payload = seal(body, slot);
        assert.ok(payload.length >= MIN_PACKET_BYTES && payload.length <= MAX_PACKET_BYTES);
        const opened = openKnock(payload, atServer, windowOf(body.sentAtMs));
        assert.ok(opened.ok);
        assert.deepEqual(opened.body, body);
        assert.deepEqual(tagOfDatagram(payload), tagOf(atServer, windowOf(body.sentAtMs), slot));
      }),
      { numRuns: 200 },
    );
  });

  test('gives a proof that a third person can verify with C, S and no secret', () => {
    const { signature, ...rest } = proofOf(seal());
    const message = signedMessage(server.publicKey, rest);
    assert.equal(sodium.crypto_sign_verify_detached(Buffer.from(signature), message, Buffer.from(alice.publicKey)), true);
    assert.equal(decodeBody(rest.bodyBytes).ok, true);
  });

  test('gives a proof that survives the reuse of the buffer it came in', () => {
    const payload = Buffer.from(seal());
    const opened = openKnock(payload, atServer, WINDOW);
    assert.ok(opened.ok);
    const before = structuredClone(opened.proof);
    payload.fill(0);
    assert.deepEqual(opened.proof, before);
  });

  test('has lengths that are uniform from the shortest that holds it to 448', () => {
    const [shortest, choices] = [192, 257];
    const lengthFor = (draw: number) => {
      const random = (count: number) => (count === 24 ? new Uint8Array(24) : Uint8Array.of(draw >> 8, draw & 0xff));
      return sealKnock({ pairing: atClient, secret: alice, window: WINDOW, slot: 0, body: BODY, random }).length;
    };
    assert.equal(lengthFor(0), shortest);
    assert.equal(lengthFor(choices - 1), MAX_PACKET_BYTES);
    assert.equal(lengthFor(choices), shortest);
    // 65,536 is 255 × 257 + 1: the last draw would make one length likelier, and is drawn again.
    let draws = 0;
    const random = (count: number) => {
      if (count === 24) return new Uint8Array(24);
      draws += 1;
      return draws === 1 ? Uint8Array.of(0xff, 0xff) : Uint8Array.of(0, 5);
    };
    assert.equal(sealKnock({ pairing: atClient, secret: alice, window: WINDOW, slot: 0, body: BODY, random }).length, shortest + 5);
    assert.equal(draws, 2);
  });

  test('shows the same bytes nowhere twice but in the tag of the same slot', () => {
    const [first, second] = [seal(), seal()];
    assert.deepEqual(first.subarray(0, 16), second.subarray(0, 16));
    assert.notDeepEqual(first.subarray(16, 40), second.subarray(16, 40));
    assert.notDeepEqual(first.subarray(40, 192), second.subarray(40, 192));
  });

  test('cannot be sealed with a time outside its window, or by another client than the pairing says', () => {
    const options = { pairing: atClient, secret: alice, window: WINDOW, slot: 0, body: BODY, random: randomBytes };
    assert.throws(() => sealKnock({ ...options, window: WINDOW + 1 }), RangeError);
    assert.throws(() => sealKnock({ ...options, secret: bob }), RangeError);
    assert.throws(() => sealKnock({ ...options, slot: 64 }), RangeError);
  });
});

describe('encoding (P2)', () => {
  test('every single bit flipped is refused', () => {
    const payload = seal();
    for (let bit = 0; bit < payload.length * 8; bit += 1) {
      const flipped = payload.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      assert.equal(reasonOf(flipped), 'seal', `bit ${bit}`);
    }
  });

  test('every other length is refused: cut, and filled with zeros', () => {
    const payload = seal();
    for (let length = 0; length <= 600; length += 1) {
      if (length === payload.length) continue;
      const other = Uint8Array.from({ length }, (_, at) => payload[at] ?? 0);
      const inRange = length >= MIN_PACKET_BYTES && length <= MAX_PACKET_BYTES;
      assert.equal(reasonOf(other), inRange ? 'seal' : 'length', `${length} bytes`);
      assert.equal(tagOfDatagram(other) !== undefined, inRange, `${length} bytes`);
    }
  });

  test('a leading byte and a trailing byte are refused', () => {
    const payload = seal();
    const expected = payload.length < MAX_PACKET_BYTES ? 'seal' : 'length';
    for (const byte of [0, 1, 255]) {
      assert.equal(reasonOf(Uint8Array.of(byte, ...payload)), expected);
      assert.equal(reasonOf(Uint8Array.of(...payload, byte)), expected);
    }
  });

  test('random bytes are refused, and never throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (payload) => assert.notEqual(reasonOf(payload), 'opened')));
  });
});

describe('who may sign what (P1, P4, P5, P6)', () => {
  const unsigned = (): Omit<KnockProof, 'signature'> => {
    const { signature: _, ...rest } = proofOf(seal());
    return rest;
  };

  test('the forger of these tests forges packets that open when nothing is wrong with them', () => {
    assert.equal(reasonOf(forge(atServer, signed(alice, server.publicKey, unsigned()))), 'opened');
  });

  test('P1: (R, S + L) is refused, though tweetnacl takes it', () => {
    const proof = proofOf(seal());
    const order = 2n ** 252n + 27742317777372353535851937790883648493n;
    const scalar = BigInt(`0x${Buffer.from(proof.signature.slice(32)).reverse().toString('hex')}`) + order;
    const malleated = Buffer.concat([proof.signature.subarray(0, 32), Buffer.from(scalar.toString(16).padStart(64, '0'), 'hex').reverse()]);
    const message = signedMessage(server.publicKey, proof);
    assert.equal(nacl.sign.detached.verify(message, new Uint8Array(malleated), alice.publicKey), true);
    assert.equal(sodium.crypto_sign_verify_detached(malleated, message, Buffer.from(alice.publicKey)), false);
    assert.equal(reasonOf(forge(atServer, { ...proof, signature: malleated })), 'signature');
  });

  test('P1: verification agrees with tweetnacl and libsodium, sound and with a bit flipped', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.option(fc.nat(64 * 8 - 1), { nil: undefined }), (message, bit) => {
        const signature = Buffer.from(nacl.sign.detached(message, nacl.sign.keyPair.fromSeed(alice.seed).secretKey));
        if (bit !== undefined) signature[bit >> 3] = (signature[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        const byNode = verify(null, message, verifyingKey(alice.publicKey), signature);
        assert.equal(byNode, bit === undefined);
        assert.equal(nacl.sign.detached.verify(message, new Uint8Array(signature), alice.publicKey), byNode);
        assert.equal(sodium.crypto_sign_verify_detached(signature, Buffer.from(message), Buffer.from(alice.publicKey)), byNode);
      }),
      { numRuns: 30 },
    );
  });

  test('P4: a knock for one server does not open at another, even under the other server’s own tag and box', () => {
    const payload = seal();
    const atOther = pairAsServer(otherServer, alice.publicKey);
    assert.equal(reasonOf(payload, WINDOW, atOther), 'seal');
    // The other server itself relays what was signed for it.
    const tag = tagOf(atServer, WINDOW, 3);
    assert.equal(reasonOf(forge(atServer, signed(alice, otherServer.publicKey, { ...unsigned(), tag }))), 'signature');
    const forOther = signed(alice, otherServer.publicKey, { ...unsigned(), tag: tagOf(atOther, WINDOW, 0) });
    assert.equal(reasonOf(forge(atOther, forOther), WINDOW, atOther), 'opened');
    assert.equal(reasonOf(forge(atServer, forOther)), 'signature');
  });

  test('P5: no bit of the body can be changed by someone who can seal but not sign', () => {
    const proof = proofOf(seal({ ...BODY, action: { kind: 'open', lifetimeSeconds: 0, once: false } }));
    for (let bit = 0; bit < proof.bodyBytes.length * 8; bit += 1) {
      const bodyBytes = proof.bodyBytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte));
      assert.notEqual(reasonOf(forge(atServer, { ...proof, bodyBytes })), 'opened', `bit ${bit}`);
    }
    const close = encodeBody({ ...BODY, action: { kind: 'close' } });
    assert.equal(reasonOf(forge(atServer, { ...proof, bodyBytes: close })), 'signature');
  });

  test('P5: neither tag nor nonce can be exchanged by someone who can seal but not sign', () => {
    const proof = proofOf(seal());
    assert.equal(reasonOf(forge(atServer, { ...proof, tag: tagOf(atServer, WINDOW, 9) })), 'signature');
    assert.equal(reasonOf(forge(atServer, { ...proof, nonce: randomBytes(24) })), 'signature');
  });

  for (const label of ['postern/2 knock', 'postern/1 tag', 'SSHSIG', '']) {
    test(`P6: a signature under the label ${JSON.stringify(label)} is refused`, () => {
      assert.equal(reasonOf(forge(atServer, signed(alice, server.publicKey, unsigned(), label))), 'signature');
    });
  }

  test('a signature by another client, by the server, or of zeros is refused', () => {
    assert.equal(reasonOf(forge(atServer, signed(bob, server.publicKey, unsigned()))), 'signature');
    assert.equal(reasonOf(forge(atServer, signed(server, server.publicKey, unsigned()))), 'signature');
    assert.equal(reasonOf(forge(atServer, { ...unsigned(), signature: new Uint8Array(64) })), 'signature');
  });

  test('a knock sealed with or for another pre-shared key does not open', () => {
    const withPsk = pairAsServer(server, alice.publicKey, new Uint8Array(32).fill(7));
    assert.equal(reasonOf(seal(), WINDOW, withPsk), 'seal');
  });
});

describe('sent at and the tag (P8)', () => {
  const start = windowStartMs(WINDOW);
  const cases = [
    { text: 'a millisecond before the window', sentAtMs: start - 1, expected: 'window-mismatch' },
    { text: 'the first millisecond', sentAtMs: start, expected: 'opened' },
    { text: 'the last millisecond', sentAtMs: start + WINDOW_MS - 1, expected: 'opened' },
    { text: 'a millisecond after the window', sentAtMs: start + WINDOW_MS, expected: 'window-mismatch' },
    { text: 'the year 2099', sentAtMs: Date.UTC(2099, 0), expected: 'window-mismatch' },
    { text: 'the epoch', sentAtMs: 0, expected: 'window-mismatch' },
    { text: 'the end of safe numbers', sentAtMs: Number.MAX_SAFE_INTEGER, expected: 'window-mismatch' },
  ] as const;
  for (const { text, sentAtMs, expected } of cases) {
    test(`${text}: ${expected}`, () => {
      const bodyBytes = encodeBody({ ...BODY, sentAtMs: unixMs(sentAtMs) });
      const proof = { tag: tagOf(atServer, WINDOW, 0), nonce: randomBytes(24), bodyBytes };
      assert.equal(reasonOf(forge(atServer, signed(alice, server.publicKey, proof))), expected);
    });
  }
});
