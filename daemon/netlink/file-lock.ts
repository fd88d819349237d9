// A lock on an open file that ends with the process, whatever kills it (flock(2)). Never waits.
import { errnoName, libc, NativeMissingError } from './libc.ts';

// From the kernel's headers (linux/fcntl.h).
const LOCK_EX = 2;
const LOCK_NB = 4;

/** False when another process has it. A file system that knows no locks, or a host without native code, is taken as it is. */
export function lockFile(fd: number): boolean {
  try {
    const { flock, errno } = libc();
    return flock(fd, LOCK_EX | LOCK_NB) === 0 || errnoName(errno()) !== 'EAGAIN';
  } catch (error) {
    if (error instanceof NativeMissingError) return true;
    throw error;
  }
}
