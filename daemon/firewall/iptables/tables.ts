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

/** The same text as long as rules, chains and jumps are the same, and every one of these entries is a rule there. */
export function stateOf(tables: readonly SavedTable[], names: Names, entries: readonly Entry[]): string {
  const present = new Set(tables.flatMap((table) => datedEntries(table, names)).map(entryKey));
  const missing = entries.map(entryKey).filter((key) => !present.has(key));
  return [...tables.map((table) => fingerprint(table, names)), ...missing].join('\n');
}
