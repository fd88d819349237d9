// Finds what the user keeps about a server in the client's configuration, which need not exist.
import { readFileSync } from 'node:fs';
import { CommandError, usageError } from './command-error.ts';
import type { Profile } from './profile-fields.ts';
import { readProfilesQuickly } from './quick-profile.ts';
import { nearest, quote } from './quote.ts';

/** The profile of this name, else the only one for this host, in the file `named`, else in `standard`; empty when there is none. */
export async function findProfile(name: string, named: string | undefined, standard: string): Promise<Readonly<Profile>> {
  const file = named ?? standard;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (named === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return {};
    throw new CommandError(2, 'config-unreadable', `cannot read the configuration ${quote(file)} (${code})`);
  }
  const profiles = readProfilesQuickly(text) ?? (await readProfilesFully(text, file));
  return profiles.get(name) ?? profileOfHost(name, profiles);
}

async function readProfilesFully(text: string, file: string): Promise<ReadonlyMap<string, Readonly<Profile>>> {
  const { parseProfiles } = await import('./profile.ts');
  const { profiles, problems } = parseProfiles(text, file);
  if (problems.length > 0) throw usageError(problems);
  return profiles;
}

/** The profile that is for this host though it has another name: `ssh` may give its ProxyCommand the host's own name (%h). */
function profileOfHost(host: string, profiles: ReadonlyMap<string, Readonly<Profile>>): Readonly<Profile> {
  const found = [...profiles].filter(([, profile]) => profile.host?.toLowerCase() === host.toLowerCase());
  const [first, second] = found;
  if (second === undefined) return first?.[1] ?? {};
  throw new CommandError(
    2,
    'profile-ambiguous',
    `${found.length} profiles are for the host ${quote(host)} (${found.map(([name]) => name).join(', ')}): name one of them (as ssh's ProxyCommand: %n instead of %h)`,
  );
}

/** A name that nobody knows may be a mistyped profile. Only asked for after a failure: the file is read again. */
export async function nearestProfile(name: string, file: string): Promise<string | undefined> {
  const { parseProfiles } = await import('./profile.ts');
  try {
    return nearest(name, [...parseProfiles(readFileSync(file, 'utf8'), file).profiles.keys()]);
  } catch {
    return undefined;
  }
}
