// What raw sockets need beside sockets: reading a segment without its network header, rulesets that stand in the way, and noticing deafness.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { destinationPort, parseSegment } from '../../daemon/capture/datagram.ts';
import { type HeardSoFar, judgeDeafness } from '../../daemon/capture/deafness.ts';
import { readLegacy } from '../../daemon/capture/raw-obstacles.ts';
import { parseAddress } from '../../protocol/address.ts';

const parsed = parseAddress('fd00::7');
assert.ok(parsed.ok);
const SOURCE = parsed.value;

/** Source port 4660, destination port 62201. */
const segment = (length: number, checksum = 0xabcd, payload = [1, 2, 3]): Uint8Array =>
  new Uint8Array([0x12, 0x34, 0xf2, 0xf9, length >> 8, length & 255, checksum >> 8, checksum & 255, ...payload]);

describe('a UDP segment without its network header', () => {
  test('is read with the source that the kernel gives', () => {
    const bytes = segment(11);
    const read = parseSegment(bytes, SOURCE);
    assert.ok(read.ok);
    assert.deepEqual(read.datagram, { payload: new Uint8Array([1, 2, 3]), source: SOURCE, sourcePort: 0x1234 });
    // The buffer belongs to the socket and is used again.
    bytes.fill(0);
    assert.deepEqual(read.datagram.payload, new Uint8Array([1, 2, 3]));
    assert.equal(destinationPort(segment(11)), 62_201);
  });

  for (const [what, bytes, fault] of [
    ['nothing', new Uint8Array(0), 'length'],
    ['seven bytes', segment(11).subarray(0, 7), 'length'],
    ['a length one short', segment(10), 'length'],
    ['a length one long', segment(12), 'length'],
    ['no checksum, which IPv6 forbids', segment(11, 0), 'checksum'],
  ] as const) {
    test(`is refused: ${what} (P2)`, () => assert.deepEqual(parseSegment(bytes, SOURCE), { ok: false, fault }));
  }
});

describe('what iptables-legacy lists', () => {
  const listing = (...lines: readonly string[]) => `${lines.join('\n')}\n`;
  const byDefault = ['iptables-legacy INPUT drops by default'];
  const atTheEnd = ['iptables-legacy INPUT ends with a rule that drops or rejects the rest'];
  for (const [what, text, expected] of [
    ['an open host', listing('-P INPUT ACCEPT'), []],
    ['a policy of drop', listing('-P INPUT DROP', '-A INPUT -i lo -j ACCEPT'), byDefault],
    ['a drop at the end', listing('-P INPUT ACCEPT', '-A INPUT -i lo -j ACCEPT', '-A INPUT -j DROP'), atTheEnd],
    ['a reject at the end', listing('-P INPUT ACCEPT', '-A INPUT -j REJECT --reject-with icmp-host-prohibited'), atTheEnd],
    ['a drop with a comment', listing('-P INPUT ACCEPT', '-A INPUT -m comment --comment "all else" -j DROP'), atTheEnd],
    ['a drop for some', listing('-P INPUT ACCEPT', '-A INPUT -s 10.0.0.0/8 -j DROP'), []],
    ['a drop that something follows', listing('-P INPUT ACCEPT', '-A INPUT -p tcp -j DROP', '-A INPUT -i lo -j ACCEPT'), []],
  ] as const) {
    test(what, () => assert.deepEqual(readLegacy(text, 'iptables-legacy'), expected));
  }
});

describe('deafness', () => {
  const look = (passed: number, arrived: number): HeardSoFar => ({ passed, arrived });
  for (const [what, looks, alarms] of [
    ['silence', [look(5, 7), look(5, 7), look(5, 7)], [false, false, false]],
    ['knocks that arrive', [look(6, 8), look(8, 10), look(8, 10)], [false, false, false]],
    ['a knock on its way at the moment of a look', [look(6, 7), look(6, 8), look(6, 8)], [false, false, false]],
    ['a knock that never arrives is told once', [look(6, 7), look(6, 7), look(6, 7)], [false, true, false]],
    ['the next one again', [look(6, 7), look(7, 7), look(7, 7), look(7, 7)], [false, true, true, false]],
    ['one of four never arrives', [look(9, 10), look(9, 10), look(9, 10)], [false, true, false]],
    ['knocks that go on arriving behind it', [look(6, 7), look(7, 8), look(8, 9), look(8, 9)], [false, false, false, true]],
    ['a gate that was taken down counts from 0', [look(0, 7), look(1, 8), look(2, 8), look(2, 8)], [false, false, false, true]],
  ] as const) {
    test(what, () => {
      const judge = judgeDeafness(look(5, 7));
      assert.deepEqual(
        looks.map((now) => judge(now) !== undefined),
        alarms,
      );
    });
  }
});
