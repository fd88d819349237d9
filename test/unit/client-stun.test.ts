// The STUN codec against RFC 5769's vectors, and against everything that is not quite an answer.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatEndpoint, parseEndpoint } from '../../client/endpoint.ts';
import { encodeBindingRequest, readBindingAnswer } from '../../client/stun-message.ts';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(/\s/g, ''), 'hex'));
const TRANSACTION = bytes('b7e7a701 bc34d686 fa87dfae');
const SOFTWARE = '8022000b 74657374 20766563 746f7220';
// RFC 5769 sections 2.2 and 2.3.
const IPV4 = `0101003c 2112a442 b7e7a701 bc34d686 fa87dfae ${SOFTWARE} 00200008 0001a147 e112a643
  00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96`;
const IPV6 = `01010048 2112a442 b7e7a701 bc34d686 fa87dfae ${SOFTWARE} 00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
  00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c`;
/** An answer with these attributes. */
const answer = (type: string, attributes: string) => {
  const body = bytes(attributes);
  return new Uint8Array([...bytes(type), body.length >> 8, body.length & 0xff, ...bytes('2112a442'), ...TRANSACTION, ...body]);
};
const read = (datagram: Uint8Array) => {
  const result = readBindingAnswer(datagram, TRANSACTION);
  return result.kind === 'address' ? result.address.text : result.kind === 'refused' ? `refused: ${result.why}` : 'foreign';
};

describe('STUN', () => {
  test('RFC 5769 2.2 and 2.3: reads the address of both families', () => {
    assert.deepEqual([read(bytes(IPV4)), read(bytes(IPV6))], ['192.0.2.1', '2001:db8:1234:5678:11:2233:4455:6677']);
  });

  test('asks with 20 bytes: type, no attribute, cookie, transaction', () => {
    assert.deepEqual(encodeBindingRequest(TRANSACTION), bytes('00010000 2112a442 b7e7a701 bc34d686 fa87dfae'));
  });

  test('every answer that is cut short or longer is nobody’s', () => {
    for (const whole of [bytes(IPV4), bytes(IPV6)]) {
      for (let length = 0; length < whole.length; length += 1) assert.equal(read(whole.subarray(0, length)), 'foreign', String(length));
      assert.equal(read(new Uint8Array([...whole, 0, 0, 0, 0])), 'foreign');
    }
  });

  test('every changed bit of type, cookie, transaction or length makes it nobody’s', () => {
    for (let bit = 0; bit < 20 * 8; bit += 1) {
      const changed = bytes(IPV4);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      const result = read(changed);
      // One bit makes an error of it: still an answer to our question, and no address.
      assert.match(result, /^(foreign|refused: an error)$/, `bit ${bit}`);
    }
  });

  const cases = [
    ['an error', answer('0111', '00090010 00000401 556e6175 74686f72 697a6564'), 'refused: error 401'],
    ['an error without a code', answer('0111', ''), 'refused: an error'],
    ['no address', answer('0101', SOFTWARE), 'refused: no address of this machine'],
    ['an unknown family', answer('0101', '00200008 0003a147 e112a643'), 'refused: no address of this machine'],
    ['an IPv6 address that is too short', answer('0101', '00200008 0002a147 e112a643'), 'refused: no address of this machine'],
    ['only an address that is not XORed', answer('0101', '00010008 0001a147 c0000201'), 'refused: no address of this machine'],
    [
      'an attribute that must be understood',
      answer('0101', '7fff0000 00200008 0001a147 e112a643'),
      'refused: an attribute 0x7fff that knock does not know',
    ],
    ['two addresses: the first counts', answer('0101', '00200008 0001a147 e112a643 00200008 0001a147 ffffffff'), '192.0.2.1'],
    ['a request', answer('0001', '00200008 0001a147 e112a643'), 'foreign'],
    ['an attribute that is longer than the rest', answer('0101', '00200009 0001a147 e112a643'), 'foreign'],
  ] as const;
  for (const [text, datagram, gives] of cases) test(text, () => assert.equal(read(datagram), gives));

  test('nothing that arrives makes it throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.boolean(), (body, framed) => {
        read(framed ? answer('0101', Buffer.from(body).toString('hex')) : body);
      }),
      { numRuns: 2000 },
    );
  });
});

test('endpoints: HOST, HOST:PORT, [IPv6]:PORT, and nothing else', () => {
  const good = [
    ['stun.example.org', 'stun.example.org:3478'],
    ['stun.example.org:5000', 'stun.example.org:5000'],
    ['192.0.2.7', '192.0.2.7:3478'],
    ['2001:db8::7', '[2001:db8::7]:3478'],
    ['[2001:db8::7]:5000', '[2001:db8::7]:5000'],
  ] as const;
  for (const [text, gives] of good) {
    const endpoint = parseEndpoint(text, 3478, 'a server');
    assert.equal(endpoint.ok && formatEndpoint(endpoint.value), gives);
  }
  for (const text of ['', ':', ':1', 'a:', 'a:0', 'a:65536', 'a:1:2', '[a]:1', '[::1', 'a b', '-a', 'a/b', 'a@b', 'é', 'x'.repeat(300)])
    assert.ok(!parseEndpoint(text, 3478, 'a server').ok, text);
});
