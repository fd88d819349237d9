// Keeps two daemons from one ledger: a symbolic link that names its holder. Robust after kill -9; follows nothing, trusts only /proc.
import fs from 'node:fs';
import { join } from 'node:path';
import { codeOf } from './ledger-file.ts';

const NAME = 'ledger.lock';

/** Another process holds this ledger. The message says who. */
export class LedgerHeldError extends Error {
  readonly code = 'LEDGER_HELD';
  readonly pid: number;

  constructor(pid: number, path: string) {
    super(
      `the replay ledger is in use by process ${pid} (${path}): stop that daemon first, or give this one a state folder and a server key of its own`,
    );
    this.pid = pid;
  }
}

export type LedgerLock = { readonly release: () => void };

// A link is created whole or not at all, needs no block on a full disk and fails if it exists. Its target is
// `PID:STARTTIME:BOOTID`: pids are reused, but never with the same start time in the same boot.
type Holder = { readonly pid: number; readonly startTime: string; readonly bootId: string };

/**
 * Takes the lock in the first folder that can be written. A holder in any of the folders counts: it may have locked the state folder before the disk was full.
 * Throws LedgerHeldError. Undefined: no folder can be written, and nobody is known to hold it.
 */
export function takeLock(folders: readonly string[], bootId: string): LedgerLock | undefined {
  const mine: Holder = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '0', bootId: bootId.trim() };
  for (const folder of folders) refuseIfHeld(join(folder, NAME), mine.bootId);
  for (const folder of folders) {
    const path = join(folder, NAME);
    try {
      place(path, mine);
      return { release: () => release(path, mine) };
    } catch (error) {
      if (error instanceof LedgerHeldError) throw error;
    }
  }
  return undefined;
}

function place(path: string, mine: Holder): void {
  const target = format(mine);
  try {
    fs.symlinkSync(target, path);
    return;
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error;
  }
  // A dead holder's link: replaced by rename, then read again, so that of several that find it dead at once the last one wins
  // and the others see that they lost.
  refuseIfHeld(path, mine.bootId);
  const own = `${path}.${mine.pid}`;
  fs.rmSync(own, { force: true });
  fs.symlinkSync(target, own);
  refuseIfHeld(path, mine.bootId);
  fs.renameSync(own, path);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  if (fs.readlinkSync(path) !== target) throw new LedgerHeldError(holderAt(path)?.pid ?? 0, path);
}

function release(path: string, mine: Holder): void {
  try {
    if (fs.readlinkSync(path) === format(mine)) fs.unlinkSync(path);
  } catch {
    // A link that stays behind names a dead process: the next start replaces it.
  }
}

function refuseIfHeld(path: string, bootId: string): void {
  const holder = holderAt(path);
  if (holder === undefined || holder.bootId !== bootId || !isAlive(holder)) return;
  throw new LedgerHeldError(holder.pid, path);
}

function holderAt(path: string): Holder | undefined {
  let target: string;
  try {
    target = fs.readlinkSync(path);
  } catch (error) {
    if (codeOf(error) === 'EINVAL') fs.rmSync(path, { force: true });
    return undefined;
  }
  const [, pid, startTime, bootId] = /^(\d{1,10}):(\d+):(\S+)$/.exec(target) ?? [];
  return pid === undefined || startTime === undefined || bootId === undefined ? undefined : { pid: Number(pid), startTime, bootId };
}

function isAlive(holder: Holder): boolean {
  const startTime = startTimeOf(holder.pid);
  if (startTime !== undefined) return startTime === holder.startTime;
  // /proc may hide other users' processes; a signal that is refused shows that there is one.
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === 'EPERM';
  }
}

/** Field 22 of /proc/PID/stat, counted behind the name, which may hold spaces and parentheses. A zombie holds nothing any more. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : fields[19];
  } catch {
    return undefined;
  }
}

function format(holder: Holder): string {
  return `${holder.pid}:${holder.startTime}:${holder.bootId}`;
}
