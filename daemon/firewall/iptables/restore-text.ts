// What one run of iptables-restore --noflush gets, so that the gate stands as drafted, or is gone, and nobody else's rule is touched. Each table is
// replaced in one step; they come in the order in which at no moment something passes that should not. Pure.

import type { Names } from './names.ts';
import { REJECT_HOOKS, REJECT_TABLES, rejectJump, rejectLines } from './rejecting.ts';
import { chainLines, type Draft } from './ruleset.ts';
import { jumpsToUs, ownChains, type SavedTable } from './saved.ts';

/** `before`: the tables as they stand; of the two for rejecting, those that were looked at. */
export function installText(draft: Draft, before: readonly SavedTable[]): string {
  const { names, layout, family } = draft;
  const saved = (name: string): SavedTable => before.find((table) => table.name === name) ?? { name, chains: [], rules: [], dropping: [] };
  const rejecting = layout.refuse === 'reject';
  const mangle = replaceTable(saved('mangle'), names, chainLines(draft), [`-I PREROUTING 1 -j ${names.entry}`]);
  const jumps = REJECT_HOOKS.map((hook) => `-I ${hook} 1 ${rejectJump(names)}`);
  // Nothing may be marked before there is somebody who rejects it.
  return rejecting
    ? [...REJECT_TABLES.map((name) => replaceTable(saved(name), names, rejectLines(name, names, family), jumps)), mangle].join('')
    : [mangle, ...REJECT_TABLES.toReversed().map((name) => replaceTable(saved(name), names, [], []))].join('');
}

/** Undefined when nothing of ours stands in these tables. */
export function removeText(names: Names, before: readonly SavedTable[]): string | undefined {
  const order = ['mangle', 'filter', 'security'];
  const tables = [...before].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  const text = tables.map((table) => replaceTable(table, names, [], [])).join('');
  return text === '' ? undefined : text;
}

/** A change of some chains of the mangle table that stand already. */
export function changeText(lines: readonly string[]): string {
  return tableText('mangle', lines);
}

function replaceTable(before: SavedTable, names: Names, chains: readonly string[], jumps: readonly string[]): string {
  const declared = new Set(chains.flatMap((line) => /^:(\S+)/.exec(line)?.[1] ?? []));
  const gone = ownChains(before, names).filter((chain) => !declared.has(chain));
  return tableText(before.name, [
    ...chains.filter((line) => line.startsWith(':')),
    ...jumpsToUs(before, names).map(({ chain, text }) => `-D ${chain} ${text}`),
    ...chains.filter((line) => !line.startsWith(':')),
    ...jumps,
    ...gone.map((chain) => `-F ${chain}`),
    ...gone.map((chain) => `-X ${chain}`),
  ]);
}

function tableText(name: string, lines: readonly string[]): string {
  return lines.length === 0 ? '' : [`*${name}`, ...lines, 'COMMIT', ''].join('\n');
}
