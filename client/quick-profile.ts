// Reads the plain form of the client's configuration, as `knock add` writes it, without the YAML parser, whose loading costs as much as the
// rest of a knock. Gives undefined for anything that is not plain or not right: profile.ts then has the word. Must never differ from it.
import { parsePublicLine } from '../protocol/openssh.ts';
import { FIELDS, PROFILE_NAME, type Profile } from './profile-fields.ts';

/**
 * A profile whose server key is still a line of the right form: whether it is a sound key takes node's cryptography, which costs more than all the rest
 * and is asked only about the profile that is used.
 */
export type QuickProfile = { readonly profile: Readonly<Omit<Profile, 'serverKey'>>; readonly serverLine: string | undefined };

/** The whole profile, or undefined when its key is not sound: profile.ts then says where. */
export function withKey({ profile, serverLine }: QuickProfile): Readonly<Profile> | undefined {
  if (serverLine === undefined) return profile;
  const line = parsePublicLine(serverLine);
  return line.ok ? { ...profile, serverKey: line.value.publicKey } : undefined;
}

// Nothing else can change what a line means: no tab, no carriage return, no other script.
const ASCII = /^[\n -~]*$/;
const LINE = /^( *)([A-Za-z_][A-Za-z0-9_./-]*):(?: +(.*))?$/;
const NOTHING = /^ *(?:#.*)?$/;
// A scalar without quotes that is text (or a whole number) under each of YAML's rules.
const PLAIN = /^(?:[A-Za-z0-9_/]|~\/)[A-Za-z0-9_./+=@:~ -]*$/;
const ITEM = /^[A-Za-z][A-Za-z0-9_./-]*$/;
const WHOLE = /^(?:0|[1-9][0-9]{0,8})$/;
const OTHER_TYPE = /^(?:true|false|null)$/i;
// 4 + 11 + 4 + 32 bytes in base64. Anything else that may stand there is left to the other reader.
const SERVER_LINE = /^ssh-ed25519 [A-Za-z0-9+/]{68}(?: .*)?$/;
const OFFER_FIELD = /(?:ports: \[([^\]]*)\]|(once|default): (true|false))(?:, *|$)/y;

/** The profiles of a file's text, if each of its lines is plain and right. */
export function readProfilesQuickly(source: string): ReadonlyMap<string, QuickProfile> | undefined {
  if (!ASCII.test(source)) return undefined;
  const lines: Line[] = [];
  for (const text of source.split('\n')) {
    if (NOTHING.test(text)) continue;
    const line = readLine(text);
    if (line === undefined) return undefined;
    lines.push(line);
  }
  const [top, ...rest] = lines;
  if (top === undefined || top.indent !== 0 || top.key !== 'profiles' || top.value !== undefined) return undefined;
  const profiles = new Map<string, QuickProfile>();
  const entries = split(rest, 0);
  for (const { line, below } of entries ?? []) {
    const fields = split(below, line.indent);
    if (line.value !== undefined || fields === undefined || fields.length === 0) return undefined;
    if (!PROFILE_NAME.test(line.key) || profiles.has(line.key)) return undefined;
    const profile = readProfile(fields);
    if (profile === undefined) return undefined;
    profiles.set(line.key, profile);
  }
  return entries === undefined ? undefined : profiles;
}

type Line = { readonly indent: number; readonly key: string; readonly value: string | undefined };
type Entry = { readonly line: Line; readonly below: readonly Line[] };

function readLine(text: string): Line | undefined {
  const [, indent = '', key = '', value] = LINE.exec(text) ?? [];
  return key === '' || OTHER_TYPE.test(key) ? undefined : { indent: indent.length, key, value };
}

/** Lines of one depth, each with the deeper ones that follow it; undefined when the first of them is not the shallowest. */
function split(lines: readonly Line[], above: number): readonly Entry[] | undefined {
  const indent = lines[0]?.indent ?? above + 1;
  const entries: { line: Line; below: Line[] }[] = [];
  for (const line of lines) {
    if (line.indent < indent || line.indent <= above) return undefined;
    if (line.indent === indent) entries.push({ line, below: [] });
    else entries.at(-1)?.below.push(line);
  }
  return entries;
}

function readProfile(fields: readonly Entry[]): QuickProfile | undefined {
  const profile: Profile = {};
  let serverLine: string | undefined;
  const seen = new Set<string>();
  for (const { line, below } of fields) {
    const { key, value, indent } = line;
    if (seen.has(key)) return undefined;
    seen.add(key);
    const field = Object.hasOwn(FIELDS, key) ? FIELDS[key] : undefined;
    const found = key === 'offers' && value === undefined ? readOffers(below, indent) : below.length === 0 ? readValue(value) : undefined;
    if (field === undefined || found === undefined) return undefined;
    if (key === 'server_key') {
      if (typeof found !== 'string' || !SERVER_LINE.test(found)) return undefined;
      serverLine = found;
    } else if (field(found, profile) !== undefined) return undefined;
  }
  return { profile, serverLine };
}

function readValue(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  if (text.startsWith('[') && text.endsWith(']')) return readItems(text.slice(1, -1));
  if (!PLAIN.test(text) || OTHER_TYPE.test(text) || / $|: |:$/.test(text)) return undefined;
  if (WHOLE.test(text)) return Number(text);
  // What could be a number of another kind.
  return /^[0-9]/.test(text) && !Number.isNaN(Number(text)) ? undefined : text;
}

function readItems(text: string): readonly string[] | undefined {
  if (text.trim() === '') return [];
  const items = text.split(',').map((item) => item.replace(/^ +| +$/g, ''));
  return items.every((item) => ITEM.test(item) && !OTHER_TYPE.test(item)) ? items : undefined;
}

function readOffers(lines: readonly Line[], above: number): Readonly<Record<string, unknown>> | undefined {
  const entries = split(lines, above);
  if (entries === undefined || entries.length === 0) return undefined;
  const offers = new Map<string, unknown>();
  for (const { line, below } of entries) {
    const offer = readOffer(line.value);
    if (offer === undefined || below.length > 0 || offers.has(line.key)) return undefined;
    offers.set(line.key, offer);
  }
  return Object.fromEntries(offers);
}

/** `{ ports: [tcp/8443], once: true }`; an entry without a value is as good as an empty one. */
function readOffer(text: string | undefined): Readonly<Record<string, unknown>> | null | undefined {
  if (text === undefined) return null;
  const inner = /^\{ *(.*?) *\}$/.exec(text)?.[1];
  if (inner === undefined) return undefined;
  const found = new Map<string, unknown>();
  OFFER_FIELD.lastIndex = 0;
  while (OFFER_FIELD.lastIndex < inner.length) {
    const match = OFFER_FIELD.exec(inner);
    if (match === null) return undefined;
    const [, ports, flag = 'ports', truth] = match;
    const value = ports === undefined ? truth === 'true' : readItems(ports);
    if (value === undefined || found.has(flag)) return undefined;
    found.set(flag, value);
  }
  return Object.fromEntries(found);
}
