// Decides which public key the server must have: the option's, the profile's, else the one that ssh knows for this host. Guesses nothing.
import { readFileSync } from 'node:fs';
import type { PublicKey } from '../protocol/identity.ts';
import { findHostKeys } from '../protocol/known-hosts.ts';
import { parsePublicLine } from '../protocol/openssh.ts';
import { CommandError } from './command-error.ts';
import { quote } from './quote.ts';

export type ServerKey = { readonly publicKey: PublicKey; readonly origin: 'option' | 'profile' | 'known_hosts' };

/** Reads `--server-key`: a line, or a file that holds one. */
export function serverKeyFromOption(text: string): ServerKey {
  const line = text.includes(' ') || /^ssh-|^ecdsa-|^sk-/.test(text) ? text : firstLine(text);
  const key = parsePublicLine(line);
  if (!key.ok) throw new CommandError(2, 'server-key-refused', `--server-key: ${key.why}`);
  return { publicKey: key.value.publicKey, origin: 'option' };
}

function firstLine(path: string): string {
  let content: string;
  try {
    content = readFileSync(path, 'utf8');
  } catch {
    throw new CommandError(
      2,
      'server-key-refused',
      `--server-key ${quote(path)} is neither a line "ssh-ed25519 AAAA…" nor a file that can be read`,
    );
  }
  const lines = content.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('#'));
  if (lines.length !== 1)
    throw new CommandError(
      2,
      'server-key-refused',
      `--server-key ${quote(path)}: expected one line "ssh-ed25519 AAAA…", found ${lines.length}`,
    );
  return lines[0] ?? '';
}

/** Where known_hosts may have the host: under which name, at which ports (`[name]:port` where it is not 22), in which files. */
export type KnownAs = { readonly name: string; readonly ports: readonly number[]; readonly files: readonly string[] };

/** The key that ssh has seen for this host. The first file that knows it decides, and in it the first port. */
export function serverKeyFromKnownHosts(host: string, { name, ports, files }: KnownAs): ServerKey {
  const bare = /^\[.*\]$/.test(name) ? name.slice(1, -1) : name;
  let otherTypes: readonly string[] = [];
  for (const file of files) {
    const text = textOf(file);
    for (const port of text === undefined ? [] : new Set(ports)) {
      const found = findHostKeys(text ?? '', bare, port);
      if (found.kind === 'revoked')
        throw new CommandError(
          1,
          'server-key-revoked',
          `${quote(file)} marks the key of ${quote(host)} as revoked: ask the server's administrator for the new one`,
        );
      if (found.kind === 'only-other-types') otherTypes = found.types;
      if (found.kind !== 'keys') continue;
      const [publicKey, ...more] = found.keys;
      if (publicKey !== undefined && more.length === 0) return { publicKey, origin: 'known_hosts' };
      throw new CommandError(
        2,
        'server-key-ambiguous',
        `${quote(file)} holds ${found.keys.length} ssh-ed25519 keys for ${quote(host)}: give the right one with --server-key`,
      );
    }
  }
  throw unknownServerKey(host, otherTypes);
}

function unknownServerKey(host: string, otherTypes: readonly string[]): CommandError {
  const why = otherTypes.length > 0 ? ` (known_hosts holds only ${quote(otherTypes.join(', '))} for it)` : '';
  return new CommandError(
    2,
    'server-key-unknown',
    `the server key of ${quote(host)} is not known${why}: give it with --server-key "ssh-ed25519 AAAA…" (the line in the server's /etc/postern/host_ed25519.pub), or store the invitation that its administrator sends: knock add postern1:…`,
  );
}

/** Absent files are normal; unreadable ones hold nothing that could be trusted. */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
