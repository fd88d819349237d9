// Which packets count as one whole UDP datagram. Packets come from capture-packets.ts, built field by field apart from the parser.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type DatagramFault, parseDatagram } from '../../daemon/capture/datagram.ts';
import { build, destination, hop, PAD6, PAYLOAD, plain, routing, type Shape, SOURCE4 } from './capture-packets.ts';

const good: readonly (readonly [string, Shape])[] = [
  ['IPv4', plain(4)],
  ['IPv6', plain(6)],
  ['IPv4 without checksum', { ...plain(4), checksum: 'none' }],
  ['IPv4 with an unfinished checksum (sent by this machine)', { ...plain(4), checksum: 'partial' }],
  ['IPv6 with an unfinished checksum (sent by this machine)', { ...plain(6), checksum: 'partial' }],
  ['IPv4 with one option word', { ...plain(4), options: [1, 1, 1, 0] }],
  ['IPv4 with forty bytes of options', { ...plain(4), options: new Array<number>(40).fill(1) }],
  ['IPv4 with the reserved flag', { ...plain(4), fragmentField: 0x8000 }],
  ['IPv4 without "do not fragment"', { ...plain(4), fragmentField: 0 }],
  ['IPv4 with an empty payload', { ...plain(4), payload: new Uint8Array(0) }],
  ['IPv6 with an odd payload', { ...plain(6), payload: PAYLOAD.subarray(0, 5) }],
  ['IPv6 with hop-by-hop options', { ...plain(6), extensions: [hop] }],
  ['IPv6 with destination options', { ...plain(6), extensions: [destination] }],
  ['IPv6 with a finished routing header', { ...plain(6), extensions: [routing(0)] }],
  ['IPv6 with the four headers of RFC 8200', { ...plain(6), extensions: [hop, destination, routing(0), destination] }],
];

const bad: readonly (readonly [string, Shape, DatagramFault])[] = [
  ['an IPv4 total length one too long', { ...plain(4), ipLength: 20 + 8 + 193 + 1 }, 'length'],
  ['an IPv4 total length one too short', { ...plain(4), ipLength: 20 + 8 + 193 - 1 }, 'length'],
  ['an IPv4 total length of zero', { ...plain(4), ipLength: 0 }, 'length'],
  ['an IPv6 payload length one too long', { ...plain(6), ipLength: 8 + 193 + 1 }, 'length'],
  ['an IPv6 payload length one too short', { ...plain(6), ipLength: 8 + 193 - 1 }, 'length'],
  ['an IPv6 payload length of zero (jumbogram)', { ...plain(6), ipLength: 0 }, 'length'],
  ['a UDP length one too long', { ...plain(4), udpLength: 8 + 193 + 1 }, 'length'],
  ['a UDP length one too short', { ...plain(4), udpLength: 8 + 193 - 1 }, 'length'],
  ['a UDP length below its header', { ...plain(6), udpLength: 7 }, 'length'],
  ['a UDP length of zero (jumbogram)', { ...plain(6), udpLength: 0 }, 'length'],
  ['a first IPv4 fragment', { ...plain(4), fragmentField: 0x2000 }, 'fragment'],
  ['a last IPv4 fragment', { ...plain(4), fragmentField: 0x0019 }, 'fragment'],
  ['an IPv6 fragment header', { ...plain(6), extensions: [{ type: 44, body: [0, 1, 0, 0, 0, 1] }] }, 'fragment'],
  ['an IPv6 atomic fragment', { ...plain(6), extensions: [{ type: 44, body: [0, 0, 0, 0, 0, 1] }] }, 'fragment'],
  [
    'a fragment header after destination options',
    { ...plain(6), extensions: [destination, { type: 44, body: [0, 0, 0, 0, 0, 1] }] },
    'fragment',
  ],
  ['a routing header with segments left', { ...plain(6), extensions: [routing(1)] }, 'extension'],
  ['hop-by-hop options in second place', { ...plain(6), extensions: [destination, hop] }, 'extension'],
  ['hop-by-hop options twice', { ...plain(6), extensions: [hop, hop] }, 'extension'],
  ['five extension headers', { ...plain(6), extensions: [hop, destination, destination, destination, destination] }, 'extension'],
  ['an authentication header', { ...plain(6), extensions: [{ type: 51, body: PAD6 }] }, 'extension'],
  ['no next header', { ...plain(6), protocol: 59 }, 'extension'],
  ['TCP over IPv4', { ...plain(4), protocol: 6 }, 'not-udp'],
  ['ICMPv6', { ...plain(6), protocol: 58 }, 'not-udp'],
  ['TCP after hop-by-hop options', { ...plain(6), protocol: 6, extensions: [hop] }, 'not-udp'],
  ['a wrong checksum over IPv4', { ...plain(4), checksum: 'wrong' }, 'checksum'],
  ['a wrong checksum over IPv6', { ...plain(6), checksum: 'wrong' }, 'checksum'],
  ['no checksum over IPv6', { ...plain(6), checksum: 'none' }, 'checksum'],
];

function faultOf(packet: Uint8Array): string {
  const parsed = parseDatagram(packet);
  return parsed.ok ? 'accepted' : parsed.fault;
}

describe('reads a whole datagram', () => {
  for (const [text, shape] of good) {
    test(text, () => {
      const parsed = parseDatagram(build(shape));
      assert.ok(parsed.ok, parsed.ok ? '' : parsed.fault);
      assert.deepEqual(parsed.datagram.payload, new Uint8Array(shape.payload));
      assert.equal(parsed.datagram.sourcePort, 40_000);
      assert.equal(parsed.datagram.source.text, shape.version === 4 ? '192.0.2.7' : '2001:db8::7');
    });
  }

  test('folds an IPv4-mapped source to IPv4 (P21)', () => {
    const parsed = parseDatagram(build({ ...plain(6), source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4] }));
    assert.ok(parsed.ok);
    assert.equal(parsed.datagram.source.text, '1.2.3.4');
    assert.equal(parsed.datagram.source.family, 4);
  });

  test('keeps nothing of the buffer it read from, a Buffer included', () => {
    const packet = Buffer.from(build(plain(4)));
    const parsed = parseDatagram(packet);
    packet.fill(0xff);
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.datagram.payload, PAYLOAD);
    assert.deepEqual([...parsed.datagram.source.bytes], SOURCE4);
  });

  test('reads from the middle of a larger buffer', () => {
    const packet = build(plain(6));
    const larger = new Uint8Array(packet.length + 13).fill(0xee);
    larger.set(packet, 7);
    assert.equal(faultOf(larger.subarray(7, 7 + packet.length)), 'accepted');
  });
});

describe('refuses', () => {
  for (const [text, shape, fault] of bad) test(`${text}: ${fault}`, () => assert.equal(faultOf(build(shape)), fault));

  test('versions other than 4 and 6, and nothing at all', () => {
    assert.equal(faultOf(new Uint8Array(0)), 'not-ip');
    for (let version = 0; version < 16; version += 1) {
      if (version === 4 || version === 6) continue;
      const packet = build(plain(4));
      packet[0] = (version << 4) | 5;
      assert.equal(faultOf(packet), 'not-ip', `version ${version}`);
    }
  });

  test('an IPv4 header length below five words or beyond the packet', () => {
    for (const words of [0, 1, 4]) {
      const packet = build(plain(4));
      packet[0] = 0x40 | words;
      assert.equal(faultOf(packet), 'header', `${words} words`);
    }
    assert.equal(faultOf(build(plain(4)).fill(0x4f, 0, 1).subarray(0, 59)), 'header');
  });

  test('an IPv6 extension header that reaches beyond the packet', () => {
    const packet = build({ ...plain(6), extensions: [hop] });
    packet[41] = 255;
    assert.equal(faultOf(packet), 'header');
  });

  test('every truncation of every good packet', () => {
    for (const [text, shape] of good) {
      const packet = build(shape);
      for (let length = 0; length < packet.length; length += 1) {
        assert.notEqual(faultOf(packet.subarray(0, length)), 'accepted', `${text} cut to ${length}`);
      }
    }
  });

  test('one to forty trailing bytes on every good packet', () => {
    for (const [text, shape] of good) {
      for (let more = 1; more <= 40; more += 1) {
        const packet = build(shape);
        assert.equal(faultOf(Uint8Array.from([...packet, ...new Array<number>(more).fill(0)])), 'length', `${text} and ${more} more`);
      }
    }
  });

  test('every single bit flipped in the UDP payload (P2)', () => {
    for (const version of [4, 6] as const) {
      const packet = build(plain(version));
      for (let at = packet.length - PAYLOAD.length; at < packet.length; at += 1) {
        for (let bit = 0; bit < 8; bit += 1) {
          const flipped = packet.slice();
          flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
          assert.equal(faultOf(flipped), 'checksum', `byte ${at} bit ${bit}`);
        }
      }
    }
  });
});

describe('whatever comes', () => {
  test('never throws, and never makes up bytes', () => {
    const start = fc.constantFrom(0x45, 0x46, 0x4f, 0x60, 0x6f);
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 200 }), (first, rest) => {
        const packet = Uint8Array.from([first, ...rest]);
        const parsed = parseDatagram(packet);
        if (parsed.ok) assert.ok(parsed.datagram.payload.length <= packet.length - 28);
      }),
      { numRuns: 5_000 },
    );
  });

  test('any payload and any options of any legal length come through unchanged', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 1_472 }),
        fc.integer({ min: 0, max: 10 }),
        fc.constantFrom(4 as const, 6 as const),
        (payload, words, version) => {
          const options = version === 4 ? new Array<number>(words * 4).fill(1) : [];
          const parsed = parseDatagram(build({ ...plain(version), payload, options }));
          assert.ok(parsed.ok);
          assert.deepEqual(parsed.datagram.payload, payload);
        },
      ),
    );
  });

  test('a byte changed anywhere never changes where the payload lies', () => {
    for (const [text, shape] of good) {
      const packet = build(shape);
      for (let at = 0; at < packet.length - shape.payload.length; at += 1) {
        for (let mask = 1; mask < 256; mask += 1) {
          const changed = packet.slice();
          changed[at] = (changed[at] ?? 0) ^ mask;
          const parsed = parseDatagram(changed);
          if (parsed.ok) assert.deepEqual(parsed.datagram.payload, new Uint8Array(shape.payload), `${text} byte ${at} mask ${mask}`);
        }
      }
    }
  });
});
