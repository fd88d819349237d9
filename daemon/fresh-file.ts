// Files that are made in the daemon's own folders, often by root on the daemon's behalf (`gate up`, `try`, a start by hand). That user could lay
// anything there: nothing that stands is ever followed or written to. And it must be able to read what root leaves. Knows nothing of contents.
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fchownSync, openSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** A new, empty file in the place of whatever stands there, mode 0600, to be appended to (and read). It belongs to whom its folder belongs. */
export function createFresh(path: string): number {
  rmSync(path, { force: true });
  const { O_CREAT, O_EXCL, O_RDWR, O_APPEND, O_NOFOLLOW } = constants;
  const file = openSync(path, O_CREAT | O_EXCL | O_RDWR | O_APPEND | O_NOFOLLOW, 0o600);
  if (process.geteuid?.() !== 0) return file;
  try {
    const { uid, gid } = statSync(dirname(path));
    fchownSync(file, uid, gid);
    return file;
  } catch (error) {
    closeSync(file);
    throw error;
  }
}

/** Takes the place of what stands there in one step: a reader sees the old text or the new one. */
export function replaceFile(path: string, text: string): void {
  const next = `${path}.${randomBytes(6).toString('hex')}.new`;
  try {
    const file = createFresh(next);
    try {
      const bytes = Buffer.from(text);
      // A full disk takes part of a write and calls that a success.
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
    } finally {
      closeSync(file);
    }
    renameSync(next, path);
  } catch (error) {
    rmSync(next, { force: true });
    throw error;
  }
}
