// The metrics: their list in the documents, their text, their file.
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { METRICS, type Metric } from '../../daemon/metrics/catalog.ts';
import { exposition } from '../../daemon/metrics/exposition.ts';
import { Histogram } from '../../daemon/metrics/histogram.ts';
import { replaceTextFile } from '../../daemon/metrics/text-file.ts';

function folder(context: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'postern-metrics-'));
  context.after(() => rmSync(made, { recursive: true }));
  return made;
}

test('docs/metrics.md lists exactly the metrics of the code, with type, labels and meaning', () => {
  const text = readFileSync(fileURLToPath(new URL('../../../docs/metrics.md', import.meta.url)), 'utf8');
  const documented = text
    .split('\n')
    .map((line) => /^\| `(postern_[a-z_]+)` \| (\w+) \| (.*?) ?\| (.*) \|$/.exec(line)?.slice(1))
    .filter((cells) => cells !== undefined);
  const known: readonly Metric[] = Object.values(METRICS);
  const coded = known.map(({ name, type, labels = [], help }) => [name, type, labels.map((label) => `\`${label}\``).join(', '), help]);
  assert.deepEqual(documented, coded);
});

test('every name in the alarms of docs/metrics.md is a metric', () => {
  const text = readFileSync(fileURLToPath(new URL('../../../docs/metrics.md', import.meta.url)), 'utf8');
  const names = new Set<string>(Object.values(METRICS).map(({ name }) => name));
  for (const [name] of text.matchAll(/postern_[a-z_]+/g)) assert.ok(names.has(name), name);
});

test('values stand in every bucket that holds them, bounds included', () => {
  const histogram = new Histogram();
  for (const seconds of [0.0001, 0.0005, 0.0006, 0.2, 7]) histogram.add(seconds);
  const text = exposition([{ metric: METRICS.latency, samples: histogram.snapshot() }]);
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  assert.deepEqual(lines, [
    ...[
      ['0.00025', 1],
      ['0.0005', 2],
      ['0.001', 3],
      ['0.0025', 3],
      ['0.005', 3],
      ['0.01', 3],
      ['0.025', 3],
      ['0.05', 3],
      ['0.1', 3],
      ['0.25', 4],
      ['1', 4],
      ['+Inf', 5],
    ].map(([bound, count]) => `postern_knock_to_grant_seconds_bucket{le="${bound}"} ${count}`),
    'postern_knock_to_grant_seconds_sum 7.2012',
    'postern_knock_to_grant_seconds_count 5',
    '',
  ]);
});

test('what stands in a label cannot end it', () => {
  const text = exposition([{ metric: METRICS.dropped, samples: [{ labels: { reason: 'a"b\\c\nd' }, value: 1 }] }]);
  assert.match(text, /\{reason="a\\"b\\\\c\\nd"\} 1\n$/);
});

test('the file is replaced whole, is readable by all, and nothing else is left behind', async (context) => {
  const made = folder(context);
  const path = join(made, 'postern.prom');
  const before = process.umask(0o077);
  context.after(() => void process.umask(before));
  writeFileSync(path, 'old');
  const old = readFileSync(path);
  await replaceTextFile(path, 'new\n');
  assert.equal(readFileSync(path, 'utf8'), 'new\n');
  assert.notDeepEqual(old, readFileSync(path));
  assert.equal(statSync(path).mode & 0o777, 0o644);
  assert.deepEqual(readdirSync(made), ['postern.prom']);
});

test('a failure leaves the old file and nothing else', async (context) => {
  const made = folder(context);
  await assert.rejects(replaceTextFile(join(made, 'nowhere', 'postern.prom'), 'new\n'), { code: 'ENOENT' });
  assert.deepEqual(readdirSync(made), []);
});
