// Reads the tables that the gate stands in, and says in one text how they stand.
import type { GateLayout } from '../firewall.ts';
import { type Entry, entryKey } from './entries.ts';
import type { Names } from './names.ts';
import { REJECT_TABLES } from './rejecting.ts';
import { datedEntries, fingerprint, type SavedTable } from './saved.ts';
import type { FamilyTools } from './tools.ts';

/** mangle first; the two others where the gate rejects, or may have rejected (`refuse`: as far as we know). */
export async function readTables(
  tools: FamilyTools,
  names: Names,
  refuse: readonly GateLayout['refuse'][],
): Promise<readonly SavedTable[]> {
  const mangle = await tools.read('mangle');
  const rejected = mangle.rules.some(({ chain, text }) => chain === names.chain('REFUSE') && text.includes('-j MARK'));
  // Reading a table makes it, in iptables-legacy: not where nobody asked for it.
  if (!rejected && !refuse.includes('reject')) return [mangle];
  return [mangle, ...(await Promise.all(REJECT_TABLES.map((name) => tools.read(name))))];
}

/** The same text as long as rules, chains and jumps are the same, and these entries are the rules of entries there, all of them and no other. */
export function stateOf(tables: readonly SavedTable[], names: Names, entries: readonly Entry[]): string {
  const present = new Set(tables.flatMap((table) => datedEntries(table, names)).map(entryKey));
  const wanted = new Set(entries.map(entryKey));
  const missing = [...wanted].filter((key) => !present.has(key));
  const foreign = [...present].filter((key) => !wanted.has(key));
  return [...tables.map((table) => fingerprint(table, names)), ...missing, ...foreign].join('\n');
}
