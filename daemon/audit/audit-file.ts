// The file that the audit log is written to: opened so that the chain goes on, looked at before each write, renamed when it is full.
// Everything happens off the event loop. It holds no entries: what could not be written is the caller's to keep.
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readlink, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { UnixMs } from '../../protocol/brand.ts';
import type { AuditSettings } from '../config/config.ts';
import { lockFile } from '../netlink/file-lock.ts';
import { GENESIS, type Head } from './chain.ts';
import type { BeginReason, LogEvent } from './entries.ts';
import { lastLine, listParts } from './parts.ts';
import { damageOf, readRange, readTail } from './tail.ts';

const { O_RDWR, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;
/** Members of the daemon's group may read it: they may command the daemon anyway. */
const MODE = 0o640;

export type AuditFile = {
  readonly handle: FileHandle;
  readonly ino: number;
  readonly dev: number;
  /** As far as we wrote it. */
  readonly size: number;
  /** What the next line hangs on. */
  readonly head: Head;
  /** To be written before anything else. */
  readonly preamble: readonly LogEvent[];
  /** The last line was left without an end. */
  readonly needsLineEnd: boolean;
};

/** Somebody did with the file what nobody should. */
export type Tell = (trouble: string) => void;

/** Opens the file for a daemon that starts: the chain goes on where this or a renamed file ends. */
export async function openAuditFile(path: string): Promise<AuditFile> {
  const { handle, size, ...identity } = await openFor(path);
  try {
    if (size === 0) {
      const { head, ...begin } = await beforeAnEmptyFile(path);
      return { handle, ...identity, size, head, preamble: [{ event: 'begin', ...begin }], needsLineEnd: false };
    }
    const { head, damage, endsLine } = await readTail(handle, size);
    const damaged: readonly LogEvent[] = damage === undefined ? [] : [{ event: 'damaged', ...damage }];
    const begin: readonly LogEvent[] = head === undefined ? [{ event: 'begin', previousFile: undefined, why: 'unreadable' }] : [];
    return { handle, ...identity, size, head: head ?? GENESIS, preamble: [...begin, ...damaged], needsLineEnd: !endsLine };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** The file to write to now: the same, or another one if it was renamed or is full. `file` is closed then. */
export async function currentFile(file: AuditFile, settings: AuditSettings, bytes: number, now: UnixMs, tell: Tell): Promise<AuditFile> {
  const here = await stat(settings.file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (here === undefined || here.ino !== file.ino || here.dev !== file.dev) return follow(file, settings.file, 'moved');
  if (here.size !== file.size) return disturbed(file, here.size, settings.file, tell);
  if (file.size === 0 || file.size + bytes <= settings.maxBytes) return file;
  const stamp = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '');
  try {
    await rename(settings.file, `${settings.file}.${stamp}-${file.head.n}`);
  } catch (error) {
    // A file that grows on is better than lines that are lost.
    tell(`the audit log is larger than max_size and cannot be renamed (${(error as NodeJS.ErrnoException).code ?? 'error'}): it grows on`);
    return file;
  }
  const next = await follow(file, settings.file, 'size');
  await removeOldest(settings).catch((error: NodeJS.ErrnoException) =>
    tell(`an old file of the audit log cannot be removed (${error.code ?? error.message})`),
  );
  return next;
}

/** Writes all of it or throws; then the file is as it was, unless even that fails (the next look finds out). */
export async function append(file: AuditFile, bytes: Buffer, head: Head): Promise<AuditFile> {
  const { handle } = file;
  const whole = file.needsLineEnd ? Buffer.concat([Buffer.from('\n'), bytes]) : bytes;
  let done = 0;
  try {
    while (done < whole.length) done += (await handle.write(whole, done)).bytesWritten;
  } catch (error) {
    if (done > 0) await handle.truncate(file.size).catch(() => undefined);
    throw error;
  }
  return { ...file, size: file.size + whole.length, head, preamble: [], needsLineEnd: false };
}

async function openFor(path: string): Promise<Pick<AuditFile, 'handle' | 'ino' | 'dev' | 'size'>> {
  await mkdir(dirname(path), { recursive: true, mode: 0o750 });
  const handle = await create(path);
  try {
    const found = await handle.stat();
    // By a second name root, who may start a daemon by hand, would write to somebody else's file.
    if (found.nlink > 1) throw new Error('it has a second name (a hard link)');
    if (!found.isFile()) throw new Error('it is not a regular file');
    if (!lockFile(handle.fd)) throw new Error('another process writes it: give this posternd a log.audit of its own');
    const { ino, dev, size } = found;
    return { handle, ino, dev, size };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function create(path: string): Promise<FileHandle> {
  // Neither a link is followed nor a FIFO waited for.
  const flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK;
  try {
    const made = await open(path, flags | O_CREAT | O_EXCL, MODE);
    // The umask of a service takes the group's bit. A file that stood there keeps the mode that somebody gave it.
    try {
      await made.chmod(MODE);
      // root works on behalf of the daemon's user: a start by hand must not keep the service from going on.
      if (process.geteuid?.() === 0) {
        const { uid, gid } = await stat(dirname(path));
        await made.chown(uid, gid);
      }
    } catch (error) {
      await made.close();
      throw error;
    }
    return made;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return open(path, flags);
  }
}

/** The file is somewhere else now: where, /proc knows. */
async function follow(file: AuditFile, path: string, why: BeginReason): Promise<AuditFile> {
  const link = await readlink(`/proc/self/fd/${file.handle.fd}`).catch(() => '');
  const previousFile = link === '' || link.endsWith(' (deleted)') ? undefined : basename(link);
  const next = await openFor(path);
  await file.handle.close();
  if (next.size === 0) return { ...next, head: file.head, preamble: [{ event: 'begin', previousFile, why }], needsLineEnd: false };
  // Somebody put a file with content there: it stays, and our chain begins behind it.
  const content = await readRange(next.handle, 0, next.size);
  const damage = damageOf(content);
  const damaged: readonly LogEvent[] = damage === undefined ? [] : [{ event: 'damaged', ...damage }];
  const needsLineEnd = content.at(-1) !== 0x0a;
  return { ...next, head: file.head, preamble: [{ event: 'begin', previousFile, why }, ...damaged], needsLineEnd };
}

/** Our file, but not as we left it. */
async function disturbed(file: AuditFile, size: number, path: string, tell: Tell): Promise<AuditFile> {
  if (size < file.size) {
    tell(
      `somebody cut ${path} from ${file.size} to ${size} bytes: lines may be lost. If that was logrotate, remove "copytruncate" from its configuration; renaming is noticed`,
    );
    const last = size === 0 ? Buffer.from('\n') : await readRange(file.handle, size - 1, 1);
    const previousFile = undefined;
    return {
      ...file,
      size,
      preamble: [...file.preamble, { event: 'begin', previousFile, why: 'cut' }],
      needsLineEnd: last.at(-1) !== 0x0a,
    };
  }
  const foreign = await readRange(file.handle, file.size, size - file.size);
  const damage = damageOf(foreign);
  tell(`somebody else wrote ${size - file.size} bytes into ${path}: they stay, and the log goes on behind them`);
  const damaged: readonly LogEvent[] = damage === undefined ? [] : [{ event: 'damaged', ...damage }];
  return { ...file, size, preamble: [...file.preamble, ...damaged], needsLineEnd: foreign.at(-1) !== 0x0a };
}

type Begin = { readonly head: Head; readonly previousFile: string | undefined; readonly why: BeginReason };

/** The file was renamed while no daemon ran, or this is the first of all. */
async function beforeAnEmptyFile(path: string): Promise<Begin> {
  const parts = (await listParts(path)).filter((part) => part.path !== path);
  const last = parts.at(-1);
  if (last === undefined) return { head: GENESIS, previousFile: undefined, why: 'first' };
  const line = await lastLine(last.path);
  if (line === undefined) return { head: GENESIS, previousFile: basename(last.path), why: 'unreadable' };
  return { head: { n: line.n, hash: line.hash }, previousFile: basename(last.path), why: 'moved' };
}

async function removeOldest({ file, keep }: AuditSettings): Promise<void> {
  const prefix = `${basename(file)}.`;
  const ours = (await readdir(dirname(file)))
    .map((name) => ({ name, n: name.startsWith(prefix) ? /^\d{8}T\d{6}Z-(\d+)$/.exec(name.slice(prefix.length))?.[1] : undefined }))
    .filter(({ n }) => n !== undefined)
    .sort((a, b) => Number(b.n) - Number(a.n));
  for (const { name } of ours.slice(keep)) await unlink(join(dirname(file), name));
}
