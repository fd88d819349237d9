// The bytes of netlink messages, against bytes that strace shows nft to send and receive.
import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { test } from 'node:test';
import {
  attribute,
  concatBytes,
  decodeAttributes,
  decodeMessages,
  decodeVerdict,
  encodeMessage,
  findAttribute,
  MalformedMessageError,
  nested,
  nfgenmsg,
  readText,
  readU32,
  readU64,
  text,
  u32,
  u64,
} from '../../daemon/netlink/message.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

test('encodes a header in host byte order, its length without the padding', () => {
  const message = encodeMessage({ type: 0x0a10, flags: 0x5, sequence: 7, payload: new Uint8Array([1, 2, 3, 4, 5]) });
  assert.equal(hex(message), '15000000' + '100a' + '0500' + '07000000' + '00000000' + '0102030405' + '000000');
});

test('encodes attributes as nft does', () => {
  const table: readonly [string, Uint8Array, string][] = [
    ['text ends in NUL and is padded', text(1, 'postern'), '0c000100706f737465726e00'],
    ['a number is big-endian', u32(2, 5), '0800020000000005'],
    ['a long number too', u64(3, 1000n), '0c00030000000000000003e8'],
    ['nesting carries its flag', nested(1, [u32(2, 1)]), '0c0001800800020000000001'],
    ['an odd length is padded outside of the length', attribute(1, new Uint8Array([9])), '0500010009000000'],
    ['nfgenmsg', nfgenmsg(1, 10), '0100000a'],
  ];
  for (const [what, encoded, expected] of table) assert.equal(hex(encoded), expected, what);
});

test('reads back several messages of one datagram', () => {
  const parts = [1, 2, 3].map((type) => encodeMessage({ type, flags: 0, sequence: type * 10, payload: new Uint8Array(type) }));
  const decoded = decodeMessages(concatBytes(parts));
  assert.deepEqual(
    decoded.map(({ type, sequence, payload }) => [type, sequence, payload.length]),
    [
      [1, 10, 1],
      [2, 20, 2],
      [3, 30, 3],
    ],
  );
});

test('reads attributes back, the nesting flag removed', () => {
  const attributes = decodeAttributes(concatBytes([text(1, 'x'), nested(2, [u32(7, 9)]), u64(3, 2n ** 63n)]));
  assert.deepEqual(
    attributes.map(({ type }) => type),
    [1, 2, 3],
  );
  assert.equal(readText(findAttribute(attributes, 1) ?? new Uint8Array()), 'x');
  const inner = decodeAttributes(findAttribute(attributes, 2) ?? new Uint8Array());
  assert.equal(readU32(findAttribute(inner, 7) ?? new Uint8Array()), 9);
  assert.equal(readU64(findAttribute(attributes, 3) ?? new Uint8Array()), 2n ** 63n);
  assert.equal(findAttribute(attributes, 4), undefined);
});

test('refuses messages and attributes that are shorter or longer than they say', () => {
  const whole = encodeMessage({ type: 1, flags: 0, sequence: 1, payload: text(1, 'postern') });
  for (let length = 1; length < whole.length; length += 1) {
    assert.throws(() => decodeMessages(whole.subarray(0, length)), MalformedMessageError, `message cut to ${length}`);
  }
  const payload = text(1, 'postern');
  for (let length = 1; length < payload.length; length += 1) {
    assert.throws(() => decodeAttributes(payload.subarray(0, length)), MalformedMessageError, `attribute cut to ${length}`);
  }
  assert.throws(() => decodeMessages(bytes('0f000000 01000000 00000000 00000000')), MalformedMessageError, 'length below a header');
  assert.throws(() => decodeAttributes(bytes('03000100')), MalformedMessageError, 'length below an attribute header');
  assert.throws(() => readU32(new Uint8Array(3)), MalformedMessageError);
  assert.throws(() => readU64(new Uint8Array(9)), MalformedMessageError);
});

test('reads acknowledgments, refusals, and the sentence of the kernel', () => {
  const about = '14000000 010a0500 02000000 00000000';
  const verdict = (payload: string, flags: number) => decodeVerdict({ type: 2, flags, sequence: 2, port: 1, payload: bytes(payload) });
  assert.deepEqual(verdict(`00000000 ${about}`, 0x100), { errno: 0, sentence: '' });
  assert.deepEqual(verdict(`ffffffff ${about}`, 0x100), { errno: 1, sentence: '' });
  const sentence = hex(text(1, 'no such set'));
  assert.deepEqual(verdict(`feffffff ${about} ${sentence}`, 0x300), { errno: 2, sentence: 'no such set' });
  assert.deepEqual(verdict(`feffffff ${about} 01020304 ${sentence}`, 0x200), { errno: 2, sentence: 'no such set' });
  assert.throws(() => verdict('00000000', 0), MalformedMessageError);
});
