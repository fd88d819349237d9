// How long marks are kept, and how marks of windows that left memory are found again. Age is counted in the daemon's running time, never by the wall clock.
import { decodeRecord, isRecord, type LedgerRecord, markedWindow, RECORD_BYTES, recordAge } from './format.ts';
import type { LedgerFile } from './ledger-file.ts';

/** Fixed by the design: 400 days. */
export const KEPT_MINUTES = 400 * 24 * 60;
/** Tunable: the file is made anew when its oldest record is this old, so at most each 30 days. */
export const RENEWAL_MINUTES = KEPT_MINUTES + 30 * 24 * 60;

/** Marks and bars of the last 400 days are kept, whatever windows they name: a trip to 2099 and back ages nothing (P13). */
export function isExpired(bytes: Buffer, at: number, ageMinutes: number): boolean {
  const age = recordAge(bytes, at);
  return age === undefined || ageMinutes - age > KEPT_MINUTES;
}

/** All marks of these windows, off the event loop. Reads nothing when there are none. */
export async function readWindows(
  files: readonly LedgerFile[],
  windows: ReadonlySet<number>,
): Promise<Extract<LedgerRecord, { kind: 'mark' }>[]> {
  const marks: Extract<LedgerRecord, { kind: 'mark' }>[] = [];
  if (windows.size === 0) return marks;
  for (const file of files) {
    await file.scan(0, file.count, (bytes) => {
      for (let at = 0; at < bytes.length; at += RECORD_BYTES) {
        const window = markedWindow(bytes, at);
        if (window === undefined || !windows.has(window) || !isRecord(bytes, at)) continue;
        const record = decodeRecord(bytes, at);
        if (record?.kind === 'mark') marks.push(record);
      }
    });
  }
  return marks;
}
