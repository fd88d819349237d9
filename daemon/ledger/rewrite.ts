// Makes a ledger file anew beside the old one and puts it in its place in one step: whenever it is interrupted, one whole file stands there.
import fs from 'node:fs';
import { dirname } from 'node:path';
import { isRecord, type LedgerRecord, RECORD_BYTES, type Status } from './format.ts';
import { codeOf, createLedgerFile, type LedgerFile, syncFolder } from './ledger-file.ts';

export type Rewrite = {
  readonly path: string;
  /** Asked at the beginning and again at the end: one may have come in between. Their damaged records are left out. */
  readonly sources: () => readonly LedgerFile[];
  readonly isKept: (bytes: Buffer, at: number) => boolean;
  readonly added: readonly LedgerRecord[];
  /** Asked twice, each time for one with a higher sequence. */
  readonly status: (durableRecords: number) => Status;
  /** The old file stays under this name. */
  readonly aside: string | undefined;
  /** Called in the same breath as the rename: from here on marks belong into the new file. */
  readonly onPlaced: (file: LedgerFile) => void;
};

/** Marks may go on being appended to the sources meanwhile; what came late is copied in the same breath as the rename. */
export async function rewriteLedger(rewrite: Rewrite): Promise<void> {
  const temporary = `${rewrite.path}.new`;
  fs.rmSync(temporary, { force: true });
  const file = createLedgerFile(temporary, rewrite.status(0));
  try {
    const copied = new Map<LedgerFile, number>();
    for (const source of rewrite.sources()) {
      const until = source.count;
      await source.scan(0, until, (bytes) => copyKept(file, bytes, rewrite.isKept));
      copied.set(source, until);
    }
    for (const record of rewrite.added) file.append(record);
    await file.sync();
    const durable = file.count;
    for (const source of rewrite.sources()) copyKept(file, source.readNow(copied.get(source) ?? 0, source.count), rewrite.isKept);
    file.writeStatus(rewrite.status(durable));
    if (rewrite.aside !== undefined) keepAside(rewrite.path, rewrite.aside);
    file.renameTo(rewrite.path);
    rewrite.onPlaced(file);
  } catch (error) {
    file.close();
    fs.rmSync(temporary, { force: true });
    throw error;
  }
  // The file is in its place whether this succeeds or not; a disk that fails here fails at the next fsync of the file too, and that is looked at.
  await syncFolder(dirname(rewrite.path)).catch(() => undefined);
}

/** `ledger.corrupt-1` or the first number that is free. */
export function freeAside(path: string): string {
  for (let number = 1; ; number++) {
    const name = `${path}.corrupt-${number}`;
    if (fs.lstatSync(name, { throwIfNoEntry: false }) === undefined) return name;
  }
}

function copyKept(file: LedgerFile, bytes: Buffer, isKept: (bytes: Buffer, at: number) => boolean): void {
  const kept = Buffer.allocUnsafe(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; at += RECORD_BYTES) {
    if (isRecord(bytes, at) && isKept(bytes, at)) length += bytes.copy(kept, length, at, at + RECORD_BYTES);
  }
  if (length > 0) file.appendBytes(kept.subarray(0, length), length / RECORD_BYTES);
}

// A hard link, so that the name `ledger` is never without a file; what cannot be linked (a folder, another's file) is moved.
function keepAside(path: string, aside: string): void {
  try {
    fs.linkSync(path, aside);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    fs.renameSync(path, aside);
  }
}
