// Which keys count as identities, against libsodium; and the pairing keys, against tweetnacl and ed2curve.
import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import ed2curve from 'ed2curve';
import fc from 'fast-check';
import nacl from 'tweetnacl';
import { toX25519 } from '../../protocol/curve.ts';
import {
  checkPublicKey,
  keyId,
  type PublicKey,
  samePublicKey,
  secretFromPair,
  secretFromSeed,
  verifyingKey,
} from '../../protocol/identity.ts';
import { pairAsClient, pairAsServer } from '../../protocol/pairing.ts';
import { filled, sodium } from './protocol-sodium.ts';
import { bytes, VECTORS } from './protocol-vector-file.ts';

const SMALL = VECTORS.keys.refused.filter((key) => key.reason === 'small-order');
const SEED = fc.uint8Array({ minLength: 32, maxLength: 32 });

function isValid(key: Uint8Array): boolean {
  return checkPublicKey(key).ok;
}

describe('checkPublicKey', () => {
  test('says of random bytes what libsodium says', () => {
    const seen = { valid: 0, refused: 0 };
    fc.assert(
      fc.property(SEED, (key) => {
        const valid = sodium.crypto_core_ed25519_is_valid_point(Buffer.from(key));
        seen[valid ? 'valid' : 'refused'] += 1;
        assert.equal(isValid(key), valid);
      }),
      { numRuns: 600 },
    );
    // About one in 16 is valid: the test would prove little if none were.
    assert.ok(seen.valid > 5 && seen.refused > 100, JSON.stringify(seen));
  });

  test('accepts what honest programs make: node:crypto, tweetnacl, libsodium', () => {
    for (let round = 0; round < 50; round += 1) {
      const node = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }).x ?? '';
      assert.ok(isValid(Buffer.from(node, 'base64url')));
      const fromSodium = filled(32, (out) => sodium.crypto_sign_seed_keypair(out, Buffer.alloc(64), randomBytes(32)));
      assert.ok(isValid(fromSodium));
    }
    assert.ok(isValid(nacl.sign.keyPair().publicKey));
  });

  test('refuses every sum of a sound key and a point of small order (mixed order), as libsodium does', () => {
    for (let round = 0; round < 20; round += 1) {
      const sound = Buffer.from(secretFromSeed(randomBytes(32)).publicKey);
      for (const small of SMALL) {
        const point = bytes(small.public);
        // The two encodings with a signed zero are no input that libsodium adds.
        if (small.name.includes('x = 0')) continue;
        const sum = filled(32, (out) => sodium.crypto_core_ed25519_add(out, sound, point));
        const identity = small.name.startsWith('order 1,');
        assert.equal(sodium.crypto_core_ed25519_is_valid_point(sum), identity, small.name);
        assert.equal(isValid(sum), identity, small.name);
      }
    }
  });

  for (const length of [0, 31, 33, 64]) {
    test(`refuses ${length} bytes`, () => {
      assert.deepEqual(checkPublicKey(new Uint8Array(length)), {
        ok: false,
        why: `an Ed25519 public key has 32 bytes, not ${length}`,
      });
    });
  }

  test('copies the bytes, of a Buffer too', () => {
    const buffer = Buffer.from(secretFromSeed(new Uint8Array(32)).publicKey);
    const checked = checkPublicKey(buffer);
    assert.ok(checked.ok);
    const before = keyId(checked.value);
    buffer.fill(0);
    assert.equal(keyId(checked.value), before);
    assert.equal(Buffer.isBuffer(checked.value), false);
  });
});

describe('key pairs', () => {
  test('a seed gives the public key that tweetnacl and libsodium give', () => {
    fc.assert(
      fc.property(SEED, (seed) => {
        const ours = Buffer.from(secretFromSeed(seed).publicKey);
        assert.deepEqual(
          ours,
          filled(32, (out) => sodium.crypto_sign_seed_keypair(out, Buffer.alloc(64), Buffer.from(seed))),
        );
      }),
      { numRuns: 50 },
    );
    const seed = randomBytes(32);
    assert.deepEqual(secretFromSeed(seed).publicKey, nacl.sign.keyPair.fromSeed(seed).publicKey);
  });

  test('a pair whose public half is another key is none', () => {
    const [seed, other] = [randomBytes(32), secretFromSeed(randomBytes(32)).publicKey];
    assert.equal(secretFromPair(seed, other), undefined);
    assert.deepEqual(secretFromPair(seed, secretFromSeed(seed).publicKey), secretFromSeed(seed));
  });

  test('equal keys have equal ids, other keys have others', () => {
    const [a, b] = [secretFromSeed(new Uint8Array(32)), secretFromSeed(new Uint8Array(32).fill(1))];
    assert.equal(keyId(a.publicKey), keyId(secretFromSeed(a.seed).publicKey));
    assert.notEqual(keyId(a.publicKey), keyId(b.publicKey));
    assert.equal(samePublicKey(a.publicKey, secretFromSeed(a.seed).publicKey), true);
    assert.equal(samePublicKey(a.publicKey, b.publicKey), false);
  });

  test('the X25519 form is the one of ed2curve and of libsodium', () => {
    for (let round = 0; round < 20; round += 1) {
      const { publicKey } = secretFromSeed(randomBytes(32));
      const form = Buffer.from(toX25519(publicKey));
      assert.deepEqual(form, Buffer.from(ed2curve.convertPublicKey(publicKey) ?? []));
      assert.deepEqual(
        form,
        filled(32, (out) => sodium.crypto_sign_ed25519_pk_to_curve25519(out, Buffer.from(publicKey))),
      );
    }
  });
});

describe('pairing', () => {
  const [alice, bob] = [secretFromSeed(randomBytes(32)), secretFromSeed(randomBytes(32))];
  const [server, other] = [secretFromSeed(randomBytes(32)), secretFromSeed(randomBytes(32))];

  test('both ends derive the same keys', () => {
    fc.assert(
      fc.property(SEED, SEED, fc.option(SEED, { nil: undefined }), (client, host, psk) => {
        const [c, s] = [secretFromSeed(client), secretFromSeed(host)];
        assert.deepEqual(pairAsClient(c, s.publicKey, psk), pairAsServer(s, c.publicKey, psk));
      }),
      { numRuns: 50 },
    );
  });

  test('another client, another server, another or no pre-shared key: all keys differ', () => {
    const all = [
      pairAsClient(alice, server.publicKey),
      pairAsClient(alice, other.publicKey),
      pairAsClient(bob, server.publicKey),
      pairAsClient(alice, server.publicKey, randomBytes(32)),
      pairAsClient(alice, server.publicKey, new Uint8Array(32)),
      // The same two keys with their parts exchanged.
      pairAsClient(server, alice.publicKey),
    ];
    const keys = all.flatMap((pairing) => [pairing.tagKey, pairing.sealKey]).map((key) => Buffer.from(key).toString('hex'));
    assert.equal(new Set(keys).size, all.length * 2);
  });

  for (const length of [0, 31, 33]) {
    test(`throws on a pre-shared key of ${length} bytes`, () => {
      assert.throws(() => pairAsClient(alice, server.publicKey, new Uint8Array(length)), /pre-shared key has 32 bytes/);
    });
  }

  for (const small of SMALL) {
    test(`never pairs with a key of small order, even if nobody checked it: ${small.name}`, () => {
      assert.throws(() => pairAsServer(server, bytes(small.public) as Uint8Array as PublicKey));
    });
  }

  test('the zero check cannot be left to box.before, which hides the zeros of all small-order keys', () => {
    for (const small of SMALL.filter((key) => !key.name.includes('order 1,'))) {
      const x25519 = toX25519(bytes(small.public));
      assert.deepEqual(nacl.scalarMult(randomBytes(32), x25519), new Uint8Array(32), small.name);
      assert.notDeepEqual(nacl.box.before(x25519, randomBytes(32)), new Uint8Array(32), small.name);
    }
  });
});

test('however many clients sign, each is verified by its own key', () => {
  const keys = Array.from({ length: 300 }, (_, at) => secretFromSeed(new Uint8Array(32).fill(at & 255).fill(at >> 8, 0, 1)).publicKey);
  for (let round = 0; round < 2; round += 1) {
    for (const key of keys) assert.equal(verifyingKey(key).export({ format: 'jwk' }).x, Buffer.from(key).toString('base64url'));
  }
});
