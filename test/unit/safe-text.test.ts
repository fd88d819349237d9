// Text from outside in logs and messages: harmless, on one line, short (P34).
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { safeFields } from '../../daemon/safe-fields.ts';
import { safeText } from '../../daemon/safe-text.ts';

const cases: readonly (readonly [string, string, string])[] = [
  ['plain text', 'alice from the office', 'alice from the office'],
  ['letters of the world', 'Жанна 陳 café 👩', 'Жанна 陳 café 👩'],
  ['an ANSI color', '\x1b[31mred', '\\x1b[31mred'],
  ['a title sequence', '\x1b]0;owned\x07', '\\x1b]0;owned\\x07'],
  ['an 8-bit control sequence', '\x9b2J', '\\x9b2J'],
  ['line breaks', 'a\r\nb\u2028c\u2029d\x85e', 'a\\x0d\\x0ab\\u2028c\\u2029d\\x85e'],
  ['NUL, backspace, DEL', '\0\b\x7f', '\\x00\\x08\\x7f'],
  ['text that reads backwards', '\u202egpj.exe\u2066', '\\u202egpj.exe\\u2066'],
  ['invisible characters', 'a\u200bb\ufeff\u00ad', 'a\\u200bb\\ufeff\\xad'],
  ['tag characters', '\u{e0041}', '\\u{e0041}'],
  ['half a pair', 'a\ud83d b\udc69', 'a\\ud83d b\\udc69'],
];

describe('text from outside (P34)', () => {
  for (const [what, text, expected] of cases) test(what, () => assert.equal(safeText(text), expected));

  test('is cut at 200 characters, with a note of how much is missing', () => {
    assert.equal(safeText('x'.repeat(200)), 'x'.repeat(200));
    assert.equal(safeText('x'.repeat(201)), `${'x'.repeat(200)}… (1 more)`);
    assert.equal(safeText('x'.repeat(65_536)), `${'x'.repeat(200)}… (65336 more)`);
    assert.equal(safeText('abcdef', 3), 'abc… (3 more)');
  });

  test('is as short when every character needs an escape', () => {
    assert.equal(safeText('\x1b'.repeat(65_536)), `${'\\x1b'.repeat(50)}… (65486 more)`);
  });

  test('is never cut within a pair', () => assert.equal(safeText(`${'x'.repeat(199)}👩`), `${'x'.repeat(199)}… (2 more)`));

  test('whatever it is, comes out printable and short', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2_000 }), (text) => {
        const safe = safeText(text);
        assert.ok(safe.length <= 220);
        assert.ok(!/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(safe));
      }),
    );
  });
});

describe('fields of the log', () => {
  test('are safe at every depth, keys included', () => {
    assert.deepEqual(safeFields({ 'a\x1b': ['\x07', { b: '\n' }] }), { 'a\\x1b': ['\\x07', { b: '\\x0a' }] });
  });

  test('are neither deep nor many, and a circle ends', () => {
    const circle: Record<string, unknown> = { name: 'round' };
    circle['self'] = circle;
    assert.ok(JSON.stringify(safeFields(circle)).length < 200);
    const many = safeFields(Array.from({ length: 1_000 }, (_, at) => at)) as unknown[];
    assert.deepEqual([many.length, many.at(-1)], [51, '… (950 more)']);
    const wide = safeFields(Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`k${at}`, at])));
    assert.equal(Object.keys(Object(wide)).length, 51);
  });

  test('never show bytes: packets, keys and seeds are counted', () => {
    assert.deepEqual(safeFields({ seed: new Uint8Array(32), packet: Buffer.from('secret') }), { seed: '32 bytes', packet: '6 bytes' });
  });

  test('show an error as an object with its code, its cause, and its stack as a list', () => {
    const error = Object.assign(new Error('bad \x1b[2J', { cause: new Error('deeper') }), { code: 'EIO' });
    const safe = Object(safeFields({ err: error })).err;
    assert.equal(safe.type, 'Error');
    assert.equal(safe.message, 'bad \\x1b[2J');
    assert.equal(safe.code, 'EIO');
    assert.equal(safe.cause.message, 'deeper');
    assert.match(safe.stack[0], /^at .*safe-text\.test/);
  });

  test('other values are kept or named', () => {
    const date = new Date(0);
    assert.deepEqual(safeFields({ n: 1, b: true, u: null, i: 10n, f: Math.max, d: date, x: new Date(Number.NaN) }), {
      n: 1,
      b: true,
      u: null,
      i: '10',
      f: 'function max() { [native code] }',
      d: '1970-01-01T00:00:00.000Z',
      x: 'no date',
    });
  });
});
