// Finds what the user keeps about a server in the client's configuration, which need not exist.
import { readFileSync } from 'node:fs';
import { CommandError, usageError } from './command-error.ts';
import type { Profile } from './profile-fields.ts';
import { readProfilesQuickly, withKey } from './quick-profile.ts';
import { nearest, quote } from './quote.ts';

/** What a profile says of a host, at once, and all of it with the key that the server must have, which takes longer. */
export type FoundProfile = {
  readonly said: Readonly<Omit<Profile, 'serverKey'>>;
  /** Fails, as the reading itself does, with the place of what is wrong. */
  readonly whole: () => Promise<Readonly<Profile>>;
};

/** The profile of this name, else the only one for this host, in the file `named`, else in `standard`; empty when there is none. */
export async function findProfile(name: string, named: string | undefined, standard: string): Promise<FoundProfile> {
  const file = named ?? standard;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (named === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return { said: {}, whole: async () => ({}) };
    throw new CommandError(2, 'config-unreadable', `cannot read the configuration ${quote(file)} (${code})`);
  }
  const slowly = async () => await readProfilesFully(text, file, name);
  const profiles = readProfilesQuickly(text);
  if (profiles === undefined) {
    const profile = await slowly();
    return { said: profile, whole: async () => profile };
  }
  const quick = pick(name, profiles, ({ profile }) => profile.host);
  if (quick === undefined) return { said: {}, whole: async () => ({}) };
  return { said: quick.profile, whole: async () => withKey(quick) ?? (await slowly()) };
}

async function readProfilesFully(text: string, file: string, name: string): Promise<Readonly<Profile>> {
  const { parseProfiles } = await import('./profile.ts');
  const { profiles, problems } = parseProfiles(text, file);
  if (problems.length > 0) throw usageError(problems);
  return pick(name, profiles, ({ host }) => host) ?? {};
}

/** By its name, or the only one that is for this host though it has another name: `ssh` may give its ProxyCommand the host's own name (%h). */
function pick<T>(wanted: string, profiles: ReadonlyMap<string, T>, hostOf: (profile: T) => string | undefined): T | undefined {
  const named = profiles.get(wanted);
  if (named !== undefined) return named;
  const found = [...profiles].filter(([, profile]) => hostOf(profile)?.toLowerCase() === wanted.toLowerCase());
  const [first, second] = found;
  if (second === undefined) return first?.[1];
  throw new CommandError(
    2,
    'profile-ambiguous',
    `${found.length} profiles are for the host ${quote(wanted)} (${found.map(([name]) => name).join(', ')}): name one of them (as ssh's ProxyCommand: %n instead of %h)`,
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
