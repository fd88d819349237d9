// Which messages of the packet log are ours: group, hook, family and exactly our prefix.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { bindMessage, readLogMessage } from '../../daemon/capture/nflog-message.ts';
import { rarely } from '../../daemon/capture/rarely.ts';
import { attribute, concatBytes, decodeAttributes, decodeMessages, type Message, nfgenmsg, u32 } from '../../daemon/netlink/message.ts';

const ORIGIN = { group: 5, prefix: 'postern' };
const PACKET = Uint8Array.of(1, 2, 3);
const text = (value: string) => new TextEncoder().encode(value);

type Parts = {
  readonly type: number;
  readonly family: number;
  readonly group: number;
  readonly header: readonly number[] | undefined;
  readonly prefix: string | undefined;
  readonly packet: Uint8Array | undefined;
};
const OURS: Parts = { type: 0x400, family: 2, group: 5, header: [8, 0, 0, 0], prefix: 'postern\0', packet: PACKET };

function message(parts: Parts): Message {
  const optional = [
    parts.header === undefined ? [] : [attribute(1, Uint8Array.from(parts.header))],
    parts.prefix === undefined ? [] : [attribute(10, text(parts.prefix))],
    parts.packet === undefined ? [] : [attribute(9, parts.packet)],
  ].flat();
  const payload = concatBytes([nfgenmsg(parts.family, parts.group), u32(12, 77), ...optional]);
  return { type: parts.type, flags: 0, sequence: 0, port: 0, payload };
}

const foreign: readonly (readonly [string, Partial<Parts>])[] = [
  ['a longer prefix', { prefix: 'postern2\0' }],
  ['a shorter prefix', { prefix: 'poster\0' }],
  ['our prefix without its NUL', { prefix: 'postern' }],
  ['our prefix and something behind the NUL', { prefix: 'postern\0x' }],
  ['no prefix', { prefix: undefined }],
  ['the input hook', { header: [8, 0, 1, 0] }],
  ['the output hook', { header: [8, 0, 3, 0] }],
  ['no hook', { header: undefined }],
  ['a hook that is cut off', { header: [8, 0] }],
  ['the bridge family', { family: 7 }],
  ['the ARP protocol', { header: [8, 6, 0, 0] }],
  ['an IPv6 protocol in the IPv4 family', { header: [0x86, 0xdd, 0, 0] }],
  ['no packet', { packet: undefined }],
];

describe('a message of the packet log', () => {
  test('of our rule is a packet, with its number', () => {
    assert.deepEqual(readLogMessage(message(OURS), ORIGIN), { kind: 'packet', sequence: 77, packet: PACKET });
    const six = readLogMessage(message({ ...OURS, family: 10, header: [0x86, 0xdd, 0, 0] }), ORIGIN);
    assert.equal(six?.kind, 'packet');
  });
  for (const [what, change] of foreign) {
    test(`with ${what} is foreign, and has its number in our sequence`, () => {
      assert.deepEqual(readLogMessage(message({ ...OURS, ...change }), ORIGIN), { kind: 'foreign', sequence: 77 });
    });
  }
  test('for another group is foreign, and its number is not ours', () => {
    for (const group of [4, 6, 0x105, 0x500]) {
      assert.deepEqual(readLogMessage(message({ ...OURS, group }), ORIGIN), { kind: 'foreign', sequence: undefined });
    }
  });
  test('of another type (an acknowledgment, an end) is nothing', () => {
    for (const type of [2, 3, 0x401, 0x300]) assert.equal(readLogMessage(message({ ...OURS, type }), ORIGIN), undefined);
  });
});

test('a group is asked for in one message, packet by packet, with numbers', () => {
  const [asked] = decodeMessages(bindMessage(0x1234, 9));
  assert.ok(asked);
  assert.deepEqual([...asked.payload.subarray(0, 4)], [0, 0, 0x12, 0x34]);
  const attributes = decodeAttributes(asked.payload.subarray(4)).map(({ type, payload }) => [type, ...payload]);
  assert.deepEqual(attributes, [
    [1, 1],
    [2, 0, 0, 8, 0, 2, 0],
    [4, 0, 0, 0, 1],
    [3, 0, 0, 2, 0],
    [5, 0, 0, 0, 1],
    [6, 0, 1],
  ]);
});

test('a trouble that comes a thousand times is told ten times', () => {
  const told: string[] = [];
  const report = rarely((line) => told.push(line));
  for (let count = 0; count < 1_000; count += 1) report('the queue is full');
  report('something else', new Error('EIO'));
  assert.equal(told.length, 11);
  assert.deepEqual(told.slice(0, 3), ['the queue is full', 'the queue is full: 2 times so far', 'the queue is full: 4 times so far']);
  assert.equal(told.at(-1), 'something else (EIO)');
});
