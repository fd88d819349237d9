// A lock that needs no flock: a symbolic link that names its holder. Robust after kill -9; follows nothing, trusts only /proc.
import fs from 'node:fs';

/** A living process holds this lock. */
export class HeldError extends Error {
  readonly pid: number;
  readonly path: string;

  constructor(pid: number, path: string) {
    super(`held by process ${pid}: ${path}`);
    this.pid = pid;
    this.path = path;
  }
}

export type Held = { readonly release: () => void };

// A link is created whole or not at all, needs no block on a full disk and fails if it exists. Its target is
// `PID:STARTTIME:BOOTID`: pids are reused, but never with the same start time in the same boot.
type Holder = { readonly pid: number; readonly startTime: string; readonly bootId: string };

/** Takes the lock, or throws HeldError, or what the file system says. A dead holder's lock is nobody's. */
export function takeLink(path: string, bootId: string): Held {
  const mine: Holder = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '0', bootId: bootId.trim() };
  place(path, mine);
  return { release: () => release(path, mine) };
}

/** Throws HeldError if somebody living has it. */
export function refuseIfHeld(path: string, bootId: string): void {
  const holder = holderAt(path);
  if (holder === undefined || holder.bootId !== bootId.trim() || !isAlive(holder)) return;
  throw new HeldError(holder.pid, path);
}

function place(path: string, mine: Holder): void {
  const target = format(mine);
  if (linked(target, path)) return;
  refuseIfHeld(path, mine.bootId);
  // Given back this instant: whoever is first has it.
  if (holderAt(path) === undefined && linked(target, path)) return;
  // A dead holder's link: replaced by rename, then read again, so that of several that find it dead at once the last one wins
  // and the others see that they lost.
  refuseIfHeld(path, mine.bootId);
  const own = `${path}.${mine.pid}`;
  fs.rmSync(own, { force: true });
  fs.symlinkSync(target, own);
  refuseIfHeld(path, mine.bootId);
  fs.renameSync(own, path);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
  if (fs.readlinkSync(path) !== target) throw new HeldError(holderAt(path)?.pid ?? 0, path);
}

function linked(target: string, path: string): boolean {
  try {
    fs.symlinkSync(target, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function release(path: string, mine: Holder): void {
  try {
    if (fs.readlinkSync(path) === format(mine)) fs.unlinkSync(path);
  } catch {
    // A link that stays behind names a dead process: the next start replaces it.
  }
}

function holderAt(path: string): Holder | undefined {
  let target: string;
  try {
    target = fs.readlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') fs.rmSync(path, { force: true });
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
    return (error as NodeJS.ErrnoException).code === 'EPERM';
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
