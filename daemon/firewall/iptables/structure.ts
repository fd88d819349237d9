// The rules of the gate in the kernel, one family at a time: read, loaded in place of what stood, and taken away again.
import type { Family } from '../../../protocol/address.ts';
import { FirewallError, type GateCounters, type GateLayout } from '../firewall.ts';
import { absent, removeEmpty } from './leftovers.ts';
import type { Names } from './names.ts';
import { REJECT_HOOKS, REJECT_TABLES } from './rejecting.ts';
import { installText, removeText } from './restore-text.ts';
import type { Draft } from './ruleset.ts';
import { countersOf, madeBy, type SavedTable } from './saved.ts';
import { shapeOfTables, shapeOfText } from './shape.ts';
import { readTables } from './tables.ts';
import type { FamilyTools } from './tools.ts';

// Tunable
/** Whoever changes the same tables at the same moment makes our text wrong: it is drafted anew at once. */
const ATTEMPTS = 4;
const WORTH_ANOTHER: readonly string[] = ['REFUSED', 'GATE_MISSING', 'CHANGED_MEANWHILE'];

type Refuse = readonly GateLayout['refuse'][];

export class Structure {
  readonly #names: Names;
  /** What loading the gate made beside it, which is to go with it: the note in the kernel may be flushed by somebody. */
  readonly #made = new Map<Family, ReadonlySet<string>>();

  constructor(names: Names) {
    this.#names = names;
  }

  /** `refuse`: all that the layout may be, as far as we know. mangle comes first. */
  read(tools: FamilyTools, refuse: Refuse): Promise<readonly SavedTable[]> {
    return readTables(tools, this.#names, refuse);
  }

  /** Loads what is drafted (counters go on) in place of what stood. Gives what stands then: exactly what was loaded, or it throws. */
  async load(tools: FamilyTools, draft: Draft, before: readonly SavedTable[]): Promise<readonly SavedTable[]> {
    const { refuse } = draft.layout;
    const made = new Set([...this.#madeBeside(tools, before), ...(await makes(tools, refuse))]);
    this.#made.set(tools.family, made);
    const counters = before[0] === undefined ? draft.counters : countersOf(before[0], this.#names);
    const text = installText({ ...draft, counters, made: [...made] }, before);
    await tools.load(text, 'put up the gate');
    const after = await this.read(tools, [refuse]);
    if (shapeOfTables(after, this.#names) !== shapeOfText(text, this.#names)) throw changedMeanwhile();
    return after;
  }

  /** Loads what is drafted where nothing of it is left. The shortest way to a closed door: one program, and what stands then is not read. */
  async mend(tools: FamilyTools, draft: Draft): Promise<void> {
    const made = new Set([...(this.#made.get(tools.family) ?? []), ...(await makes(tools, draft.layout.refuse))]);
    this.#made.set(tools.family, made);
    await tools.load(installText({ ...draft, made: [...made] }, []), 'put the gate back');
  }

  /** Our rules, and what was made for them. */
  async remove(tools: FamilyTools, refuse: Refuse): Promise<void> {
    const tables = await this.read(tools, refuse);
    const text = removeText(this.#names, tables);
    if (text !== undefined) await tools.load(text, 'remove the gate');
    const dropping = tables.flatMap((table) => table.dropping.map((chain) => `${table.name}/${chain}`));
    const made = [...this.#madeBeside(tools, tables)].filter((place) => !dropping.includes(place));
    if (made.length > 0) await removeEmpty(tools.family, made);
    this.#made.delete(tools.family);
  }

  async counters(tools: FamilyTools): Promise<GateCounters> {
    return countersOf(await tools.read('mangle'), this.#names);
  }

  #madeBeside({ family }: FamilyTools, tables: readonly SavedTable[]): ReadonlySet<string> {
    return new Set([...(this.#made.get(family) ?? []), ...tables.flatMap((table) => madeBy(table, this.#names))]);
  }
}

/** What loading the gate will make there. */
async function makes({ family, variant }: FamilyTools, refuse: GateLayout['refuse']): Promise<readonly string[]> {
  if (variant === 'legacy') return [];
  const rejecting = REJECT_TABLES.flatMap((name) => [name, ...REJECT_HOOKS.map((hook) => `${name}/${hook}`)]);
  return absent(family, ['mangle', 'mangle/PREROUTING', ...(refuse === 'reject' ? rejecting : [])]);
}

/** Again, at once, when what was drafted did not fit any more: somebody flushes the ruleset in a loop, say. */
export async function persistently(work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof FirewallError) || attempt === ATTEMPTS || !WORTH_ANOTHER.includes(error.code)) throw error;
    }
  }
}

function changedMeanwhile(): FirewallError {
  return new FirewallError(
    'CHANGED_MEANWHILE',
    'could not put up the gate: somebody changed the rules at the same moment',
    'look who else loads rules: "nft monitor"',
  );
}
