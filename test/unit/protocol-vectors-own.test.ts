// Our own code against protocol/vectors.json, and the file against its generator.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { unixMs } from '../../protocol/brand.ts';
import { toX25519 } from '../../protocol/curve.ts';
import { checkPublicKey, type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import { fingerprint, formatPublicLine, parsePublicLine } from '../../protocol/openssh.ts';
import { decodeBody, encodeBody, openKnock, sealKnock, tagOfDatagram } from '../../protocol/packet.ts';
import { type Pairing, pairAsClient, pairAsServer } from '../../protocol/pairing.ts';
import { acceptedWindows, tagOf } from '../../protocol/tags.ts';
import { vectorsContent } from '../../scripts/vectors-content.ts';
import { bytes, named, VECTORS, VECTORS_TEXT } from './protocol-vector-file.ts';

const hex = (value: Uint8Array) => Buffer.from(value).toString('hex');

function secretOf(name: string): SecretKey {
  return secretFromSeed(bytes(named(VECTORS.keys.good, name).seed));
}

function pairings(name: string): { readonly client: Pairing; readonly server: Pairing } {
  const vector = named(VECTORS.pairings, name);
  const psk = vector.psk === null ? undefined : bytes(vector.psk);
  const [client, server] = [secretOf(vector.client), secretOf(vector.server)];
  return { client: pairAsClient(client, server.publicKey, psk), server: pairAsServer(server, client.publicKey, psk) };
}

describe('vectors.json', () => {
  test('is what the generator writes: after a change, run node dist/scripts/vectors.js', () => {
    assert.equal(VECTORS_TEXT, `${JSON.stringify(vectorsContent(), null, 2)}\n`);
  });

  for (const key of VECTORS.keys.good) {
    test(`key pair of ${key.name}`, () => {
      const secret = secretOf(key.name);
      assert.equal(hex(secret.publicKey), key.public);
      assert.equal(hex(toX25519(secret.publicKey)), key.x25519_public);
      assert.equal(formatPublicLine(secret.publicKey, key.name), key.line);
      assert.equal(fingerprint(secret.publicKey), key.fingerprint);
      assert.deepEqual(parsePublicLine(key.line), { ok: true, value: { publicKey: secret.publicKey, comment: key.name } });
    });
  }

  for (const key of VECTORS.keys.refused) {
    test(`refuses a ${key.reason} key: ${key.name}`, () => {
      assert.equal(checkPublicKey(bytes(key.public)).ok, false);
    });
  }

  for (const vector of VECTORS.pairings) {
    test(`pairing keys of ${vector.name}, from both ends`, () => {
      const { client, server } = pairings(vector.name);
      assert.deepEqual([hex(client.tagKey), hex(client.sealKey)], [vector.k_tag, vector.k_seal]);
      assert.deepEqual(server, client);
    });
  }

  for (const vector of VECTORS.tags) {
    test(`tag of ${vector.pairing}, window ${vector.window}, slot ${vector.slot}`, () => {
      assert.equal(hex(tagOf(pairings(vector.pairing).server, vector.window, vector.slot)), vector.tag);
    });
  }

  for (const vector of VECTORS.accepted_windows) {
    test(`windows accepted at ${vector.now} ± ${vector.tolerance}`, () => {
      assert.deepEqual(acceptedWindows(unixMs(vector.now), vector.tolerance), { first: vector.first, last: vector.last });
    });
  }

  for (const vector of VECTORS.packets) {
    test(`opens and seals again: ${vector.name}`, () => {
      const { client, server } = pairings(vector.pairing);
      const payload = bytes(vector.packet);
      const opened = openKnock(payload, server, vector.window);
      assert.ok(opened.ok, opened.ok ? '' : opened.why);
      assert.deepEqual(tagOfDatagram(payload), tagOf(server, vector.window, vector.slot));
      assert.equal(hex(opened.proof.bodyBytes), vector.body);
      assert.equal(hex(opened.proof.nonce), vector.nonce);
      assert.equal(hex(encodeBody(opened.body)), vector.body);
      assert.equal(decodeBody(bytes(vector.body)).ok, true);
      assert.equal(opened.body.sentAtMs, vector.fields.sent_at);
      assert.equal(opened.body.source.kind === 'bound' ? opened.body.source.address.text : null, vector.fields.source_text);
      const extra = payload.length - Math.max(192, 120 + vector.body.length / 2);
      const random = (count: number) => (count === 24 ? bytes(vector.nonce) : Uint8Array.of(extra >> 8, extra & 0xff));
      const { window, slot } = vector;
      const secret = secretOf(named(VECTORS.pairings, vector.pairing).client);
      assert.equal(hex(sealKnock({ pairing: client, secret, window, slot, body: opened.body, random })), vector.packet);
    });
  }

  for (const vector of VECTORS.refused_packets) {
    test(`refuses (${vector.reason}): ${vector.name}`, () => {
      const opened = openKnock(bytes(vector.packet), pairings(vector.pairing).server, vector.window);
      assert.equal(opened.ok ? 'opened' : opened.reason, vector.reason);
    });
  }
});
