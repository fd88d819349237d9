// Changes the text of one rule file as a person would: what is not changed stays, letter for letter. Pure.
// Each change is checked by reading the result again: it says exactly what was meant, or there is no result.
import { isDeepStrictEqual } from 'node:util';
import { isMap as isDataMap } from '../config/read-fields.ts';
import { type Data, type DataMap, readYaml } from '../config/yaml-source.ts';
import { type Entry, entryData } from './entry-text.ts';
import { appended, itemRemoved, openText, type RuleText, type Splice, valueSet } from './splices.ts';

/** `changed` false: it said so already. `comments`: how many lines of comment went with what was removed. */
export type Edit =
  | { readonly ok: true; readonly text: string; readonly changed: boolean; readonly comments: number }
  | { readonly ok: false; readonly why: string };

type Section = 'clients' | 'allow';

/** Another entry at the end of `clients` or `allow`, in the style of those that stand there. */
export function addEntry(text: string, section: Section, entry: Entry): Edit {
  return change(text, (file) => {
    const list = [...listOf(file.data, section), entryData(entry)];
    return { splices: appended(file, section, entry), data: { ...mapOf(file.data), [section]: list } };
  });
}

/** Sets `enabled` of a client that this file defines. */
export function setEnabled(text: string, name: string, enabled: boolean): Edit {
  return change(text, (file) => {
    const clients = listOf(file.data, 'clients');
    const at = clients.findIndex((item) => isDataMap(item) && item['name'] === name);
    const client = clients[at];
    if (client === undefined || !isDataMap(client)) return undefined;
    if ((client['enabled'] ?? true) === enabled) return { splices: [], data: file.data ?? null };
    const list = clients.with(at, { ...client, enabled });
    return { splices: valueSet(file, at, 'enabled', String(enabled)), data: { ...mapOf(file.data), clients: list } };
  });
}

/** Takes out what `key` (`name` or `ref`) calls `name`, with the comment right above it. */
export function removeClient(text: string, key: 'name' | 'ref', name: string): Edit {
  return change(text, (file) => {
    const clients = listOf(file.data, 'clients');
    const at = clients.findIndex((item) => isDataMap(item) && item[key] === name);
    if (at < 0) return undefined;
    const list = clients.length === 1 ? (emptied(file) ?? null) : clients.toSpliced(at, 1);
    return { ...itemRemoved(file, at), data: { ...mapOf(file.data), clients: list } };
  });
}

type Change = { readonly splices: readonly Splice[]; readonly comments?: number; readonly data: Data };

function change(text: string, plan: (file: RuleText) => Change | undefined): Edit {
  const refused = { ok: false, why: 'it is written in a form that this command cannot change safely: change it with an editor' } as const;
  const file = openText(text);
  if (file === undefined) return refused;
  const planned = plan(file);
  if (planned === undefined) return refused;
  if (planned.splices.length === 0) return { ok: true, text, changed: false, comments: 0 };
  const result = spliced(file.text, planned.splices);
  const read = readYaml('', Buffer.from(result));
  if (read.problems.length > 0 || !isDeepStrictEqual(plain(read.data), plain(planned.data))) return refused;
  return { ok: true, text: `${file.mark}${result}`, changed: true, comments: planned.comments ?? 0 };
}

function spliced(text: string, splices: readonly Splice[]): string {
  let out = text;
  for (const { start, end, insert } of [...splices].sort((a, b) => b.start - a.start))
    out = `${out.slice(0, start)}${insert}${out.slice(end)}`;
  return out;
}

/** A list in brackets that loses its last entry stays as []; one of lines leaves nothing behind its key. */
function emptied(file: RuleText): Data | undefined {
  return file.section('clients')?.flow === true ? [] : undefined;
}

function listOf(data: Data | undefined, section: Section): readonly Data[] {
  const list = isDataMap(data) ? data[section] : undefined;
  return Array.isArray(list) ? list : [];
}

function mapOf(data: Data | undefined): DataMap {
  return isDataMap(data) ? data : {};
}

/** Without prototypes, so that what was read and what was built compare by what they hold. */
function plain(data: Data | undefined): unknown {
  return JSON.parse(JSON.stringify(data ?? null));
}
