// Whether what stands is what was loaded: iptables-save writes rules in its own words, so they are counted, chain by chain. Pure.
import type { Names } from './names.ts';
import { isBypassed, jumpsToUs, type SavedTable } from './saved.ts';

/** Of a text for iptables-restore that replaces the whole gate. */
export function shapeOfText(text: string, names: Names): string {
  const count = new Counts();
  let table = '';
  for (const line of text.split('\n')) {
    table = /^\*(\S+)/.exec(line)?.[1] ?? table;
    const declared = /^:(\S+) /.exec(line)?.[1];
    if (declared !== undefined) count.add(table, declared, 0);
    const [, verb, chain] = /(?:^|\] )-([AI]) (\S+)/.exec(line) ?? [];
    if (chain === undefined) continue;
    if (names.isOwn(chain)) count.add(table, chain, 1);
    else if (verb === 'I') count.add(table, `${chain} to us`, 1);
  }
  return count.text();
}

/** Of the tables as they were read. */
export function shapeOfTables(tables: readonly SavedTable[], names: Names): string {
  const count = new Counts();
  for (const table of tables) {
    for (const chain of table.chains) if (names.isOwn(chain)) count.add(table.name, chain, 0);
    for (const { chain } of table.rules) if (names.isOwn(chain)) count.add(table.name, chain, 1);
    for (const { chain } of jumpsToUs(table, names)) count.add(table.name, `${chain} to us`, 1);
    if (table.name === 'mangle' && isBypassed(table, names)) count.add(table.name, 'bypassed', 1);
  }
  return count.text();
}

class Counts {
  readonly #of = new Map<string, number>();

  add(table: string, what: string, more: number): void {
    const key = `${table} ${what}`;
    this.#of.set(key, (this.#of.get(key) ?? 0) + more);
  }

  text(): string {
    return [...this.#of]
      .map(([key, count]) => `${key} ${count}`)
      .toSorted()
      .join('\n');
  }
}
