// Finds a server's Ed25519 keys in the text of a known_hosts file (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"). Opens no files, trusts no
// certificate authority, and never says "keys" for one that the file revokes.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { keyId, type PublicKey } from './identity.ts';
import { KEY_TYPE, parsePublicBase64 } from './openssh-public.ts';

export type HostKeys =
  | { readonly kind: 'keys'; readonly keys: readonly PublicKey[] }
  /** The host stands there, but with no ssh-ed25519 key. */
  | { readonly kind: 'only-other-types'; readonly types: readonly string[] }
  /** Every ssh-ed25519 key of the host is marked `@revoked`. */
  | { readonly kind: 'revoked'; readonly keys: readonly PublicKey[] }
  | { readonly kind: 'none' };

// Fixed by sshd(8).
const SSH_PORT = 22;
const HASHED = /^\|1\|([A-Za-z0-9+/]+=*)\|([A-Za-z0-9+/]+=*)$/;
const KEY_TYPE_NAME = /^[a-z][a-z0-9@.-]{2,63}$/;

type Entry = { readonly marker: '' | '@revoked'; readonly hosts: string; readonly type: string; readonly key: string };

/** Looks up as ssh does: `host` at port 22, `[host]:port` at any other. `host` is a name or an address without brackets. */
export function findHostKeys(text: string, host: string, port: number): HostKeys {
  const name = port === SSH_PORT ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`;
  const entries = text.split('\n').flatMap(entryOf);
  const ours = entries.filter((entry) => entry.type === KEY_TYPE && holdsHost(entry.hosts, name));
  const revoked = uniqueKeys(ours.filter((entry) => entry.marker === '@revoked'));
  const found = uniqueKeys(ours.filter((entry) => entry.marker === ''));
  const keys = found.filter((key) => !revoked.some((bad) => keyId(bad) === keyId(key)));
  if (keys.length > 0) return { kind: 'keys', keys };
  if (revoked.length > 0) return { kind: 'revoked', keys: revoked };
  // Only now are the other lines worth an HMAC each.
  const others = entries.filter((entry) => entry.type !== KEY_TYPE && entry.marker === '' && holdsHost(entry.hosts, name));
  if (others.length > 0) return { kind: 'only-other-types', types: [...new Set(others.map((entry) => entry.type))] };
  return { kind: 'none' };
}

/** One line's entry, or none: comments, junk, and `@cert-authority` lines, which hold no key of a host. */
function entryOf(line: string): readonly Entry[] {
  const fields = line.trim().split(/[ \t]+/);
  const first = fields[0] ?? '';
  if (first === '' || first.startsWith('#')) return [];
  const marked = first.startsWith('@');
  if (marked && first !== '@revoked') return [];
  const [hosts, type, key] = marked ? fields.slice(1) : fields;
  if (hosts === undefined || type === undefined || key === undefined || !KEY_TYPE_NAME.test(type)) return [];
  return [{ marker: marked ? '@revoked' : '', hosts, type, key }];
}

function uniqueKeys(entries: readonly Entry[]): readonly PublicKey[] {
  const keys = new Map<string, PublicKey>();
  for (const entry of entries) {
    const key = parsePublicBase64(entry.key);
    // A line whose key cannot be used is junk, as it is for ssh.
    if (key.ok) keys.set(keyId(key.value), key.value);
  }
  return [...keys.values()];
}

/** Whether a host field names the host: a hashed name alone, or patterns of which one matches and no `!pattern` does. */
function holdsHost(hosts: string, name: string): boolean {
  if (hosts.startsWith('|')) return isHashOf(hosts, name);
  const patterns = hosts.toLowerCase().split(',');
  const matches = (pattern: string) => pattern !== '' && matchesPattern(pattern, name);
  if (patterns.some((pattern) => pattern.startsWith('!') && matches(pattern.slice(1)))) return false;
  return patterns.some((pattern) => !pattern.startsWith('!') && matches(pattern));
}

/** `|1|salt|hash`: HMAC-SHA1 of the name, as ssh-keygen -H writes it. */
function isHashOf(field: string, name: string): boolean {
  const [, salt, hash] = HASHED.exec(field) ?? [];
  if (salt === undefined || hash === undefined) return false;
  const expected = Buffer.from(hash, 'base64');
  const actual = createHmac('sha1', Buffer.from(salt, 'base64')).update(name).digest();
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** A pattern of ssh: `*` is any run of characters, `?` any one; everything else stands for itself. At worst pattern times name in time. */
export function matchesPattern(pattern: string, name: string): boolean {
  let [at, from] = [0, 0];
  let star: { readonly pattern: number; readonly name: number } | undefined;
  while (from < name.length) {
    const letter = pattern[at];
    if (letter === '*') {
      star = { pattern: at, name: from };
      at += 1;
    } else if (letter === '?' || (letter !== undefined && letter === name[from])) {
      at += 1;
      from += 1;
    } else if (star !== undefined) {
      // The last star takes one character more.
      star = { pattern: star.pattern, name: star.name + 1 };
      at = star.pattern + 1;
      from = star.name;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}
