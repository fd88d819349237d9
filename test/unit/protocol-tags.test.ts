// Windows and tags: which windows are accepted at a moment, and that no two tags meet.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { unixMs } from '../../protocol/brand.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { pairAsClient } from '../../protocol/pairing.ts';
import { acceptedWindows, tagOf, WINDOW_MS, windowOf, windowStartMs } from '../../protocol/tags.ts';

const pairing = pairAsClient(secretFromSeed(new Uint8Array(32)), secretFromSeed(new Uint8Array(32).fill(1)).publicKey);

describe('windows', () => {
  test('a window is accepted exactly when a moment of it is within the tolerance (P8)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 600_000, max: 2 ** 45 }), fc.integer({ min: 0, max: 300_000 }), (now, tolerance) => {
        const { first, last } = acceptedWindows(unixMs(now), tolerance);
        const meets = (window: number) => {
          const start = windowStartMs(window);
          return start <= now + tolerance && start + WINDOW_MS - 1 >= now - tolerance;
        };
        assert.deepEqual([meets(first - 1), meets(first), meets(last), meets(last + 1)], [false, true, true, false]);
      }),
    );
  });

  test('every moment lies in the window that starts at or before it', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (now) => {
        const start = windowStartMs(windowOf(unixMs(now)));
        assert.ok(start <= now && now < start + WINDOW_MS);
      }),
    );
  });

  test('a clock near the epoch accepts from window 0 on', () => {
    assert.deepEqual(acceptedWindows(unixMs(0), 60_000), { first: 0, last: 1 });
  });
});

describe('tags', () => {
  test('1,000 windows of 16 slots give 16,000 different tags of 16 bytes', () => {
    const seen = new Set<string>();
    for (let window = 29_921_160; window < 29_922_160; window += 1) {
      for (let slot = 0; slot < 16; slot += 1) seen.add(Buffer.from(tagOf(pairing, window, slot)).toString('latin1'));
    }
    assert.equal(seen.size, 16_000);
  });

  for (const slot of [-1, 64, 256, 0.5, Number.NaN]) {
    test(`throws on slot ${slot}, which would be another slot's tag on the wire`, () => {
      assert.throws(() => tagOf(pairing, 1, slot), RangeError);
    });
  }

  for (const window of [-1, 0.5, 2 ** 53]) {
    test(`throws on window ${window}`, () => {
      assert.throws(() => tagOf(pairing, window, 0), RangeError);
    });
  }
});
