// Reads the client's configuration, strictly: an unknown key or a wrong value is reported with its place, all of them at once.
// Loaded only when quick-profile.ts cannot say: the YAML parser costs more time than a knock.
import { isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, type YAMLMap } from 'yaml';
import { FIELDS, PROFILE_NAME, type Profile } from './profile-fields.ts';
import { nearest, quote } from './quote.ts';
import { deepLine } from './yaml-depth.ts';

export type Profiles = { readonly profiles: ReadonlyMap<string, Readonly<Profile>>; readonly problems: readonly string[] };

/** Reads the text of `file`, which is named in problems only. */
export function parseProfiles(source: string, file: string): Profiles {
  const lines = new LineCounter();
  const problems: string[] = [];
  const at = (offset: number | undefined, why: string) => {
    const { line, col } = lines.linePos(offset ?? 0);
    problems.push(`${quotePath(file)}:${line}:${col}: ${why}`);
  };
  const deep = deepLine(source);
  if (deep !== undefined) {
    return {
      profiles: new Map(),
      problems: [`${quotePath(file)}:${deep}:1: brackets or lists are nested too deep: a profile is keys and values`],
    };
  }
  const document = parseDocument(source, { lineCounter: lines, version: '1.2', uniqueKeys: true, prettyErrors: false, stringKeys: true });
  for (const error of document.errors) at(error.pos[0], firstSentence(error.message));
  const profiles = new Map<string, Profile>();
  const empty = document.contents === null || (isScalar(document.contents) && document.contents.value === null);
  if (problems.length > 0 || empty) return { profiles, problems };
  if (!isMap(document.contents)) {
    at(offsetOf(document.contents), 'expected "profiles:" and below it one entry for each server');
    return { profiles, problems };
  }
  for (const { key, value } of document.contents.items) {
    if (keyText(key) !== 'profiles') at(offsetOf(key), unknownKey(keyText(key), ['profiles']));
    else if (isMap(value)) readProfiles(value, profiles, at);
    else if (!(isScalar(value) && value.value === null)) at(offsetOf(value ?? key), '"profiles" must hold one entry for each server');
  }
  return { profiles, problems };
}

function readProfiles(map: YAMLMap, profiles: Map<string, Profile>, at: (offset: number | undefined, why: string) => void): void {
  for (const { key, value } of map.items) {
    const name = keyText(key);
    if (!PROFILE_NAME.test(name)) at(offsetOf(key), `not a profile name: ${quote(name)} (letters, digits, "_", "." and "-", at most 64)`);
    if (!isMap(value)) {
      at(offsetOf(value) ?? offsetOf(key), `the profile ${quote(name)} must hold keys such as "host: web1.example.org"`);
      continue;
    }
    const profile: Profile = {};
    for (const { key: fieldKey, value: fieldValue } of value.items) {
      const fieldName = keyText(fieldKey);
      const field = Object.hasOwn(FIELDS, fieldName) ? FIELDS[fieldName] : undefined;
      if (field === undefined) {
        at(offsetOf(fieldKey), unknownKey(fieldName, Object.keys(FIELDS)));
        continue;
      }
      const why = field(plain(fieldValue), profile);
      if (why !== undefined) at(offsetOf(fieldValue) ?? offsetOf(fieldKey), `${fieldName}: ${why}`);
    }
    profiles.set(name, profile);
  }
}

/** The value that a node stands for; aliases and tags have no place in this file. */
function plain(node: unknown): unknown {
  if (isScalar(node)) return node.value;
  if (isSeq(node)) return node.items.map(plain);
  if (isMap(node)) return Object.fromEntries(node.items.map(({ key, value }) => [keyText(key), plain(value)]));
  return undefined;
}

function keyText(node: unknown): string {
  return isScalar(node) ? String(node.value) : '';
}

function offsetOf(node: unknown): number | undefined {
  return (node as Node | null | undefined)?.range?.[0];
}

function unknownKey(name: string, allowed: readonly string[]): string {
  const meant = nearest(name, allowed);
  return `unknown key ${quote(name)}${meant === undefined ? ` (known: ${allowed.join(', ')})` : `: did you mean "${meant}"?`}`;
}

function firstSentence(message: string): string {
  // Without the text that the parser repeats: the place tells it.
  return quote((message.split('\n', 1)[0] ?? '').replace(/: ".*$/s, ''))
    .slice(1, -1)
    .replaceAll('\\"', '"');
}

function quotePath(path: string): string {
  return quote(path).slice(1, -1);
}
