// The files that one audit log consists of: the one that is written, and those that were renamed by us or by logrotate, compressed or not.
// Which follows which is told by the numbers of their lines, never by their names or times.
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, extname, join } from 'node:path';
import { createGunzip } from 'node:zlib';
import { type ChainedLine, readBytes } from './chain.ts';

/** One file. `firstN`: the number of its first whole line; undefined when there is none. */
export type Part = { readonly path: string; readonly firstN: number | undefined; readonly firstTime: string | undefined };

export type RawLine = { readonly bytes: Buffer; readonly number: number; readonly isEnded: boolean };

/** Tunable: nobody writes longer lines; what is longer is told in pieces of this length. */
const MOST_LINE_BYTES = 1024 * 1024;
/** Tunable: in so many lines at the start one has to be whole. */
const LINES_TRIED = 100;

/** Every part beside `path` (and `path` itself, if it is there), in the order of their lines. Those without a whole line come first. */
export async function listParts(path: string): Promise<readonly Part[]> {
  const folder = dirname(path);
  const names = (await readdir(folder)).filter((name) => belongsTo(name, basename(path)));
  // One that is renamed in this very moment is not there any more under its name.
  const paths = await Promise.all(names.map(async (name) => ((await identityOf(join(folder, name))) === '' ? [] : [join(folder, name)])));
  return sortParts(paths.flat());
}

/** Changes whenever a file of the log is renamed, begun or removed: what was read in between may have gaps that are not there. */
export async function arrangement(path: string): Promise<string> {
  const folder = dirname(path);
  const names = (await readdir(folder)).filter((name) => belongsTo(name, basename(path))).sort();
  const identities = await Promise.all(names.map(async (name) => `${name} ${await identityOf(join(folder, name))}`));
  return identities.join('\n');
}

async function identityOf(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found === undefined ? '' : `${found.dev}:${found.ino}`;
}

/** Files in the order of their lines. */
export async function sortParts(paths: readonly string[]): Promise<readonly Part[]> {
  const parts: Part[] = [];
  for (const path of paths) {
    const first = await firstLine(path);
    const firstTime = first === undefined ? undefined : /,"time":"([^"]*)"/.exec(first.text)?.[1];
    parts.push({ path, firstN: first?.n, firstTime });
  }
  return parts.sort((a, b) => (a.firstN ?? 0) - (b.firstN ?? 0) || (a.path < b.path ? -1 : 1));
}

/** `audit.jsonl`, `audit.jsonl.1`, `audit.jsonl-20261121.gz`, and `audit-20261121.jsonl` as logrotate's `extension` makes it. */
export function belongsTo(name: string, base: string): boolean {
  if (name === base || /^[.-]\d[\dTZ.-]*(\.gz)?$/.test(name.startsWith(base) ? name.slice(base.length) : '')) return true;
  const extension = extname(base);
  const stem = base.slice(0, base.length - extension.length);
  const middle = name.replace(/\.gz$/, '');
  return (
    extension !== '' &&
    middle.startsWith(`${stem}-`) &&
    middle.endsWith(extension) &&
    /^-\d[\d-]*$/.test(middle.slice(stem.length, -extension.length))
  );
}

/** The lines of a file, unpacked if it is compressed. Ends without an error at a file that has become shorter. */
export async function* linesOf(path: string): AsyncGenerator<RawLine, void> {
  const file = createReadStream(path);
  const stream = path.endsWith('.gz') ? file.pipe(createGunzip()) : file;
  // An error of the file is not handed on by pipe().
  if (stream !== file) file.on('error', (error) => stream.destroy(error));
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
        number += 1;
        yield { bytes: bytes.subarray(0, end), number, isEnded: true };
        bytes = bytes.subarray(end + 1);
      }
      if (bytes.length > MOST_LINE_BYTES) {
        number += 1;
        yield { bytes, number, isEnded: true };
        bytes = Buffer.alloc(0);
      }
      rest = Buffer.from(bytes);
    }
  } finally {
    file.destroy();
  }
  if (rest.length > 0) yield { bytes: rest, number: number + 1, isEnded: false };
}

/** The last whole line of a part, whatever its size: for one that is compressed and cannot be read from its end. */
export async function lastLine(path: string): Promise<ChainedLine | undefined> {
  let last: ChainedLine | undefined;
  for await (const { bytes } of linesOf(path)) {
    const read = readBytes(bytes);
    if (read.ok) last = read.line;
  }
  return last;
}

async function firstLine(path: string): Promise<ChainedLine | undefined> {
  for await (const { bytes, number } of linesOf(path)) {
    const read = readBytes(bytes);
    if (read.ok) return read.line;
    if (number >= LINES_TRIED) return undefined;
  }
  return undefined;
}
