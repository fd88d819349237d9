// Keeps two daemons from one ledger, wherever its files could be written.
import { join } from 'node:path';
import { type Held, HeldError, refuseIfHeld, takeLink } from '../held-link.ts';

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

export type LedgerLock = Held;

/**
 * Takes the lock in the first folder that can be written. A holder in any of the folders counts: it may have locked the state folder before the disk was full.
 * Throws LedgerHeldError. Undefined: no folder can be written, and nobody is known to hold it.
 */
export function takeLock(folders: readonly string[], bootId: string): LedgerLock | undefined {
  try {
    for (const folder of folders) refuseIfHeld(join(folder, NAME), bootId);
    for (const folder of folders) {
      try {
        return takeLink(join(folder, NAME), bootId);
      } catch (error) {
        if (error instanceof HeldError) throw error;
      }
    }
    return undefined;
  } catch (error) {
    throw error instanceof HeldError ? new LedgerHeldError(error.pid, error.path) : error;
  }
}
