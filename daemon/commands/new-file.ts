// Makes files that did not exist, whole or not at all: a kill half-way leaves nothing broken, and nothing is ever overwritten.
import { randomBytes } from 'node:crypto';
import { chown, link, lstat, mkdir, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

export type Owner = { readonly uid: number; readonly gid: number };

/** False: something stands there already, and was left as it is. */
export async function makeFile(path: string, content: string, mode: number, owner: Owner): Promise<boolean> {
  if (await exists(path)) return false;
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.new`);
  const file = await open(temporary, 'wx', 0o600);
  try {
    await file.writeFile(content);
    await file.chown(owner.uid, owner.gid);
    await file.chmod(mode);
    await file.sync();
    // Unlike a rename, a link never replaces what somebody else made meanwhile.
    await link(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await file.close();
    await rm(temporary, { force: true });
  }
}

/** False: the folder stands already. Folders above it are made with the same mode. */
export async function makeFolder(path: string, mode: number, owner: Owner): Promise<boolean> {
  const first = await mkdir(path, { recursive: true, mode });
  if (first === undefined) return false;
  await chown(path, owner.uid, owner.gid);
  return true;
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
