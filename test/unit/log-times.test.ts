// What --since and --until of `posternd log` mean, on a host whose zone has summer time.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { moment } from '../../daemon/commands/log.ts';

describe('--since and --until', () => {
  const zone = process.env['TZ'];
  before(() => {
    process.env['TZ'] = 'Europe/Berlin';
  });
  after(() => {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  });

  // Noon in Berlin of the day on which the clocks went forward: it has 23 hours.
  const now = Date.parse('2026-03-29T10:00:00Z');
  for (const [text, means] of [
    ['30m', '2026-03-29T09:30:00.000Z'],
    ['7d', '2026-03-22T10:00:00.000Z'],
    ['today', '2026-03-28T23:00:00.000Z'],
    ['yesterday', '2026-03-27T23:00:00.000Z'],
    ['2026-03-28', '2026-03-27T23:00:00.000Z'],
    ['2026-03-29 12:00', '2026-03-29T10:00:00.000Z'],
    ['2026-03-29T12:00:30Z', '2026-03-29T12:00:30.000Z'],
  ] as const) {
    test(text, () => assert.equal(new Date(moment(text, '--since', now)).toISOString(), means));
  }

  for (const text of ['', 'now', 'Yesterday', '22:00', '2026-03', '2026-13-01', '5', '-5m', 'constructor']) {
    test(`${JSON.stringify(text)} is none`, () =>
      assert.throws(() => moment(text, '--since', now), /^CommandError: --since: .* is no time: write 30m/));
  }
});
