// A reporter for `node --test`: the table of docs/attacks.md with "held" or "BROKEN" for each row, and what failed.
import { basename } from 'node:path';
import type { TestEvent } from 'node:test/reporters';
import { isMeant, readRows } from './attack-table.ts';

type Outcome = { readonly file: string; readonly title: string; readonly verdict: 'passed' | 'failed' | 'left out'; readonly why: string };

export default async function* verdicts(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const outcomes: Outcome[] = [];
  const ran = new Set<string>();
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, file = '', skip } = event.data;
    const from = basename(file, '.test.js');
    if (!ran.has(from)) yield `… ${from}\n`;
    ran.add(from);
    const failed = event.type === 'test:fail';
    const why = failed ? String(event.data.details.error.cause ?? event.data.details.error.message) : '';
    const verdict = failed ? 'failed' : skip === undefined || skip === false ? 'passed' : 'left out';
    outcomes.push({ file: from, title: name, verdict, why });
  }
  let broken = 0;
  yield '\n';
  for (const { attack, expected, tests } of readRows()) {
    const about = outcomes.filter((outcome) => tests.some((named) => isMeant(named, outcome)));
    if (!tests.some(({ file }) => ran.has(file))) continue;
    const failures = about.filter(({ verdict }) => verdict === 'failed');
    const held = failures.length === 0 && about.some(({ verdict }) => verdict === 'passed');
    if (!held) broken += 1;
    yield `${held ? 'held  ' : failures.length > 0 ? 'BROKEN' : 'not run'}  ${plain(attack)}: ${plain(expected)} (${about.length} tests)\n`;
    for (const { file, title, why } of failures) yield `          ${file}: ${title}: ${why.split('\n')[0]}\n`;
  }
  const others = outcomes.filter(({ verdict }) => verdict === 'failed');
  yield `\n${broken === 0 && others.length === 0 ? 'all held' : `${broken} rows and ${others.length} tests did not hold`}\n`;
}

function plain(markdown: string): string {
  return markdown.replaceAll('`', '');
}
