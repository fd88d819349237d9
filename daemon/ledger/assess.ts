// Decides what a ledger file that was found is worth: sound, left behind by a crash of the machine, or damaged. Changes nothing.
import { decodeRecord, isRecord, markedWindow, RECORD_BYTES, type Status } from './format.ts';
import type { HeldMarks } from './held-marks.ts';
import type { WindowRange } from './ledger.ts';
import type { LedgerFile } from './ledger-file.ts';

export type Assessment = {
  /**
   * `sound`: every mark that was ever made is there. `unclean`: the machine went down without a word; marks of the windows that were open then may be missing.
   * `corrupt`: marks of any window may be missing.
   */
  readonly verdict: 'sound' | 'unclean' | 'corrupt';
  /** Marks were written to the other place's file when this one was last used. */
  readonly isElsewhere: boolean;
  /** For a message; empty when sound. */
  readonly why: string;
  /** Barred by an earlier start, and still to be barred. */
  readonly bars: readonly WindowRange[];
  /** To be barred unless nothing is missing. */
  readonly exposed: readonly WindowRange[];
  readonly sequence: number;
  readonly ageMinutes: number;
  /** The age at which the oldest record was written. */
  readonly oldestAgeMinutes: number;
  readonly marks: number;
  /** Records that are worth copying or not: up to here they were looked at. */
  readonly records: number;
  readonly damagedRecords: number;
};

/** Reads the whole file. Marks go to `held` whatever the verdict is: one that can be read is never forgotten. */
export async function assessLedger(file: LedgerFile, bootId: Uint8Array, held: HeldMarks): Promise<Assessment> {
  const statuses = file.statuses();
  const status = newest(statuses);
  const sameBoot = status !== undefined && sameBytes(status.bootId, bootId);
  const isWhole = status !== undefined && (sameBoot || status.state === 'clean');
  const storedCount = file.storedCount();
  const records = file.wholeRecords();
  // Records that must be there and intact. After a crash of the machine only what an fsync has covered; else also the last write.
  const due = Math.max(status?.durableRecords ?? 0, isWhole ? (storedCount ?? 0) : 0);

  const bars: WindowRange[] = [];
  let marks = 0;
  let damaged = 0;
  let damagedDue = 0;
  let oldest = status?.ageMinutes ?? 0;
  await file.scan(0, records, (bytes, first) => {
    for (let at = 0, number = first; at < bytes.length; at += RECORD_BYTES, number++) {
      if (!isRecord(bytes, at)) {
        damaged++;
        if (number < due) damagedDue++;
        continue;
      }
      const window = markedWindow(bytes, at);
      if (window !== undefined) {
        marks++;
        held.noteWindow(window);
        if (number > 0 && !held.isHeld(window)) continue;
      }
      const record = decodeRecord(bytes, at);
      if (record?.kind === 'mark') held.add(record);
      if (record?.kind === 'bar') bars.push(record.range);
      if (record !== undefined && record.kind !== 'probe') oldest = Math.min(oldest, record.ageMinutes);
    }
  });

  const fault = faultOf({
    status,
    isWhole,
    hasBothStatuses: statuses.every((one) => one !== undefined),
    storedCount,
    records,
    due,
    damagedDue,
  });
  const verdict = fault !== undefined ? 'corrupt' : isWhole ? 'sound' : 'unclean';
  return {
    verdict,
    isElsewhere: status?.state === 'elsewhere',
    why: fault ?? (verdict === 'unclean' ? 'the machine went down without stopping the daemon' : ''),
    bars,
    exposed: statuses.flatMap((one) => one?.exposed ?? []),
    sequence: status?.sequence ?? 0,
    ageMinutes: status?.ageMinutes ?? 0,
    oldestAgeMinutes: oldest,
    marks,
    records,
    damagedRecords: damaged,
  };
}

type Evidence = {
  readonly status: Status | undefined;
  readonly isWhole: boolean;
  readonly hasBothStatuses: boolean;
  readonly storedCount: number | undefined;
  readonly records: number;
  readonly due: number;
  readonly damagedDue: number;
};

// kill -9 tears nothing that was written whole, so within a boot everything must be in order but the one record that was being written.
// A power cut may tear whatever was not synced: one status, the count, the records behind the last fsync.
function faultOf(evidence: Evidence): string | undefined {
  if (evidence.status === undefined) return 'both copies of its status are damaged';
  if (evidence.isWhole && !evidence.hasBothStatuses) return 'a copy of its status is damaged';
  if (evidence.isWhole && evidence.storedCount === undefined) return 'its number of records is damaged';
  if (evidence.records < evidence.due) return `it was cut: ${evidence.due} records were written, ${evidence.records} are there`;
  if (evidence.damagedDue > 0) return `${evidence.damagedDue} of its records are damaged`;
  return undefined;
}

function newest([one, other]: readonly [Status | undefined, Status | undefined]): Status | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return other.sequence > one.sequence ? other : one;
}

function sameBytes(one: Uint8Array, other: Uint8Array): boolean {
  return Buffer.compare(one, other) === 0;
}
