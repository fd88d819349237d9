// One ledger file: opens, appends, overwrites its status, syncs, reads. Decides nothing about what a damaged one means.
import fs from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import {
  COUNT_AT,
  COUNT_BYTES,
  decodeCount,
  decodeStatus,
  encodeCount,
  encodeHeader,
  encodeRecord,
  encodeStatus,
  HEADER_AT,
  HEADER_BYTES,
  headerFault,
  type LedgerRecord,
  RECORD_BYTES,
  RECORDS_AT,
  SLOT_AT,
  SLOT_BYTES,
  type Status,
} from './format.ts';

const fsync = promisify(fs.fsync);
const read = promisify(fs.read);
const { constants } = fs;

// Tunable: one piece keeps the event loop for half a millisecond, six times that without V8's compiler.
const CHUNK_RECORDS = 512;

export type FoundFile =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string }
  | { readonly kind: 'found'; readonly file: LedgerFile };

/** Opens what stands at `path`. Never follows a symbolic link, never creates; read-only where the disk is. */
export function findLedgerFile(path: string): FoundFile {
  let fd: number;
  let isWritable = true;
  try {
    fd = openExisting(path, constants.O_RDWR);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return { kind: 'absent' };
    if (code !== 'EROFS' && code !== 'EACCES' && code !== 'EPERM') return { kind: 'unusable', why: reasonOf(error) };
    try {
      fd = openExisting(path, constants.O_RDONLY);
      isWritable = false;
    } catch (again) {
      return { kind: 'unusable', why: reasonOf(again) };
    }
  }
  try {
    const stat = fs.fstatSync(fd);
    const fault = stat.isFile() ? headerFault(readAt(fd, HEADER_AT, HEADER_BYTES)) : 'it is not a regular file';
    if (fault === undefined) return { kind: 'found', file: new LedgerFile(path, fd, isWritable) };
    fs.closeSync(fd);
    return { kind: 'unusable', why: fault };
  } catch (error) {
    fs.closeSync(fd);
    return { kind: 'unusable', why: reasonOf(error) };
  }
}

/** A new file with an empty list of records; fails if something stands there. Not yet synced. */
export function createLedgerFile(path: string, status: Status): LedgerFile {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | constants.O_NOFOLLOW;
  const fd = fs.openSync(path, flags, 0o600);
  try {
    fs.fchmodSync(fd, 0o600);
    // root works on behalf of the daemon's user (`init`, a start by hand): the file must stay readable for that user.
    if (process.geteuid?.() === 0) {
      const folder = fs.statSync(dirname(path));
      fs.fchownSync(fd, folder.uid, folder.gid);
    }
    // All pages up to the records are really written: they can be overwritten on a disk that is full.
    const preface = Buffer.alloc(RECORDS_AT);
    encodeHeader().copy(preface, HEADER_AT);
    for (const at of SLOT_AT) encodeStatus(status).copy(preface, at);
    encodeCount(0).copy(preface, COUNT_AT);
    writeAll(fd, preface, 0);
    return new LedgerFile(path, fd, true);
  } catch (error) {
    fs.closeSync(fd);
    fs.rmSync(path, { force: true });
    throw error;
  }
}

export class LedgerFile {
  #path: string;
  readonly isWritable: boolean;
  readonly #fd: number;
  #count: number;
  #newestSlot: 0 | 1 = 0;

  constructor(path: string, fd: number, isWritable: boolean) {
    this.#path = path;
    this.isWritable = isWritable;
    this.#fd = fd;
    this.#count = this.wholeRecords();
    const [one, other] = this.statuses();
    if (other !== undefined && (one === undefined || other.sequence > one.sequence)) this.#newestSlot = 1;
  }

  /** Records in the file as this process counts them; the next one is written behind them. */
  get count(): number {
    return this.#count;
  }

  wholeRecords(): number {
    return Math.max(0, Math.floor((fs.fstatSync(this.#fd).size - RECORDS_AT) / RECORD_BYTES));
  }

  statuses(): readonly [Status | undefined, Status | undefined] {
    return [decodeStatus(readAt(this.#fd, SLOT_AT[0], SLOT_BYTES)), decodeStatus(readAt(this.#fd, SLOT_AT[1], SLOT_BYTES))];
  }

  storedCount(): number | undefined {
    return decodeCount(readAt(this.#fd, COUNT_AT, COUNT_BYTES));
  }

  /** To the page cache: survives kill -9 once it returns. After a failure the next append overwrites the same place. */
  append(record: LedgerRecord): void {
    this.appendBytes(encodeRecord(record), 1);
  }

  appendBytes(bytes: Buffer, records: number): void {
    writeAll(this.#fd, bytes, RECORDS_AT + this.#count * RECORD_BYTES);
    writeAll(this.#fd, encodeCount(this.#count + records), COUNT_AT);
    this.#count += records;
  }

  writeCount(): void {
    writeAll(this.#fd, encodeCount(this.#count), COUNT_AT);
  }

  /** Overwrites the older of the two statuses, so that one of them is whole whatever happens. Needs no new space. */
  writeStatus(status: Status): void {
    const slot = this.#newestSlot === 0 ? 1 : 0;
    writeAll(this.#fd, encodeStatus(status), SLOT_AT[slot]);
    this.#newestSlot = slot;
  }

  /** Off the event loop. */
  async sync(): Promise<void> {
    await fsync(this.#fd);
  }

  /** Hands over the records from `from` to `to` in pieces; `first` is the number of the first record in the piece. */
  async scan(from: number, to: number, visit: (bytes: Buffer, first: number) => void): Promise<void> {
    const chunk = Buffer.allocUnsafe(Math.max(1, Math.min(CHUNK_RECORDS, to - from)) * RECORD_BYTES);
    for (let record = from; record < to; ) {
      const wanted = Math.min(CHUNK_RECORDS, to - record) * RECORD_BYTES;
      const { bytesRead } = await read(this.#fd, chunk, 0, wanted, RECORDS_AT + record * RECORD_BYTES);
      const whole = Math.floor(bytesRead / RECORD_BYTES);
      if (whole === 0) return;
      visit(chunk.subarray(0, whole * RECORD_BYTES), record);
      record += whole;
    }
  }

  /** The same without leaving the event loop, for the few records that came while a copy was made. */
  readNow(from: number, to: number): Buffer {
    return readAt(this.#fd, RECORDS_AT + from * RECORD_BYTES, (to - from) * RECORD_BYTES);
  }

  renameTo(path: string): void {
    fs.renameSync(this.#path, path);
    this.#path = path;
  }

  remove(): void {
    fs.rmSync(this.#path, { force: true });
  }

  close(): void {
    fs.closeSync(this.#fd);
  }
}

/** Makes renames and new names in a folder survive a power cut. */
export async function syncFolder(path: string): Promise<void> {
  const fd = fs.openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await fsync(fd);
  } finally {
    fs.closeSync(fd);
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** `ENOSPC: no space left on device`: the system's words without the path, which the caller names. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message.replace(/, \w+( '.*')?$/s, '') : String(error);
}

function openExisting(path: string, access: number): number {
  // O_NONBLOCK: a FIFO put there must not hang the daemon.
  return fs.openSync(path, access | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

function readAt(fd: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const got = fs.readSync(fd, bytes, done, length - done, at + done);
    if (got === 0) break;
    done += got;
  }
  return bytes.subarray(0, done);
}

function writeAll(fd: number, bytes: Buffer, at: number): void {
  let done = 0;
  while (done < bytes.length) {
    const wrote = fs.writeSync(fd, bytes, done, bytes.length - done, at + done);
    if (wrote === 0) throw Object.assign(new Error('ENOSPC: nothing was written, write'), { code: 'ENOSPC' });
    done += wrote;
  }
}
