// Keeps descriptors that a native module opened from the programs that we start: a hook with a raw socket could read and forge every datagram.
import { readdirSync } from 'node:fs';
import { KernelError, libc } from './libc.ts';

// From linux/fcntl.h.
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const LAST_STANDARD_STREAM = 2;

/** Whatever is open here but the standard streams, nobody inherits. Node itself sees to its own. */
export function closeAllOnExec(): void {
  for (const name of readdirSync('/proc/self/fd')) {
    const file = Number(name);
    if (file <= LAST_STANDARD_STREAM || libc().fcntl(file, F_SETFD, FD_CLOEXEC) === 0) continue;
    // The one that the list itself was read from is closed by now.
    const error = new KernelError(libc().errno(), 'fcntl');
    if (error.code !== 'EBADF') throw error;
  }
}
