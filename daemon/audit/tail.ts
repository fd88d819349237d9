// Where a chain goes on: the last whole line of a file, and what stands behind it (a line that a kill or a power cut left half-written).
import type { FileHandle } from 'node:fs/promises';
import { type Head, readBytes, sha256 } from './chain.ts';

/** What is no line of ours: kept in the file, and named by the line that follows it. Without the line end that may close it. */
export type Damage = { readonly bytes: number; readonly sha256: string };

export type Tail = {
  /** Undefined: no whole line was found. */
  readonly head: Head | undefined;
  readonly damage: Damage | undefined;
  readonly endsLine: boolean;
};

const NEWLINE = 0x0a;
/** Tunable: a whole line has to begin in so much of the end. */
const MOST_BYTES = 4 * 1024 * 1024;
const FIRST_BYTES = 64 * 1024;

/** Reads the end of a file of `size` bytes, which is more than none. */
export async function readTail(handle: FileHandle, size: number): Promise<Tail> {
  for (let take = FIRST_BYTES; ; take *= 4) {
    const length = Math.min(size, take, MOST_BYTES);
    const end = await readRange(handle, size - length, length);
    const tail = tailOf(end, length === size);
    if (tail.head !== undefined || length === size || length === MOST_BYTES) return tail;
  }
}

/** The end of a file of which the first line in `bytes` may be cut off, unless `isWhole`. Pure. */
export function tailOf(bytes: Buffer, isWhole: boolean): Tail {
  const endsLine = bytes.at(-1) === NEWLINE;
  let lineEnd = endsLine ? bytes.length - 1 : bytes.length;
  for (;;) {
    const lineStart = lineEnd === 0 ? 0 : bytes.lastIndexOf(NEWLINE, lineEnd - 1) + 1;
    const isCutOff = lineStart === 0 && !isWhole;
    const read = isCutOff ? undefined : readBytes(bytes.subarray(lineStart, lineEnd));
    if (read?.ok === true) {
      const { n, hash } = read.line;
      return { head: { n, hash }, damage: damageOf(bytes.subarray(lineEnd + 1)), endsLine };
    }
    if (lineStart === 0) return { head: undefined, damage: damageOf(bytes), endsLine };
    lineEnd = lineStart - 1;
  }
}

/** What stands there, or undefined for nothing. */
export function damageOf(bytes: Buffer): Damage | undefined {
  const kept = bytes.at(-1) === NEWLINE ? bytes.subarray(0, -1) : bytes;
  return bytes.length === 0 ? undefined : { bytes: kept.length, sha256: sha256(kept) };
}

/** May be less than asked for when the file is shorter by now. */
export async function readRange(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return buffer.subarray(0, done);
}
