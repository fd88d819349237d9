// Sections as Markdown. Cells hold no bar: a table is never broken by what a system said.
import type { Result, Table } from './section.ts';

export function tableMarkdown({ head, rows }: Pick<Table, 'head' | 'rows'>): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '/').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}

/** `alone`: with the machine, as it is printed; `document`: the machine stands once at the head of the document. */
export function sectionMarkdown(result: Result, where: 'alone' | 'document'): string {
  const circumstances = [`Command: \`${result.command}\``, `date ${result.date}`, `revision ${result.revision}`].join(', ');
  const parts = [`## ${result.title}`, ...result.about, `${circumstances}.${result.isQuick ? ' **A quick run: few samples.**' : ''}`];
  if (where === 'alone') parts.push(result.machine.map((line) => `- ${line}`).join('\n'));
  for (const table of result.tables) parts.push(...(table.title === '' ? [] : [`**${table.title}**`]), tableMarkdown(table));
  if (where === 'document') parts.push(...result.charts.map(({ name, title }) => `![${title}](benchmarks/${name}.svg)`));
  if (result.leftOut.length > 0) parts.push(['Did not run:', ...result.leftOut.map((why) => `- ${why}`)].join('\n'));
  return parts.join('\n\n');
}
