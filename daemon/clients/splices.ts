// Where in the text of a rule file a change goes: offsets found by the YAML parser, never by searching. Pure.
import { isMap, isScalar, isSeq, type Node, type Pair, parseDocument, type YAMLMap, type YAMLSeq } from 'yaml';
import { type Data, readYaml } from '../config/yaml-source.ts';
import { blockLines, type Entry, flowText } from './entry-text.ts';

/** The text from `start` to `end` becomes `insert`. */
export type Splice = { readonly start: number; readonly end: number; readonly insert: string };

export type RuleText = {
  /** Without the byte order mark, which `mark` holds. */
  readonly text: string;
  readonly mark: string;
  readonly eol: '\n' | '\r\n';
  readonly data: Data | undefined;
  /** Undefined: nothing stands in the file, or comments only. */
  readonly root: YAMLMap | undefined;
  readonly section: (name: string) => YAMLSeq | undefined;
};

/** Undefined: this is no rule file that the loader would take. */
export function openText(whole: string): RuleText | undefined {
  const mark = whole.startsWith('\ufeff') ? '\ufeff' : '';
  const text = whole.slice(mark.length);
  const source = readYaml('', Buffer.from(text));
  const document = parseDocument(text, { version: '1.2', schema: 'core', keepSourceTokens: true, stringKeys: true });
  const root = document.contents;
  if (source.problems.length > 0 || (root !== null && !isMap(root) && !(isScalar(root) && root.value === null))) return undefined;
  const map = isMap(root) ? (root as YAMLMap) : undefined;
  const section = (name: string): YAMLSeq | undefined => {
    const value = pairOf(map, name)?.value;
    return isSeq(value) ? (value as YAMLSeq) : undefined;
  };
  return { text, mark, eol: text.includes('\r\n') ? '\r\n' : '\n', data: source.data, root: map, section };
}

/** One more entry at the end of a list of the file; the list itself, if it does not stand there yet. */
export function appended(file: RuleText, name: string, entry: Entry): readonly Splice[] {
  const { text, eol, root } = file;
  const list = file.section(name);
  if (list !== undefined && list.items.length > 0)
    return list.flow === true ? appendedFlow(file, list, entry) : appendedBlock(file, list, entry);
  if (root?.flow === true) {
    const item = `[${flowText(entry, true)}]`;
    if (list !== undefined) return [{ start: startOf(list), end: endOf(list), insert: item }];
    return pairOf(root, name) === undefined ? flowPair(root, `"${name}": ${item}`) : [];
  }
  const indent = root === undefined ? '' : spaces(columnOf(text, startOf(root)));
  const pair = pairOf(root, name);
  if (pair === undefined) return [atLineEnd(file, text.length, `${indent}${name}:${eol}${blockLines(entry, `${indent}  `, eol)}`)];
  const keyEnd = text.indexOf(':', endOf(pair.key as Node)) + 1;
  const lines = atLineEnd(file, list === undefined ? keyEnd : endOf(list), blockLines(entry, `${indent}  `, eol));
  return list === undefined ? [lines] : [{ start: keyEnd, end: endOf(list), insert: '' }, lines];
}

/** The key of the client at `at`, with this value in place of the one that it has. */
export function valueSet(file: RuleText, at: number, key: string, value: string): readonly Splice[] {
  const map = file.section('clients')?.items[at];
  if (!isMap(map)) return [];
  const pair = pairOf(map as YAMLMap, key);
  if (pair !== undefined) {
    const node = pair.value as Node | null;
    return node === null ? [] : [{ start: startOf(node), end: endOf(node), insert: value }];
  }
  if (map.flow === true) return flowPair(map as YAMLMap, `${quotedKeys(file, map as YAMLMap) ? `"${key}"` : key}: ${value}`);
  return [atLineEnd(file, contentEnd(map), `${spaces(columnOf(file.text, startOf(map)))}${key}: ${value}${file.eol}`)];
}

/** Takes out an entry of `clients`. Of the lines of comment right above it, those that belong to it go too: all but the first entry's, which may head the list. */
export function itemRemoved(file: RuleText, at: number): { readonly splices: readonly Splice[]; readonly comments: number } {
  const list = file.section('clients');
  const item = list?.items[at] as Node | undefined;
  if (list === undefined || item === undefined) return { splices: [], comments: 0 };
  if (list.flow === true) return { splices: [flowItem(list, at)], comments: 0 };
  const { text } = file;
  const dash = dashOf(list, at);
  if (dash === undefined) return { splices: [], comments: 0 };
  const indent = columnOf(text, dash);
  const own = withComments(text, dash);
  let start = at > 0 ? own.start : lineStart(text, dash);
  const comments = at > 0 ? own.comments : 0;
  const end = blockEnd(text, item, indent);
  // The blank line that set it apart goes too.
  const above = start > 0 ? lineStart(text, start - 1) : 0;
  const apart = at === list.items.length - 1 ? at > 0 : isBlank(text.slice(end, lineEnd(text, end + 1)));
  if (apart && isBlank(text.slice(above, start))) start = above;
  return { splices: [{ start, end, insert: '' }], comments };
}

function appendedBlock(file: RuleText, list: YAMLSeq, entry: Entry): readonly Splice[] {
  const { text, eol } = file;
  const last = list.items.length - 1;
  const dash = dashOf(list, last);
  const item = list.items[last] as Node;
  if (dash === undefined) return [];
  const indent = columnOf(text, dash);
  // Where entries are set apart by blank lines, so is the new one.
  const above = withComments(text, dash).start;
  const apart = last > 0 && above > 0 && isBlank(text.slice(lineStart(text, above - 1), above));
  return [atLineEnd(file, blockEnd(text, item, indent), `${apart ? eol : ''}${blockLines(entry, spaces(indent), eol)}`)];
}

function appendedFlow(file: RuleText, list: YAMLSeq, entry: Entry): readonly Splice[] {
  const last = list.items.at(-1) as Node;
  const start = startOf(last);
  const ownLine = /^[ \t]*$/.test(file.text.slice(lineStart(file.text, start), start));
  const gap = ownLine ? `${file.eol}${spaces(columnOf(file.text, start))}` : ' ';
  const json = isMap(last) && quotedKeys(file, last as YAMLMap);
  return [{ start: endOf(last), end: endOf(last), insert: `,${gap}${flowText(entry, json)}` }];
}

function flowItem(list: YAMLSeq, at: number): Splice {
  const [before, item, next] = [list.items[at - 1] as Node | undefined, list.items[at] as Node, list.items[at + 1] as Node | undefined];
  if (next !== undefined) return { start: startOf(item), end: startOf(next), insert: '' };
  if (before !== undefined) return { start: endOf(before), end: endOf(item), insert: '' };
  return { start: startOf(list) + 1, end: endOf(list) - 1, insert: '' };
}

function flowPair(map: YAMLMap, pair: string): readonly Splice[] {
  const last = map.items.at(-1);
  if (last === undefined) return [{ start: startOf(map), end: endOf(map), insert: `{ ${pair} }` }];
  const end = endOf((last.value ?? last.key) as Node);
  return [{ start: end, end, insert: `, ${pair}` }];
}

function quotedKeys(file: RuleText, map: YAMLMap): boolean {
  const first = map.items[0]?.key as Node | undefined;
  return first !== undefined && file.text[startOf(first)] === '"';
}

/** Whole lines, behind the line that `offset` ends in. */
function atLineEnd(file: RuleText, offset: number, lines: string): Splice {
  const at = lineEnd(file.text, offset);
  const missing = at > 0 && file.text[at - 1] !== '\n';
  // A file that had no line end at its end gets none.
  return { start: at, end: at, insert: missing ? `${file.eol}${lines.slice(0, -file.eol.length)}` : lines };
}

/** Behind the last line of an entry: its own lines, and those comments below that stand deeper than its dash. */
function blockEnd(text: string, item: Node, indent: number): number {
  let end = lineEnd(text, contentEnd(item));
  for (let at = end; at < text.length; at = lineEnd(text, at + 1)) {
    const depth = commentIndent(text, at);
    if (depth !== undefined && depth > indent) end = lineEnd(text, at + 1);
    else if (depth !== undefined || !isBlank(text.slice(at, lineEnd(text, at + 1)))) break;
  }
  return end;
}

/** Behind the last letter that a node writes; a block scalar's line end is part of it. */
function contentEnd(node: Node): number {
  const items = isMap(node) || isSeq(node) ? node.items : [];
  if ((node as { flow?: boolean }).flow === true || items.length === 0) return endOf(node);
  const last = items.at(-1) as Node | Pair;
  if (!('key' in last)) return contentEnd(last);
  return contentEnd((last.value ?? last.key) as Node);
}

/** How deep a line of comment stands; undefined for other lines. */
function commentIndent(text: string, lineAt: number): number | undefined {
  const match = /^[ \t]*(?=#)/.exec(text.slice(lineAt, lineEnd(text, lineAt + 1)));
  return match?.[0].length;
}

/** Where an entry begins with the lines of comment right above its dash, and how many they are. */
function withComments(text: string, dash: number): { readonly start: number; readonly comments: number } {
  const indent = columnOf(text, dash);
  let start = lineStart(text, dash);
  let comments = 0;
  while (start > 0 && commentIndent(text, lineStart(text, start - 1)) === indent) {
    start = lineStart(text, start - 1);
    comments += 1;
  }
  return { start, comments };
}

/** One line, with nothing on it. */
function isBlank(line: string): boolean {
  return /^[ \t]*\r?\n$/.test(line);
}

function dashOf(list: YAMLSeq, at: number): number | undefined {
  const token = list.srcToken;
  if (token === undefined || token.type !== 'block-seq') return undefined;
  return token.items[at]?.start.find(({ type }) => type === 'seq-item-ind')?.offset;
}

function pairOf(map: YAMLMap | undefined, name: string): Pair | undefined {
  return map?.items.find(({ key }) => isScalar(key) && key.value === name);
}

function startOf(node: Node): number {
  return node.range?.[0] ?? 0;
}

function endOf(node: Node): number {
  return node.range?.[1] ?? 0;
}

function lineStart(text: string, offset: number): number {
  return offset === 0 ? 0 : text.lastIndexOf('\n', offset - 1) + 1;
}

/** Behind the line end of the line that the letter before `offset` stands in. */
function lineEnd(text: string, offset: number): number {
  if (offset > 0 && text[offset - 1] === '\n') return offset;
  const at = text.indexOf('\n', offset);
  return at < 0 ? text.length : at + 1;
}

function columnOf(text: string, offset: number): number {
  return offset - lineStart(text, offset);
}

function spaces(count: number): string {
  return ' '.repeat(count);
}
