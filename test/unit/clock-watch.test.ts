// What the clock watch tells, for clocks that do what clocks on servers do.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BootMs, Clock } from '../../daemon/clock.ts';
import { monotonicMs } from '../../daemon/clock.ts';
import { ClockWatch } from '../../daemon/clock-watch.ts';
import { unixMs } from '../../protocol/brand.ts';

/** Starts in the middle of a window. */
const START = 1_800_000_030_000;

type Moved = { readonly wall?: number; readonly boot?: number; readonly monotonic?: number };

function clockAt(moved: Required<Moved>): Clock {
  return {
    wall: () => unixMs(START + moved.wall),
    boot: () => (1_000_000 + moved.boot) as BootMs,
    monotonic: () => monotonicMs(900_000 + moved.monotonic),
  };
}

const CASES: readonly { readonly text: string; readonly moved: Required<Moved>; readonly expected: object }[] = [
  { text: 'a second passes', moved: { wall: 1000, boot: 1000, monotonic: 1000 }, expected: { kind: 'quiet' } },
  { text: 'the next window begins', moved: { wall: 30_000, boot: 30_000, monotonic: 30_000 }, expected: { kind: 'window' } },
  { text: 'a late tick is no step', moved: { wall: 9000, boot: 9000, monotonic: 9000 }, expected: { kind: 'quiet' } },
  { text: 'a slewing clock is no step', moved: { wall: 1500, boot: 1000, monotonic: 1000 }, expected: { kind: 'quiet' } },
  { text: 'P14 an hour forward', moved: { wall: 3_601_000, boot: 1000, monotonic: 1000 }, expected: { kind: 'step', byMs: 3_600_000 } },
  { text: 'P14 an hour back', moved: { wall: -3_599_000, boot: 1000, monotonic: 1000 }, expected: { kind: 'step', byMs: -3_600_000 } },
  {
    text: 'P14 a resume after ten minutes',
    moved: { wall: 600_000, boot: 600_000, monotonic: 1000 },
    expected: { kind: 'sleep', byMs: 599_000 },
  },
];

for (const { text, moved, expected } of CASES) {
  test(`${text}: ${JSON.stringify(expected)}`, () => {
    const now = { wall: 0, boot: 0, monotonic: 0 };
    const watch = new ClockWatch(clockAt(now));
    Object.assign(now, moved);
    assert.deepEqual(watch.look(), expected);
    assert.deepEqual(watch.look(), { kind: 'quiet' }, 'it is told once');
  });
}
