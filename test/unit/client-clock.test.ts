// The codecs of other clocks, against answers that are right, spoilt or somebody else's.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { dateOffset, parseHttpDate } from '../../client/http-date.ts';
import { clockOffset, encodeSntpRequest, readSntpAnswer } from '../../client/sntp-message.ts';
import { type Clock, correctionMs, formatTimeSource, offsetText, parseTimeSource } from '../../client/time-source.ts';

const NONCE = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
// 2026-11-21T12:00:00.500Z, in NTP's era 0.
const AT_MS = Date.UTC(2026, 10, 21, 12, 0, 0, 500);
const NTP_SECONDS = Math.floor(AT_MS / 1000) + 2_208_988_800;

/** A good answer with some bytes replaced. */
function answer(...changes: readonly (readonly [at: number, ...bytes: number[]])[]): Uint8Array {
  const out = new Uint8Array(48);
  const view = new DataView(out.buffer);
  out[0] = 0x24;
  out[1] = 2;
  out.set(NONCE, 24);
  for (const at of [32, 40]) {
    view.setUint32(at, NTP_SECONDS);
    view.setUint32(at + 4, 0x8000_0000);
  }
  for (const [at, ...bytes] of changes) out.set(bytes, at);
  return out;
}
const read = (datagram: Uint8Array) => {
  const result = readSntpAnswer(datagram, NONCE);
  return result.kind === 'time' ? result.transmittedMs : result.kind === 'refused' ? result.why : 'foreign';
};

describe('SNTP', () => {
  test('asks with version 4, mode 3, a nonce, and nothing about this machine', () => {
    const request = encodeSntpRequest(NONCE);
    assert.deepEqual([...request], [0x23, ...new Array<number>(39).fill(0), ...NONCE]);
  });

  const cases = [
    ['a good answer', answer(), AT_MS],
    ['what follows the 48 bytes is not looked at', new Uint8Array([...answer(), ...new Uint8Array(20)]), AT_MS],
    ['a leap second to come', answer([0, 0x64]), AT_MS],
    [
      'RFC 4330: the year 2036, when the seconds begin again',
      answer([32, 0, 0, 0, 1, 0], [40, 0, 0, 0, 1, 0, 0, 0, 0]),
      Date.UTC(2036, 1, 7, 6, 28, 17),
    ],
    ['47 bytes', answer().subarray(0, 47), 'foreign'],
    ['another nonce', answer([24, 0]), 'foreign'],
    ['mode 3: our own question sent back', answer([0, 0x23]), 'foreign'],
    ['mode 5: broadcast', answer([0, 0x25]), 'foreign'],
    ['version 3', answer([0, 0x1c]), 'foreign'],
    ['a kiss of death', answer([1, 0], [12, 0x44, 0x45, 0x4e, 0x59]), 'it sends us away (DENY)'],
    ['a kiss with bytes for a terminal', answer([1, 0], [12, 0x1b, 0x5b, 0x33, 0x31]), 'it sends us away'],
    ['unsynchronized', answer([0, 0xe4]), 'it is not synchronized itself'],
    ['stratum 16', answer([1, 16]), 'it is not synchronized itself'],
    ['a root dispersion of 16 s', answer([8, 0, 16, 0, 0]), 'it is too far from a real clock itself'],
    ['a root delay of 32 s', answer([4, 0, 32, 0, 0]), 'it is too far from a real clock itself'],
    ['no transmit time', answer([40, 0, 0, 0, 0, 0, 0, 0, 0]), 'its times make no sense'],
    ['no receive time', answer([32, 0, 0, 0, 0, 0, 0, 0, 0]), 'its times make no sense'],
    ['answered before it was asked', answer([36, 0xff]), 'its times make no sense'],
    ['before 1970', answer([32, 0x80, 0, 0, 0], [40, 0x80, 0, 0, 0]), 'its times make no sense'],
  ] as const;
  for (const [text, datagram, gives] of cases) test(text, () => assert.equal(read(datagram), gives));

  test('every bit of the nonce counts', () => {
    for (let bit = 0; bit < 64; bit += 1) {
      const changed = answer();
      changed[24 + (bit >> 3)] = (changed[24 + (bit >> 3)] ?? 0) ^ (1 << (bit & 7));
      assert.equal(read(changed), 'foreign');
    }
  });

  test('nothing that arrives makes it throw', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => void read(bytes)));
  });

  test('the offset is the middle of the way there and back, and its error half of the way and what the server is unsure of', () => {
    const result = { kind: 'time', receivedMs: 10_100, transmittedMs: 10_110, rootDistanceMs: 5 } as const;
    assert.deepEqual(clockOffset(result, 50, 100), { offsetMs: 10_030, uncertaintyMs: 26 });
  });
});

describe('HTTP dates', () => {
  test('RFC 9110: Sun, 06 Nov 1994 08:49:37 GMT', () => assert.equal(parseHttpDate('Sun, 06 Nov 1994 08:49:37 GMT'), 784_111_777_000));
  for (const text of [
    '',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
    'Mon, 06 Nov 1994 08:49:37 GMT',
    'Sun, 31 Feb 2026 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 06 Nov 1994 08:49:37 CET',
    'Sun, 06 Nov 1994 08:49:37 GMT ',
    'Sun, 06 Nov 0001 08:49:37 GMT',
  ])
    test(`refuses "${text}"`, () => assert.equal(parseHttpDate(text), undefined));

  test('a date of whole seconds, read at some moment between question and answer', () => {
    assert.deepEqual(dateOffset(10_000, 0, 9_900, 10_100), { offsetMs: 500, uncertaintyMs: 600 });
    assert.equal(dateOffset(10_000, 60, 70_000, 70_000).offsetMs, 500);
  });
});

describe('what a clock means', () => {
  const measured = (offsetMs: number, uncertaintyMs: number): Clock => ({ kind: 'measured', offsetMs, uncertaintyMs, source: 'x' });
  test('corrects only what the source can tell apart', () => {
    assert.deepEqual(
      [measured(400, 500), measured(-400, 500), measured(7_200_000.4, 500), measured(-90_000, 10), { kind: 'system' } as const].map(
        correctionMs,
      ),
      [0, 0, 7_200_000, -90_000, 0],
    );
    assert.equal(correctionMs({ kind: 'unknown', why: '' }), 0);
  });
  test('says it in two units', () => {
    assert.deepEqual([300, -75_000, 7_380_000, -123_000, 90 * 86_400_000 + 3_600_000].map(offsetText), [
      '0.3 s behind',
      '75 s ahead of',
      '2 h 3 min behind',
      '2 min 3 s ahead of',
      '90 days 1 h behind',
    ]);
  });
  test('sources are shown as they can be typed again, without path or query', () => {
    for (const [text, shown] of [
      ['system', 'system'],
      ['sntp:a.example', 'sntp:a.example:123'],
      ['sntp:[2001:db8::1]:99', 'sntp:[2001:db8::1]:99'],
      ['https://a.example/x?token=1', 'https://a.example'],
    ] as const) {
      const source = parseTimeSource(text);
      assert.equal(source.ok && formatTimeSource(source.value), shown);
    }
  });
});
