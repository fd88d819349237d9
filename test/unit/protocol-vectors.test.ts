// A second implementation of the whole protocol, written from SPEC.md on libsodium alone, reproduces every value of vectors.json.
// Imports nothing of protocol/ and shares no code with the generator.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { filled, sodium } from './protocol-sodium.ts';
import { bytes, named, type PacketVector, type PairingVector, VECTORS } from './protocol-vector-file.ts';

function sha256(input: Buffer): Buffer {
  return filled(32, (out) => sodium.crypto_hash_sha256(out, input));
}

/** RFC 2104 over SHA-256, for keys of up to 64 bytes. */
function hmac(key: Buffer, ...parts: readonly (Buffer | string)[]): Buffer {
  const block = Buffer.alloc(64);
  key.copy(block);
  const inner = Buffer.concat([block.map((byte) => byte ^ 0x36), ...parts.map((part) => Buffer.from(part as string))]);
  return sha256(Buffer.concat([block.map((byte) => byte ^ 0x5c), sha256(inner)]));
}

function u64(value: number): Buffer {
  return filled(8, (out) => out.writeBigUInt64BE(BigInt(value)));
}

function signKeys(name: string): { readonly publicKey: Buffer; readonly secretKey: Buffer } {
  const publicKey = Buffer.alloc(32);
  const secretKey = Buffer.alloc(64);
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, bytes(named(VECTORS.keys.good, name).seed));
  return { publicKey, secretKey };
}

function boxPublic(name: string): Buffer {
  return filled(32, (out) => sodium.crypto_sign_ed25519_pk_to_curve25519(out, signKeys(name).publicKey));
}

function boxSecret(name: string): Buffer {
  return filled(32, (out) => sodium.crypto_sign_ed25519_sk_to_curve25519(out, signKeys(name).secretKey));
}

/** HSalsa20 of 16 zero bytes, as the NaCl paper has it: sodium-native does not export it. */
function hsalsa20(key: Buffer): Buffer {
  const sigma = Buffer.from('expand 32-byte k');
  const word = (source: Buffer, index: number) => source.readUInt32LE(index * 4);
  const k = (index: number) => word(key, index);
  const x = Uint32Array.of(
    word(sigma, 0),
    k(0),
    k(1),
    k(2),
    k(3),
    word(sigma, 1),
    0,
    0,
    0,
    0,
    word(sigma, 2),
    k(4),
    k(5),
    k(6),
    k(7),
    word(sigma, 3),
  );
  const at = (index: number) => x[index] ?? 0;
  const mix = (target: number, a: number, b: number, turn: number) => {
    const sum = (at(a) + at(b)) >>> 0;
    x[target] = at(target) ^ ((sum << turn) | (sum >>> (32 - turn)));
  };
  const quarter = (a: number, b: number, c: number, d: number) => {
    mix(b, a, d, 7);
    mix(c, b, a, 9);
    mix(d, c, b, 13);
    mix(a, d, c, 18);
  };
  for (let round = 0; round < 10; round += 1) {
    for (const [a, b, c, d] of [
      [0, 4, 8, 12],
      [5, 9, 13, 1],
      [10, 14, 2, 6],
      [15, 3, 7, 11],
      [0, 1, 2, 3],
      [5, 6, 7, 4],
      [10, 11, 8, 9],
      [15, 12, 13, 14],
    ] as const) {
      quarter(a, b, c, d);
    }
  }
  const out = Buffer.alloc(32);
  [0, 5, 10, 15, 6, 7, 8, 9].forEach((index, position) => {
    out.writeUInt32LE(at(index), position * 4);
  });
  return out;
}

type Keys = {
  readonly boxKey: Buffer;
  readonly root: Buffer;
  readonly tagKey: Buffer;
  readonly sealKey: Buffer;
  readonly client: string;
  readonly server: string;
};

function pair({ client, server, psk }: PairingVector): Keys {
  const shared = filled(32, (out) => sodium.crypto_scalarmult(out, boxSecret(client), boxPublic(server)));
  const boxKey = hsalsa20(shared);
  const root = psk === null ? boxKey : hmac(bytes(psk), boxKey);
  const ends = [signKeys(client).publicKey, signKeys(server).publicKey];
  return {
    boxKey,
    root,
    tagKey: hmac(root, 'postern/1 tag', ...ends),
    sealKey: hmac(root, 'postern/1 seal', ...ends),
    client,
    server,
  };
}

function tag(keys: Keys, window: number, slot: number): Buffer {
  return hmac(keys.tagKey, u64(window), Buffer.of(slot)).subarray(0, 16);
}

function body({ fields }: PacketVector): Buffer {
  const fixed = Buffer.alloc(33);
  fixed.writeUInt8(1, 0);
  fixed.writeUInt8(fields.flags, 1);
  u64(fields.sent_at).copy(fixed, 2);
  fixed.writeUInt32BE(fields.lifetime, 10);
  bytes(fields.source).copy(fixed, 14);
  fixed.writeUInt16BE(fields.source_port, 30);
  fixed.writeUInt8(fields.requests.length, 32);
  const requests = fields.requests.map((request) => {
    if ('service' in request) return Buffer.concat([Buffer.of(1, request.service.length), Buffer.from(request.service, 'ascii')]);
    return Buffer.of(0, request.protocol, request.first >> 8, request.first & 0xff, request.last >> 8, request.last & 0xff);
  });
  return Buffer.concat([fixed, ...requests]);
}

function packet(vector: PacketVector): Buffer {
  const keys = pair(named(VECTORS.pairings, vector.pairing));
  const ourTag = tag(keys, vector.window, vector.slot);
  const nonce = bytes(vector.nonce);
  const message = Buffer.concat([Buffer.from('postern/1 knock'), signKeys(keys.server).publicKey, ourTag, nonce, body(vector)]);
  const signature = filled(64, (out) => sodium.crypto_sign_detached(out, message, signKeys(keys.client).secretKey));
  const content = Buffer.concat([signature, body(vector), Buffer.alloc(vector.padding)]);
  const box = filled(content.length + 16, (out) => sodium.crypto_secretbox_easy(out, content, nonce, hmac(keys.sealKey, ourTag)));
  return Buffer.concat([ourTag, nonce, box]);
}

describe('a second implementation on libsodium', () => {
  for (const key of VECTORS.keys.good) {
    test(`has the same key pair for ${key.name}`, () => {
      const { publicKey } = signKeys(key.name);
      const text = (value: string) => Buffer.concat([Buffer.of(0, 0, 0, value.length), Buffer.from(value, 'latin1')]);
      const blob = Buffer.concat([text('ssh-ed25519'), text(publicKey.toString('latin1'))]);
      assert.equal(publicKey.toString('hex'), key.public);
      assert.equal(boxPublic(key.name).toString('hex'), key.x25519_public);
      assert.equal(boxSecret(key.name).toString('hex'), key.x25519_scalar);
      assert.equal(key.line, `ssh-ed25519 ${blob.toString('base64')} ${key.name}`);
      assert.equal(key.fingerprint, `SHA256:${sha256(blob).toString('base64').replaceAll('=', '')}`);
      assert.equal(sodium.crypto_core_ed25519_is_valid_point(publicKey), true);
    });
  }

  for (const key of VECTORS.keys.refused) {
    test(`refuses ${key.reason} too: ${key.name}`, () => {
      assert.equal(sodium.crypto_core_ed25519_is_valid_point(bytes(key.public)), false);
    });
  }

  for (const vector of VECTORS.pairings) {
    test(`derives the same keys for ${vector.name}`, () => {
      const keys = pair(vector);
      assert.equal(keys.boxKey.toString('hex'), vector.box_key);
      assert.equal(keys.root.toString('hex'), vector.k);
      assert.equal(keys.tagKey.toString('hex'), vector.k_tag);
      assert.equal(keys.sealKey.toString('hex'), vector.k_seal);
    });

    test(`agrees with libsodium's own box about the box key of ${vector.name}, from either end`, () => {
      const message = Buffer.from('what the box holds');
      const nonce = Buffer.alloc(24, 7);
      const byKey = filled(message.length + 16, (out) => sodium.crypto_secretbox_easy(out, message, nonce, bytes(vector.box_key)));
      for (const [own, peer] of [
        [vector.client, vector.server],
        [vector.server, vector.client],
      ] as const) {
        const byBox = filled(message.length + 16, (out) => sodium.crypto_box_easy(out, message, nonce, boxPublic(peer), boxSecret(own)));
        assert.deepEqual(byBox, byKey);
      }
    });
  }

  for (const vector of VECTORS.tags) {
    test(`has the same tag for ${vector.pairing}, window ${vector.window}, slot ${vector.slot}`, () => {
      assert.equal(tag(pair(named(VECTORS.pairings, vector.pairing)), vector.window, vector.slot).toString('hex'), vector.tag);
    });
  }

  for (const vector of VECTORS.accepted_windows) {
    test(`accepts the same windows at ${vector.now} ± ${vector.tolerance}`, () => {
      const met = Array.from({ length: 14 }, (_, at) => Math.floor(vector.now / 60_000) - 7 + at).filter(
        (window) =>
          window >= 0 && window * 60_000 <= vector.now + vector.tolerance && window * 60_000 + 59_999 >= vector.now - vector.tolerance,
      );
      assert.deepEqual([met[0], met.at(-1)], [vector.first, vector.last]);
    });
  }

  for (const vector of VECTORS.packets) {
    test(`seals the same packet: ${vector.name}`, () => {
      assert.equal(body(vector).toString('hex'), vector.body);
      assert.equal(packet(vector).toString('hex'), vector.packet);
    });
  }

  for (const vector of VECTORS.refused_packets) {
    test(`refuses for the same reason (${vector.reason}): ${vector.name}`, () => {
      assert.equal(refusal(bytes(vector.packet), pair(named(VECTORS.pairings, vector.pairing)), vector.window), vector.reason);
    });
  }

  for (const vector of VECTORS.packets) {
    test(`finds nothing to refuse: ${vector.name}`, () => {
      assert.equal(refusal(bytes(vector.packet), pair(named(VECTORS.pairings, vector.pairing)), vector.window), undefined);
    });
  }
});

/** SPEC 7, steps 2, 4 and 5: why a packet is refused. */
function refusal(payload: Buffer, keys: Keys, window: number): string | undefined {
  if (payload.length < 192 || payload.length > 448) return 'length';
  const [ourTag, nonce, box] = [payload.subarray(0, 16), payload.subarray(16, 40), payload.subarray(40)];
  const content = Buffer.alloc(box.length - 16);
  if (!sodium.crypto_secretbox_open_easy(content, box, nonce, hmac(keys.sealKey, ourTag))) return 'seal';
  const rest = content.subarray(64);
  const length = bodyLength(rest);
  if (length === undefined || rest.subarray(length).some((byte) => byte !== 0)) return 'malformed';
  if (rest.readBigUInt64BE(2) / 60_000n !== BigInt(window)) return 'window-mismatch';
  const server = signKeys(keys.server).publicKey;
  const message = Buffer.concat([Buffer.from('postern/1 knock'), server, ourTag, nonce, rest.subarray(0, length)]);
  return sodium.crypto_sign_verify_detached(content.subarray(0, 64), message, signKeys(keys.client).publicKey) ? undefined : 'signature';
}

/** How long the body is, or undefined when a rule of SPEC 5.3 is broken. */
function bodyLength(rest: Buffer): number | undefined {
  const flags = rest.readUInt8(1);
  const lifetime = rest.readUInt32BE(10);
  const noSource = rest.subarray(14, 30).every((byte) => byte === 0);
  const count = rest.readUInt8(32);
  if (rest.readUInt8(0) !== 1 || flags > 7 || rest.readBigUInt64BE(2) >= 2n ** 53n) return undefined;
  if ((flags & 4) !== 0 && ((flags & 2) !== 0 || lifetime !== 0)) return undefined;
  if (((flags & 1) === 0) !== noSource || count > 16) return undefined;
  let at = 33;
  for (let index = 0; index < count; index += 1) {
    const request = rest.subarray(at);
    const length = request[0] === 0 ? 6 : request[0] === 1 ? 2 + (request[1] ?? 0) : 0;
    if (length === 0 || request.length < length) return undefined;
    const sound = request[0] === 0 ? soundPorts(request) : /^[a-z0-9-]{1,32}$/.test(request.subarray(2, length).toString('latin1'));
    if (!sound) return undefined;
    at += length;
  }
  return at;
}

function soundPorts(request: Buffer): boolean {
  const [first, last] = [request.readUInt16BE(2), request.readUInt16BE(4)];
  return (request[1] === 6 || request[1] === 17) && first > 0 && last >= first;
}
