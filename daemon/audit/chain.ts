// One line of the audit log and how it hangs on the line before. Pure: bytes in, bytes out.
//
//   {"n":17,"time":"…","event":"granted",…,"prev":"<hash of line 16>","hash":"<SHA-256 of this line up to here>"}
//
// What is hashed is the line as it stands, so that `sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum` checks one without any program of ours.
import { isUtf8 } from 'node:buffer';
import { createHash } from 'node:crypto';

/** The end of a chain: the number of its last line, and that line's hash. */
export type Head = { readonly n: number; readonly hash: string };

/** What the first line of all hangs on. */
export const GENESIS: Head = { n: 0, hash: '0'.repeat(64) };

/** A line whose own hash is right. `text` is without the line end. */
export type ChainedLine = Head & { readonly prev: string; readonly text: string };

export type ReadLine = { readonly ok: true; readonly line: ChainedLine } | { readonly ok: false; readonly why: 'no-line' | 'hash' };

const LINE = /^(\{"n":([1-9][0-9]{0,14}),.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}$/s;

/** `entry` is the text of a JSON object that is not empty. Gives back the line that follows `head`, without a line end. */
export function linkLine(head: Head, entry: string): ChainedLine {
  const n = head.n + 1;
  const hashed = `{"n":${n},${entry.slice(1, -1)},"prev":"${head.hash}"`;
  const hash = sha256(hashed);
  return { n, hash, prev: head.hash, text: `${hashed},"hash":"${hash}"}` };
}

/** Reads one line and checks its own hash; whether it belongs behind the line before is for whoever has both. */
export function readLine(text: string): ReadLine {
  const [, hashed, n, prev, hash] = LINE.exec(text) ?? [];
  if (hashed === undefined || n === undefined || prev === undefined || hash === undefined) return { ok: false, why: 'no-line' };
  if (sha256(hashed) !== hash) return { ok: false, why: 'hash' };
  return { ok: true, line: { n: Number(n), hash, prev, text } };
}

/** The same of a line's bytes. What is no UTF-8 reads as U+FFFD, which may be what stood there: it is not what was hashed. */
export function readBytes(bytes: Buffer): ReadLine {
  const read = readLine(bytes.toString('utf8'));
  return read.ok && !isUtf8(bytes) ? { ok: false, why: 'hash' } : read;
}

/** Hexadecimal, as sha256sum prints it. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}
