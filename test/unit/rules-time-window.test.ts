// Until when a time window holds (P37): midnight, days, the gap and the overlap of daylight saving, zones with odd offsets. Tables of moments.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { createTask } from 'node-cron';
import { type TimeWindow, windowEnd } from '../../daemon/rules/time-window.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

const at = (iso: string): UnixMs => unixMs(Date.parse(iso));
const window = (cron: string | readonly string[], timezone: string): TimeWindow => ({
  cron: typeof cron === 'string' ? [cron] : cron,
  timezone,
});
/** The end as a date in UTC, or `-` when the window does not hold. */
function end(cron: string | readonly string[], timezone: string, now: string, forMs = 365 * DAY_MS): string {
  const ends = windowEnd(window(cron, timezone), at(now), unixMs(at(now) + forMs));
  return ends === undefined ? '-' : new Date(ends).toISOString().replace(/:00\.000Z$/, 'Z');
}

type Case = readonly [text: string, cron: string | readonly string[], zone: string, now: string, end: string];
const OFFICE = '* 8-17 * * mon-fri';
const BERLIN = 'Europe/Berlin';

const CASES: readonly Case[] = [
  ['the last moment before it begins', OFFICE, BERLIN, '2026-11-23T06:59:59.999Z', '-'],
  ['its first moment', OFFICE, BERLIN, '2026-11-23T07:00:00Z', '2026-11-23T17:00Z'],
  ['in the middle of a minute', OFFICE, BERLIN, '2026-11-23T12:34:56.789Z', '2026-11-23T17:00Z'],
  ['its last moment', OFFICE, BERLIN, '2026-11-23T16:59:59.999Z', '2026-11-23T17:00Z'],
  ['the moment when it is over', OFFICE, BERLIN, '2026-11-23T17:00:00Z', '-'],
  ['a Saturday', OFFICE, BERLIN, '2026-11-28T10:00:00Z', '-'],
  ['the same moment in another zone', OFFICE, 'Asia/Tokyo', '2026-11-23T07:00:00Z', '2026-11-23T09:00Z'],
  ['a zone where it is tomorrow', '* * * * tue', 'Pacific/Auckland', '2026-11-23T12:00:00Z', '2026-11-24T11:00Z'],

  ['over midnight', '* 22-23,0-5 * * *', 'UTC', '2026-11-23T23:30:00Z', '2026-11-24T06:00Z'],
  ['the other side of midnight', '* 22-23,0-5 * * *', 'UTC', '2026-11-24T00:00:00Z', '2026-11-24T06:00Z'],
  ['a day that ends at midnight', '* 22-23,0-5 * * fri', 'UTC', '2026-11-27T23:30:00Z', '2026-11-28T00:00Z'],
  ['a weekend', '* * * * sat,sun', BERLIN, '2026-11-28T11:00:00Z', '2026-11-29T23:00Z'],
  ['a month, over the end of winter time', '* * * 3 *', BERLIN, '2026-03-05T10:00:00Z', '2026-03-31T22:00Z'],
  ['the last day of February', '* * L 2 *', 'UTC', '2028-02-29T12:00:00Z', '2028-03-01T00:00Z'],
  ['day of month and weekday must both match: they do', '* * 1-7 * mon', 'UTC', '2026-12-07T12:00:00Z', '2026-12-08T00:00Z'],
  ['day of month and weekday must both match: one does', '* * 1-7 * mon', 'UTC', '2026-12-14T12:00:00Z', '-'],
  ['every other quarter of an hour', '0-14,30-44 * * * *', 'UTC', '2026-11-23T10:31:00Z', '2026-11-23T10:45Z'],
  ['one minute', '7 * * * *', 'UTC', '2026-11-23T10:07:59Z', '2026-11-23T10:08Z'],

  // 2026-03-29: 02:00 becomes 03:00 (01:00 UTC).
  ['the gap: its minutes do not exist', '* 2 * * *', BERLIN, '2026-03-29T00:59:59Z', '-'],
  ['the gap: nor after it', '* 2 * * *', BERLIN, '2026-03-29T01:00:00Z', '-'],
  ['the gap cuts an end off', '* 1-2 * * *', BERLIN, '2026-03-29T00:30:00Z', '2026-03-29T01:00Z'],
  ['the gap cuts a beginning off', '* 2-3 * * *', BERLIN, '2026-03-29T01:30:00Z', '2026-03-29T02:00Z'],
  ['the gap in the middle', '* 1-3 * * *', BERLIN, '2026-03-29T00:30:00Z', '2026-03-29T02:00Z'],
  ['a weekend with the gap is an hour shorter', '* * * * sat,sun', BERLIN, '2026-03-28T11:00:00Z', '2026-03-29T22:00Z'],
  ['midnight in the gap', '* * * * thu', 'Africa/Cairo', '2026-04-23T10:00:00Z', '2026-04-23T22:00Z'],
  ['after a midnight in the gap', '* 0-1 * * fri', 'Africa/Cairo', '2026-04-23T22:30:00Z', '2026-04-23T23:00Z'],

  // 2026-10-25: 03:00 becomes 02:00 (01:00 UTC).
  ['the overlap: both hours count', '* 2 * * *', BERLIN, '2026-10-25T00:30:00Z', '2026-10-25T02:00Z'],
  ['the overlap: the second hour', '* 2 * * *', BERLIN, '2026-10-25T01:30:00Z', '2026-10-25T02:00Z'],
  ['the overlap: half an hour ends the first time', '0-29 2 * * *', BERLIN, '2026-10-25T00:10:00Z', '2026-10-25T00:30Z'],
  ['the overlap: between the two', '0-29 2 * * *', BERLIN, '2026-10-25T00:45:00Z', '-'],
  ['the overlap: half an hour comes again', '0-29 2 * * *', BERLIN, '2026-10-25T01:10:00Z', '2026-10-25T01:30Z'],
  ['the overlap: what ends with its first hour goes on', '30-59 2 * * *', BERLIN, '2026-10-25T00:50:00Z', '2026-10-25T01:00Z'],
  ['a weekend with the overlap is an hour longer', '* * * * sat,sun', BERLIN, '2026-10-24T10:00:00Z', '2026-10-25T23:00Z'],
  ['an overlap over midnight', '* * * * thu', 'Africa/Cairo', '2026-10-29T10:00:00Z', '2026-10-29T22:00Z'],

  ['a gap of half an hour', '* 1-2 * * *', 'Australia/Lord_Howe', '2026-10-03T15:00:00Z', '2026-10-03T16:00Z'],
  ['an overlap of half an hour', '* 1 * * *', 'Australia/Lord_Howe', '2026-04-04T14:15:00Z', '2026-04-04T15:30Z'],
  ['an offset of 45 minutes', '* 9 * * *', 'Asia/Kathmandu', '2026-11-23T03:45:00Z', '2026-11-23T04:15Z'],

  ['two forms: the first', [OFFICE, '* 10-11 * * sat'], BERLIN, '2026-11-23T12:00:00Z', '2026-11-23T17:00Z'],
  ['two forms: the second', [OFFICE, '* 10-11 * * sat'], BERLIN, '2026-11-28T09:30:00Z', '2026-11-28T11:00Z'],
  ['two forms: neither', [OFFICE, '* 10-11 * * sat'], BERLIN, '2026-11-28T12:00:00Z', '-'],
  ['forms that follow each other are one window', ['* 8-11 * * *', '0-29 12 * * *'], 'UTC', '2026-11-23T08:00:00Z', '2026-11-23T12:30Z'],
];

describe('a time window ends (P37)', () => {
  for (const [text, cron, zone, now, expected] of CASES)
    test(`${text}: ${cron} in ${zone}`, () => assert.equal(end(cron, zone, now), expected));

  test('never later than asked for', () => {
    assert.equal(end(OFFICE, 'UTC', '2026-11-23T10:00:30Z', 90_000), '2026-11-23T10:02Z');
    assert.equal(
      windowEnd(window('* * * * *', 'UTC'), at('2026-11-23T10:00:00Z'), at('2026-11-23T10:00:00.500Z')),
      at('2026-11-23T10:00:00.500Z'),
    );
  });

  test('at any time means as long as asked for: 30 days (P26), a year', () => {
    for (const days of [30, 365]) {
      const now = at('2026-11-23T10:00:30Z');
      assert.equal(windowEnd(window('* * * * *', BERLIN), now, unixMs(now + days * DAY_MS)), now + days * DAY_MS);
    }
  });

  test('too early, never too late, where it is patched together from more pieces than are looked at', () => {
    const now = at('2026-11-23T10:00:00Z');
    const ends = windowEnd(window(['0-29 * * * *', '30-59 * * * *'], 'UTC'), now, unixMs(now + 365 * DAY_MS));
    assert.ok(ends !== undefined && ends >= now + 1000 * MINUTE_MS && ends <= now + 365 * DAY_MS);
  });

  test('where node-cron finds the first minute that does not match, whatever the form, the zone and the day', () => {
    const field = (most: number, least = 0) =>
      fc.oneof(
        fc.constant('*'),
        fc
          .tuple(fc.integer({ min: least, max: most }), fc.integer({ min: least, max: most }))
          .map(([a, b]) => (a <= b ? `${a}-${b}` : `${b},${a}`)),
      );
    // Days on which somebody's clock changes, and others.
    const days = ['2026-03-28', '2026-03-29', '2026-04-04', '2026-10-03', '2026-10-25', '2026-11-01', '2026-11-23', '2026-12-31'];
    const zones = [BERLIN, 'UTC', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Kathmandu'];
    const SPAN_MINUTES = 30 * 60;
    fc.assert(
      fc.property(
        fc.oneof(fc.constant('*'), field(59)),
        field(23),
        field(6),
        fc.constantFrom(...zones),
        fc.constantFrom(...days),
        fc.integer({ min: 0, max: 1439 }),
        (minute, hour, weekday, zone, day, offset) => {
          const cron = `${minute} ${hour} * * ${weekday}`;
          const task = createTask(cron, () => undefined, { timezone: zone });
          void task.destroy();
          const now = Date.parse(`${day}T00:00:00Z`) + offset * MINUTE_MS;
          let first = now;
          while (first < now + SPAN_MINUTES * MINUTE_MS && task.match(new Date(first))) first += MINUTE_MS;
          const ends = windowEnd(window(cron, zone), unixMs(now), unixMs(now + SPAN_MINUTES * MINUTE_MS));
          assert.equal(ends, first === now ? undefined : first);
        },
      ),
      { numRuns: 150, seed: 37 },
    );
  });
});
