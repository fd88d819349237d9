// The soak's judgement: what grows is seen to grow, what only swings is not, and every event of the hour has its moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENDS_BY, HOUR, momentsOf } from '../soak/hour.ts';
import { trendOf } from '../soak/trend.ts';

const samples = (value: (at: number) => number) => Array.from({ length: 40 }, (_, at) => ({ atMs: at * 1000, value: value(at) }));

test('a line rises by what it rises, a swing by nearly nothing, a fall by less than nothing', () => {
  assert.equal(Math.round(trendOf(samples((at) => 100 + at)).rise), 39);
  assert.ok(Math.abs(trendOf(samples((at) => 100 + 10 * Math.cos(at))).rise) < 3);
  assert.ok(trendOf(samples((at) => 100 - at)).rise < -38);
  assert.equal(trendOf(samples(() => 7)).rise, 0);
  assert.throws(() => trendOf(samples(() => 1).slice(0, 2)), RangeError);
});

test('each event of the hour comes as often as it should, within its part of the hour', () => {
  const moments = momentsOf(['kills', 'stops', 'flushes', 'windows'], 480_000);
  for (const event of ['kills', 'stops', 'flushes', 'windows'] as const)
    assert.equal(moments.filter((moment) => moment.event === event).length, HOUR[event]);
  assert.ok(moments.every(({ atMs }) => atMs >= 0 && atMs <= 480_000));
  assert.ok(moments.filter(({ event }) => event === 'kills').every(({ atMs }) => atMs <= ENDS_BY * 480_000));
});
