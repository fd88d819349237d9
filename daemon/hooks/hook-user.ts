// As whom a hook runs: as the daemon, unless that is root. Then as the user postern, or as nobody: a hook is never root.
import { readFile } from 'node:fs/promises';

export type HookUser = { readonly uid: number; readonly gid: number };

/** Debian's nobody and nogroup, for a host whose list of users has neither. */
const NOBODY: HookUser = { uid: 65_534, gid: 65_534 };

/** Undefined: the daemon's own user. */
export async function hookUser(): Promise<HookUser | undefined> {
  if (process.geteuid?.() !== 0) return undefined;
  const passwd = await readFile('/etc/passwd', 'latin1').catch(() => '');
  for (const name of ['postern', 'nobody']) {
    const found = new RegExp(`^${name}:[^:]*:([1-9]\\d*):([1-9]\\d*):`, 'm').exec(passwd);
    if (found !== null) return { uid: Number(found[1]), gid: Number(found[2]) };
  }
  return NOBODY;
}
