// SPEC.md and the code keep together: every citation leads somewhere, the worked example is a vector, the constants are the code's.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { MAX_BODY_BYTES, MAX_REQUESTS } from '../../protocol/body.ts';
import { MAX_PACKET_BYTES, MIN_PACKET_BYTES } from '../../protocol/packet.ts';
import { PSK_BYTES } from '../../protocol/pairing.ts';
import { DEFAULT_SLOTS, MAX_SLOTS, TAG_BYTES, WINDOW_MS } from '../../protocol/tags.ts';
import { named, VECTORS } from './protocol-vector-file.ts';

const FOLDER = new URL('../../../protocol/', import.meta.url);
const SPEC = readFileSync(new URL('SPEC.md', FOLDER), 'utf8');

test('every section that a comment of protocol/ cites is one of SPEC.md', () => {
  const sections = new Set([...SPEC.matchAll(/^#{2,3} (\d+(?:\.\d+)?) /gm)].map((match) => match[1]));
  const sources = readdirSync(FOLDER).filter((file) => file.endsWith('.ts'));
  const cited = sources.flatMap((file) => {
    const text = readFileSync(new URL(file, FOLDER), 'utf8');
    return [...text.matchAll(/SPEC (\d+(?:\.\d+)?)/g)].map((match) => ({ file, section: match[1] }));
  });
  assert.ok(cited.length > 15, `${cited.length} citations`);
  assert.deepEqual(
    cited.filter(({ section }) => !sections.has(section)),
    [],
  );
});

test('the worked example is the packet of vectors.json that it names', () => {
  const vector = named(VECTORS.packets, 'open, bound to an IPv4 address');
  const pairing = named(VECTORS.pairings, vector.pairing);
  const [client, server] = [named(VECTORS.keys.good, pairing.client), named(VECTORS.keys.good, pairing.server)];
  const example = SPEC.slice(SPEC.indexOf('### A worked example'), SPEC.indexOf('## 11 '));
  const values = [client.seed, client.public, server.public, client.x25519_scalar, server.x25519_public];
  const keys = [pairing.box_key, pairing.k_tag, pairing.k_seal, vector.nonce, vector.body];
  const parts = [vector.packet.slice(0, 32), vector.packet.slice(80, 112), vector.packet.slice(112, 176)];
  for (const value of [...values, ...keys, ...parts]) assert.ok(example.includes(value), value);
  assert.ok(example.includes(`w        ${vector.window} = 0x${vector.window.toString(16)}`));
  assert.ok(example.includes(`padding  ${vector.padding} zeros, which make the packet ${vector.packet.length / 2} bytes long`));
  // Nothing else in it claims to be a value.
  const known = JSON.stringify(VECTORS);
  for (const [hex] of example.matchAll(/\b[0-9a-f]{32,}\b/g)) assert.ok(known.includes(hex), hex);
});

test('the constants of SPEC.md are the code’s', () => {
  const row = (name: string) => SPEC.split('\n').find((line) => line.startsWith(`| ${name} |`)) ?? '';
  assert.match(row('window'), new RegExp(`${WINDOW_MS.toLocaleString('en-US')} ms`));
  assert.match(row('slots of a window'), new RegExp(`${DEFAULT_SLOTS} by default, at most ${MAX_SLOTS} `));
  assert.match(row('tag, nonce, authenticator, signature'), new RegExp(`\\| ${TAG_BYTES}, 24, 16, 64 bytes`));
  assert.match(row('packet'), new RegExp(`${MIN_PACKET_BYTES} to ${MAX_PACKET_BYTES} bytes`));
  assert.match(row('body without requests, body and padding'), new RegExp(`33 bytes, at most ${MAX_BODY_BYTES} bytes`));
  assert.match(row('requests'), new RegExp(`at most ${MAX_REQUESTS} `));
  assert.match(row('pre-shared key'), new RegExp(`${PSK_BYTES} bytes`));
});
