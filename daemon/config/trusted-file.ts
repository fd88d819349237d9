// Reads files that decide who gets in: opened once, judged by what was opened (never by path again), then read from the same descriptor.
// It must not follow a link in the last place, wait on a FIFO, or read more than it was told to (P35).
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
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
  if (file instanceof Error) return openFailure(path, file);
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
    return openFailure(path, error as NodeJS.ErrnoException);
  } finally {
    await file.close();
  }
}

/** Users that may own files which decide: root, whoever runs this, and the daemon's own user if the host has it. */
export async function trustedOwners(): Promise<ReadonlySet<number>> {
  const passwd = await readFile('/etc/passwd', 'latin1').catch(() => '');
  const daemon = /^postern:[^:]*:(\d+):/m.exec(passwd)?.[1];
  return new Set([0, process.geteuid?.() ?? 0, ...(daemon === undefined ? [] : [Number(daemon)])]);
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

function openFailure(path: string, error: NodeJS.ErrnoException): FileRead {
  const code = error.code ?? 'unknown';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return refused(code, `there is no file ${name(path)}`, 'make it, or correct the path');
    case 'ELOOP':
      return refused(code, `${name(path)} is a symbolic link`, 'put the file itself there, or name its target');
    case 'EACCES':
    case 'EPERM':
      return refused(code, `no permission to read ${name(path)}`, 'give its reader access, or run this as root');
    case 'ENXIO':
      return refused(code, `${name(path)} is not a regular file`, 'put a plain file there');
    default:
      return refused(code, `cannot read ${name(path)} (${code})`, 'see the system log');
  }
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
