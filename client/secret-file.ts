// Reads files that hold secrets, and refuses those that others can read, as ssh does. Says which file and what to do.
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { CommandError } from './command-error.ts';
import { quote } from './quote.ts';
import type { World } from './world.ts';

// Tunable: keys and passphrases are small; a file that is larger was named by mistake (a disk image, a device).
const MAX_BYTES = 64 * 1024;

/** The bytes of a secret file, or undefined when there is none. `what` names it in messages: "key file". */
export function readSecretFile(path: string, what: string, world: Pick<World, 'platform'>): Buffer | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new CommandError(
      code === 'EACCES' || code === 'EPERM' ? 3 : 1,
      'secret-unreadable',
      `cannot read the ${what} ${quote(path)} (${code})`,
    );
  }
  try {
    // The open file is asked, not the path: nobody can swap it in between.
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new CommandError(2, 'secret-refused', `the ${what} ${quote(path)} is not a regular file`);
    if (stat.size > MAX_BYTES) throw new CommandError(2, 'secret-refused', `the ${what} ${quote(path)} is far too large to be one`);
    // Windows keeps rights elsewhere, and its mode bits say nothing.
    if (world.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      throw new CommandError(2, 'secret-exposed', `the ${what} ${quote(path)} can be read by others (mode ${mode}): run chmod 600 on it`);
    }
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
