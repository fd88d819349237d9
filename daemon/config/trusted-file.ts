// Reads files that decide who gets in: opened once, judged by what was opened (never by path again), then read from the same descriptor.
// It must not follow a link in the last place, wait on a FIFO, or read more than it was told to (P35).
import { constants } from 'node:fs';
import { lstat, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { safeText } from '../safe-text.ts';

/**
 * `config`: owner root or the daemon's user, writable by the owner alone.
 * `secret`: that, and readable by the owner alone. What systemd laid into $CREDENTIALS_DIRECTORY is taken as it is: systemd
 * shows an access list for the service user as group bits.
 * `foreign`: a file that its user writes (authorized_keys): any owner, but nobody else may be able to write it.
 */
export type FileTrust = 'config' | 'secret' | 'foreign';

export type FileRead =
  | { readonly ok: true; readonly bytes: Buffer }
  | { readonly ok: false; readonly code: string; readonly why: string; readonly cure: string };

/** Reads a whole regular file of at most `maxBytes`. */
export async function readTrustedFile(path: string, trust: FileTrust, maxBytes: number): Promise<FileRead> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => error,
  );
  if (file instanceof Error) return openFailure(path, trust, file);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) return refused('not-regular', `${name(path)} is not a regular file`, 'put a plain file there');
    const complaint = await judge(path, trust, stat);
    if (complaint !== undefined) return complaint;
    if (stat.size > maxBytes) return tooLarge(path, maxBytes);
    const bytes = Buffer.alloc(maxBytes + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, null);
      length += bytesRead;
      if (bytesRead === 0) break;
      if (length > maxBytes) return tooLarge(path, maxBytes);
    }
    return { ok: true, bytes: Buffer.from(bytes.subarray(0, length)) };
  } catch (error) {
    return openFailure(path, trust, error as NodeJS.ErrnoException);
  } finally {
    await file.close();
  }
}

/** Users that may own files which decide: root, whoever runs this, and the daemon's own user if the host has it. */
export async function trustedOwners(): Promise<ReadonlySet<number>> {
  const daemon = await daemonUser();
  return new Set([0, process.geteuid?.() ?? 0, ...(daemon === undefined ? [] : [daemon])]);
}

/** The number of the user that the daemon's unit runs as, if the host has it. */
async function daemonUser(): Promise<number | undefined> {
  const passwd = await readFile('/etc/passwd', 'latin1').catch(() => '');
  const uid = /^postern:[^:]*:(\d+):/m.exec(passwd)?.[1];
  return uid === undefined ? undefined : Number(uid);
}

/** Whether this is the daemon's user, which no sudo can make another: then what it reads has to change. `check` by root reads as that user too. */
export async function readsAsDaemon(): Promise<boolean> {
  return process.geteuid?.() === (await daemonUser());
}

/** What lets the daemon's user into a folder. */
export function folderCure(folder: string): string {
  return `the daemon runs as the user postern: run: chgrp postern ${name(folder)} && chmod g+rx ${name(folder)}`;
}

/** What lets the reader in: at the file, or at the folder that closes the way to it. */
async function accessCure(path: string, trust: FileTrust): Promise<string> {
  if (!(await readsAsDaemon())) return 'give its reader access, or run this as root';
  const closed = await closedFolder(path);
  if (closed !== undefined) return folderCure(closed);
  const change = trust === 'secret' ? `chown postern ${name(path)}` : `chgrp postern ${name(path)} && chmod g+r ${name(path)}`;
  return `the daemon runs as the user postern: run: ${change}`;
}

type Owned = { readonly uid: number; readonly mode: number };

async function judge(path: string, trust: FileTrust, stat: Owned): Promise<FileRead | undefined> {
  const credentials = process.env['CREDENTIALS_DIRECTORY'];
  if (trust === 'secret' && credentials !== undefined && credentials !== '' && dirname(path) === credentials) return undefined;
  if (trust !== 'foreign' && !(await trustedOwners()).has(stat.uid)) {
    return refused('owner', `${name(path)} belongs to user ${stat.uid}, not to root or the daemon's user`, `run: chown root ${name(path)}`);
  }
  if (trust === 'secret' && (stat.mode & 0o077) !== 0) {
    return refused('readable', `others can read the secret in ${name(path)} (mode ${octal(stat.mode)})`, `run: chmod 600 ${name(path)}`);
  }
  if ((stat.mode & 0o022) !== 0) {
    return refused('writable', `others can write ${name(path)} (mode ${octal(stat.mode)})`, `run: chmod go-w ${name(path)}`);
  }
  return undefined;
}

async function openFailure(path: string, trust: FileTrust, error: NodeJS.ErrnoException): Promise<FileRead> {
  const code = error.code ?? 'unknown';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return refused(code, `there is no file ${name(path)}`, 'make it, or correct the path');
    case 'ELOOP':
      return refused(code, `${name(path)} is a symbolic link`, 'put the file itself there, or name its target');
    case 'EACCES':
    case 'EPERM':
      return refused(code, `no permission to read ${name(path)}`, await accessCure(path, trust));
    case 'ENXIO':
      return refused(code, `${name(path)} is not a regular file`, 'put a plain file there');
    default:
      return refused(code, `cannot read ${name(path)} (${code})`, 'see the system log');
  }
}

/** The uppermost folder through which this user cannot pass. */
async function closedFolder(path: string): Promise<string | undefined> {
  const folder = dirname(path);
  if (folder === path) return undefined;
  const above = await closedFolder(folder);
  if (above !== undefined) return above;
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => error);
  return found instanceof Error && found.code === 'EACCES' ? folder : undefined;
}

function tooLarge(path: string, maxBytes: number): FileRead {
  return refused('too-large', `${name(path)} is larger than ${maxBytes / 1024} KiB`, 'split it, or name the right file');
}

function refused(code: string, why: string, cure: string): FileRead {
  return { ok: false, code, why, cure };
}

function name(path: string): string {
  return safeText(path, 300);
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
