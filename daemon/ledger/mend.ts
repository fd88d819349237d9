// Makes the file at one place whole before the first mark: replaces what is damaged or missing, notes the barred windows, takes over the other place's marks.
import fs from 'node:fs';
import type { Status } from './format.ts';
import type { FoundLedger } from './found.ts';
import type { WindowRange } from './ledger.ts';
import type { LedgerFile } from './ledger-file.ts';
import { isExpired, RENEWAL_MINUTES } from './retention.ts';
import { freeAside, rewriteLedger } from './rewrite.ts';
import { inRange } from './windows.ts';

export type Mend = {
  readonly path: string;
  readonly found: FoundLedger;
  /** The other place's file, if it has marks that this one should have. */
  readonly extra: LedgerFile | undefined;
  readonly bars: readonly WindowRange[];
  readonly ageMinutes: number;
  readonly status: (durableRecords: number) => Status;
};

/** Rejects when the place cannot be written; then nothing was lost. Closes the found file if it was replaced. */
export async function mendLedger(mend: Mend): Promise<LedgerFile> {
  const { found } = mend;
  if (found.kind === 'found' && !found.file.isWritable) throw new Error('it is read-only');
  return found.kind === 'found' && isWorthKeeping(found, mend.ageMinutes) && mend.extra === undefined
    ? complete(found, mend)
    : replace(mend);
}

function isWorthKeeping(found: Extract<FoundLedger, { kind: 'found' }>, ageMinutes: number): boolean {
  const { verdict, damagedRecords, oldestAgeMinutes } = found.assessment;
  return verdict !== 'corrupt' && damagedRecords === 0 && ageMinutes - oldestAgeMinutes <= RENEWAL_MINUTES;
}

async function complete(found: Extract<FoundLedger, { kind: 'found' }>, mend: Mend): Promise<LedgerFile> {
  // After a crash of the machine the stored number of records may run ahead of what the disk has.
  found.file.writeCount();
  for (const range of unknownBars(mend)) found.file.append({ kind: 'bar', range, ageMinutes: mend.ageMinutes });
  await found.file.sync();
  return found.file;
}

async function replace(mend: Mend): Promise<LedgerFile> {
  const { found, path, ageMinutes } = mend;
  const isDamaged = found.kind === 'unusable' || (found.kind === 'found' && found.assessment.verdict === 'corrupt');
  const old = found.kind === 'found' ? found.file : undefined;
  let placed: LedgerFile | undefined;
  await rewriteLedger({
    path,
    sources: () => [old, mend.extra].filter((file) => file !== undefined),
    isKept: (bytes, at) => !isExpired(bytes, at, ageMinutes),
    added: unknownBars(mend).map((range) => ({ kind: 'bar', range, ageMinutes })),
    status: mend.status,
    aside: isDamaged ? freeAside(path) : undefined,
    onPlaced: (file) => {
      placed = file;
    },
  });
  if (placed === undefined) throw new Error(`rewritten, but not placed: ${path}`);
  old?.close();
  return placed;
}

function unknownBars({ found, bars }: Mend): readonly WindowRange[] {
  const known = found.kind === 'found' ? found.assessment.bars : [];
  return bars.filter((range) => !known.some((bar) => inRange(range.first, bar) && inRange(range.last, bar)));
}

/** Gets out of the way what is no ledger file, keeping it. */
export function moveAside(path: string): void {
  try {
    fs.renameSync(path, freeAside(path));
  } catch {
    // It shows when the place is needed: creating the file fails then, and says why.
  }
}
