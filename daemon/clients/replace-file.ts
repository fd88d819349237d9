// Puts new content in the place of a file, whole or not at all, with the owner and the mode that it had. Never through a link.
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CommandError } from '../command-error.ts';
import { readTrustedFile } from '../config/trusted-file.ts';
import { MAX_FILE_BYTES } from '../rules/rule-files.ts';
import { safeText } from '../safe-text.ts';

/** Begins with a dot: the loader leaves such files alone. */
const LEFT_BEHIND = /^\..+\.[0-9a-f]{12}\.edit$/;

/** Throws a CommandError if somebody else changed the file since `before` was read: an editor's save is never undone. */
export async function replaceFile(path: string, before: Uint8Array, after: Uint8Array): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.edit`);
  const old = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { uid, gid, mode } = await old.stat();
    const file = await open(temporary, 'wx', 0o600);
    try {
      await file.writeFile(after);
      await file.chown(uid, gid);
      await file.chmod(mode & 0o7777);
      await file.sync();
    } finally {
      await file.close();
    }
    const now = await readTrustedFile(path, 'config', MAX_FILE_BYTES);
    if (!now.ok || !now.bytes.equals(before)) {
      throw new CommandError(1, `${safeText(path, 300)} was changed by somebody else just now, so it was left as it is: run this again`);
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } finally {
    await old.close();
    await rm(temporary, { force: true });
  }
}

/** Takes away what an edit left that was killed half-way. Only while nobody else edits. */
export async function sweepLeftBehind(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (LEFT_BEHIND.test(name)) await rm(join(folder, name), { force: true });
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY);
  await folder.sync().finally(() => folder.close());
}
