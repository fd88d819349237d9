// What turns measurements into documents: quantiles, numbers, tables, scales and the README's place.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { asCount, asMiB, asTime, digits, median, quantile } from '../bench/figures.ts';
import { sectionMarkdown, tableMarkdown } from '../bench/markdown.ts';
import { documentOf, withTable } from '../bench/report.ts';
import type { Chart, Result } from '../bench/section.ts';
import { isWorthMore, sustained } from '../bench/sustained.ts';
import { chartSvg, scaleFor, tickText } from '../bench/svg.ts';

test('a quantile is one of the values: the smallest that the share does not exceed', () => {
  const hundred = Array.from({ length: 100 }, (_, at) => 100 - at);
  assert.deepEqual(
    [0, 0.5, 0.99, 1].map((share) => quantile(hundred, share)),
    [1, 50, 99, 100],
  );
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(quantile([7], 0.99), 7);
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

test('numbers have the digits that count, and what is missing is a dash', () => {
  assert.deepEqual([0.0042, 0.042, 0.85, 8.2, 28.14, 117.4, 1234, 65_000, Number.NaN].map(asTime), [
    ...['4.2 µs', '42 µs', '0.85 ms', '8.20 ms', '28.1 ms', '117 ms', '1.2 s', '65 s', '–'],
  ]);
  assert.deepEqual([0, 9.999, 99.99].map(digits), ['0.00', '10.0', '100']);
  assert.deepEqual([asCount(349_999.6), asMiB(5.5), asMiB(64.4), asMiB(Number.NaN)], ['350,000', '5.5 MiB', '64 MiB', '–']);
});

test('a cell cannot break its table', () => {
  assert.equal(tableMarkdown({ head: ['a', 'b'], rows: [['x|y', 'one\ntwo']] }), '| a | b |\n|---|---|\n| x/y | one two |');
});

test('a scale ends at ticks and keeps every value inside', () => {
  for (const [values, kind, ticks] of [
    [[0.4, 37], 'log', [0.1, 1, 10, 100]],
    [[1, 1], 'log', [1, 10]],
    [[0, 37], 'linear', [0, 10, 20, 30, 40]],
    [[0], 'linear', [0, 0.2]],
  ] as const) {
    const scale = scaleFor(values, kind);
    assert.deepEqual(
      scale.ticks.slice(0, ticks.length).map((tick) => Number(tick.toPrecision(6))),
      ticks,
    );
    for (const value of values) assert.ok(scale.at(value) >= 0 && scale.at(value) <= 1, `${value} at ${scale.at(value)}`);
  }
  assert.deepEqual([0.001, 5, 350_000].map(tickText), ['0.001', '5', '350,000']);
});

const RESULT: Result = {
  ...{ key: 'knock-time', title: 'Time', command: 'npm run bench -- knock-time', about: ['How.'], leftOut: ['knockd: exit 1'], raw: {} },
  ...{ date: '2026-11-21', revision: 'abc', machine: ['Machine: one'], isQuick: false },
  tables: [{ title: 'All', head: ['system'], rows: [['Postern']] }],
  charts: [
    {
      kind: 'bars',
      name: 'time',
      title: 'Time <1 ms',
      x: { label: 'ms', scale: 'log' },
      bars: [{ name: 'Postern', value: 1, mark: 2, text: '1 ms' }],
    },
  ],
  headlines: [{ figure: 'time', goal: '1 ms', ours: '2 ms', peers: '3 ms' }],
};

test('the document has the command, the date, the plot, what did not run and why', () => {
  const text = documentOf([RESULT], [{ key: 'size', why: 'ended with 1' }]);
  for (const part of [
    ...[
      'Command: `npm run bench -- knock-time`',
      'date 2026-11-21',
      '![Time <1 ms](benchmarks/time.svg)',
      '- knockd: exit 1',
      '- size: ended with 1',
    ],
    '| time | 1 ms | 2 ms | 3 ms |',
  ]) {
    assert.ok(text.includes(part), `${part}\n---\n${text}`);
  }
  assert.ok(!sectionMarkdown(RESULT, 'alone').includes('.svg'));
});

const CHARTS: readonly Chart[] = [
  ...RESULT.charts,
  {
    ...{ kind: 'lines', name: 'gaps', title: 'A & B' },
    ...{ x: { label: 'packets in a second', scale: 'log' }, y: { label: 'ms', scale: 'log' } },
    series: [{ name: 'one', points: [2, null, 0, 5].map((y, at) => ({ x: 10 ** at, y })) }],
  },
  { kind: 'lines', name: 'empty', title: 'empty', x: { label: 'x', scale: 'linear' }, y: { label: 'y', scale: 'linear' }, series: [] },
];

test('charts are well formed, whatever they are called and whatever is missing', () => {
  for (const chart of CHARTS) {
    const svg = chartSvg(chart);
    assert.ok(!/NaN|Infinity|undefined|null/.test(svg), svg);
    assert.ok(!/<1|A & B/.test(svg), 'escaped');
    assert.equal(svg.match(/<[a-z]+(?:\s[^>]*[^/>])?>/g)?.length, svg.match(/<\/[a-z]+>/g)?.length, svg);
  }
});

test('a rate is sustained when nothing was lost up to there, and hardly anything waits', () => {
  const row = (perSecond: number, opened: number, behind: number) => ({
    key: 'a',
    perSecond,
    sent: perSecond,
    opened,
    behind,
    cpuMsEach: 1,
  });
  assert.equal(sustained([row(100, 100, 11), row(200, 200, 20), row(300, 300, 31), row(400, 399, 0), row(500, 500, 0)]), 200);
  assert.equal(sustained([row(100, 100, 0), row(200, 200, 0)]), 200);
  assert.equal(sustained([row(100, 99, 0)]), 0);
  assert.equal(sustained([]), 0);
  assert.deepEqual([row(100, 80, 50), row(100, 79, 0), row(100, 100, 51)].map(isWorthMore), [true, false, false]);
});

test('the table goes between its marks in the README, again and again', () => {
  const readme = 'before\n<!-- figures: written by npm run bench -->\nold\n<!-- end of figures -->\nafter\n';
  const once = withTable(readme, 'TABLE');
  assert.equal(once, 'before\n<!-- figures: written by npm run bench -->\n\nTABLE\n\n<!-- end of figures -->\nafter\n');
  assert.equal(withTable(once, 'TABLE'), once);
  assert.equal(withTable('no marks', 'TABLE'), 'no marks');
});
