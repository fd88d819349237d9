// Decides whether a program may be run as a hook: executable, and nobody but root and the daemon's user can change what it does.
// Runs nothing, and trusts no answer of its own for long: it is asked at load and again before each run.
import { access, constants, realpath, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { trustedOwners } from '../config/trusted-file.ts';
import { safeText } from '../safe-text.ts';

export type Untrusted = { readonly why: string; readonly cure: string };

const STICKY = 0o1000;

/** Undefined: it may be run. `path` is absolute; links on the way are followed, and what they lead to is judged. */
export async function judgeProgram(path: string): Promise<Untrusted | undefined> {
  const shown = safeText(path, 300);
  try {
    const owners = await trustedOwners();
    const real = await realpath(path);
    const { uid, mode, isFile } = await statOf(real);
    if (!isFile) return { why: `${shown} is not a regular file`, cure: 'name a program' };
    if (!owners.has(uid))
      return { why: `${shown} belongs to user ${uid}, not to root or the daemon's user`, cure: `run: chown root ${shown}` };
    if ((mode & 0o022) !== 0) return { why: `others can write ${shown} (mode ${octal(mode)})`, cure: `run: chmod go-w ${shown}` };
    if ((mode & 0o111) === 0 || !(await isExecutable(real))) return { why: `${shown} is not executable`, cure: `run: chmod a+rx ${shown}` };
    // Both ways to it: the folders of the name that stands in the rule, and of what it leads to.
    for (const folder of new Set([...foldersOf(path), ...foldersOf(real)])) {
      const about = await statOf(folder);
      const name = safeText(folder, 300);
      if (!owners.has(about.uid))
        return {
          why: `the folder ${name} on the way to ${shown} belongs to user ${about.uid}`,
          cure: 'keep hooks where only root can write',
        };
      // In a sticky folder like /tmp nobody can put another file in the place of ours.
      if ((about.mode & 0o022) !== 0 && (about.mode & STICKY) === 0)
        return {
          why: `others can write the folder ${name} on the way to ${shown} (mode ${octal(about.mode)})`,
          cure: `run: chmod go-w ${name}, or keep hooks where only root can write`,
        };
    }
    return undefined;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    if (code === 'ENOENT' || code === 'ENOTDIR') return { why: `there is no program ${shown}`, cure: 'correct the path, or install it' };
    if (code === 'EACCES') return { why: `no permission to reach ${shown}`, cure: "give the daemon's user access to its folder" };
    return { why: `cannot look at ${shown} (${code})`, cure: 'see the system log' };
  }
}

async function statOf(path: string): Promise<{ readonly uid: number; readonly mode: number; readonly isFile: boolean }> {
  const found = await stat(path);
  return { uid: found.uid, mode: found.mode, isFile: found.isFile() };
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

function foldersOf(path: string): readonly string[] {
  const folder = dirname(path);
  return folder === path ? [] : [folder, ...foldersOf(folder)];
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
