// docs/benchmarks.md, its plots and the table in the README, from the results that lie in the results folder. A part that has no result is named as such.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { sectionMarkdown, tableMarkdown } from './markdown.ts';
import { giveToOwner, RESULTS } from './part.ts';
import { PARTS } from './parts.ts';
import type { Headline, Result } from './section.ts';
import { chartSvg } from './svg.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CHARTS = join(ROOT, 'docs', 'benchmarks');
const BEGIN = '<!-- figures: written by npm run bench -->';
const END = '<!-- end of figures -->';

export type Failure = { readonly key: string; readonly why: string };

/** Writes the documents; tells which files it wrote. A quick run's figures never get into them: those parts count as not run. */
export function writeReport(failures: readonly Failure[]): readonly string[] {
  const results = PARTS.flatMap(({ key }) => readResult(key) ?? []).filter(({ isQuick }) => !isQuick);
  if (results.length === 0) return [];
  mkdirSync(CHARTS, { recursive: true });
  const charts = results.flatMap((result) => result.charts);
  for (const file of readdirSync(CHARTS)) {
    if (file.endsWith('.svg') && !charts.some(({ name }) => `${name}.svg` === file)) rmSync(join(CHARTS, file));
  }
  for (const chart of charts) writeFileSync(join(CHARTS, `${chart.name}.svg`), chartSvg(chart));
  const document = join(ROOT, 'docs', 'benchmarks.md');
  writeFileSync(document, documentOf(results, failures));
  const readme = join(ROOT, 'README.md');
  writeFileSync(readme, withTable(readFileSync(readme, 'utf8'), headlineTable(results)));
  const written = [document, readme, ...charts.map(({ name }) => join(CHARTS, `${name}.svg`))];
  giveToOwner(CHARTS, ...written);
  return written;
}

function readResult(key: string): Result | undefined {
  const file = join(RESULTS, `${key}.json`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Result) : undefined;
}

/** The whole of docs/benchmarks.md. */
export function documentOf(results: readonly Result[], failures: readonly Failure[]): string {
  const machines = [...new Set(results.map(({ machine }) => machine.map((line) => `- ${line}`).join('\n')))];
  const missing = PARTS.flatMap(({ key }) => {
    const why = failures.find((failure) => failure.key === key)?.why;
    if (results.some((result) => result.key === key))
      return why === undefined ? [] : [`- ${key}: ${why}; its figures above are of an earlier run`];
    return [`- ${key}: ${why ?? `no result: \`npm run bench -- ${key}\``}`];
  });
  const parts = [
    '# Benchmarks',
    `Written by \`npm run bench\`, which installs what it compares with from Debian, runs every system in network namespaces of this machine, and asserts
nothing. Each section says what was measured and prints the command that measures it again. Figures of another machine differ; the ratios should hold.`,
    machines.join('\n\n'),
    '## In short',
    headlineTable(results),
    ...results.map((result) => sectionMarkdown(result, 'document')),
  ];
  if (missing.length > 0) parts.push('## Did not run', missing.join('\n'));
  return `${parts.join('\n\n')}\n`;
}

function headlineTable(results: readonly Result[]): string {
  const rows: readonly Headline[] = results.flatMap(({ headlines }) => headlines);
  const head = ['figure', 'goal', 'Postern', 'others'];
  return tableMarkdown({ head, rows: rows.map(({ figure, goal, ours, peers }) => [figure, goal, ours, peers]) });
}

/** A text with the table between its two marks; a text without them stays as it is. */
export function withTable(text: string, table: string): string {
  const [from, to] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (from < 0 || to < from) return text;
  return `${text.slice(0, from)}${BEGIN}\n\n${table}\n\n${text.slice(to)}`;
}
