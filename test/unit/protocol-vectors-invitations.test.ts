// A second writer of invitations, from SPEC.md section 12 on libsodium alone, makes every line of vectors.json. Imports nothing of protocol/.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filled, sodium } from './protocol-sodium.ts';
import { bytes, type InvitationVector, VECTORS } from './protocol-vector-file.ts';

function lineOf({ fields }: InvitationVector): string {
  const text = (value: string) => Buffer.concat([Buffer.of(Buffer.byteLength(value)), Buffer.from(value)]);
  const u16 = (value: number) => Buffer.of(value >> 8, value & 0xff);
  const services = fields.services.map(({ flags, name, ranges }) => {
    const ports = ranges.map(({ protocol, first, last }) => Buffer.concat([Buffer.of(protocol), u16(first), u16(last)]));
    return Buffer.concat([Buffer.of(flags), text(name), Buffer.of(ranges.length), ...ports]);
  });
  const seed = fields.seed === null ? Buffer.alloc(0) : bytes(fields.seed);
  const head = [Buffer.of(fields.flags, fields.source, fields.slots), u16(fields.port), bytes(fields.server), seed, text(fields.host)];
  const body = Buffer.concat([...head, Buffer.of(services.length), ...services]);
  const covered = Buffer.concat([u16(body.length + 6), body]);
  const sum = filled(32, (out) => sodium.crypto_hash_sha256(out, Buffer.concat([Buffer.from('postern1:'), covered])));
  return `postern1:${Buffer.concat([covered, sum.subarray(0, 4)]).toString('base64url')}`;
}

for (const vector of VECTORS.invitations) test(`an invitation: ${vector.name}`, () => assert.equal(lineOf(vector), vector.line));
