// The lines of an audit log as they come, through every renaming of its file. Ends only when nobody asks for more.
import { type FileHandle, open, stat } from 'node:fs/promises';
import { linesOf, listParts } from './parts.ts';
import { readRange } from './tail.ts';

export type Followed = { readonly at: string; readonly text: string };

// Tunable
const MOST_AT_ONCE = 1024 * 1024;
const TRIES = 10;

/** Every line with a number above `from`. `pause` is waited for whenever there is nothing new. */
export async function* follow(path: string, from: number, pause: () => Promise<unknown>): AsyncGenerator<Followed, void> {
  let last = from;
  let handle: FileHandle | undefined;
  try {
    for (;;) {
      handle = await openIfThere(path);
      if (handle === undefined) {
        await pause();
        continue;
      }
      // What was written into files that were renamed before this one was opened.
      for await (const line of earlier(path, last)) {
        last = line.n;
        yield line;
      }
      for await (const text of linesWhileThere(handle, path, pause)) {
        const n = numberOf(text);
        if (n > 0 && n <= last) continue;
        last = Math.max(last, n);
        yield { at: path, text };
      }
      await handle.close();
      handle = undefined;
    }
  } finally {
    await handle?.close();
  }
}

/** Whole lines of an open file, until another one has its name and this one has been read to its end. */
async function* linesWhileThere(handle: FileHandle, path: string, pause: () => Promise<unknown>): AsyncGenerator<string, void> {
  let position = 0;
  let rest: Buffer = Buffer.alloc(0);
  for (;;) {
    // Looked at before reading: what is written to a file that was renamed meanwhile is read in the next round.
    const isThere = await hasName(handle, path);
    const { size } = await handle.stat();
    if (size < position) {
      position = 0;
      rest = Buffer.alloc(0);
    }
    let isNew = false;
    while (position < size) {
      const chunk = await readRange(handle, position, Math.min(MOST_AT_ONCE, size - position));
      if (chunk.length === 0) break;
      isNew = true;
      position += chunk.length;
      let bytes = Buffer.concat([rest, chunk]);
      for (let end = bytes.indexOf(0x0a); end >= 0; end = bytes.indexOf(0x0a)) {
        yield bytes.toString('utf8', 0, end);
        bytes = bytes.subarray(end + 1);
      }
      rest = bytes;
    }
    if (!isThere && !isNew) return;
    if (isThere) await pause();
  }
}

/** Lines above `from` of the renamed files. They may be renamed or removed in this very moment: then they are listed again. */
async function* earlier(path: string, from: number): AsyncGenerator<Followed & { readonly n: number }, void> {
  let last = from;
  for (let tries = 0; tries < TRIES; tries += 1) {
    try {
      const parts = await listParts(path);
      for (const [at, part] of parts.entries()) {
        const next = parts[at + 1]?.firstN ?? Number.POSITIVE_INFINITY;
        if (part.path === path || part.firstN === undefined || next <= last + 1) continue;
        for await (const { bytes, number, isEnded } of linesOf(part.path)) {
          const text = bytes.toString('utf8');
          const n = numberOf(text);
          if (!isEnded || n <= last) continue;
          last = n;
          yield { at: `${part.path}:${number}`, text, n };
        }
      }
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}

async function hasName(handle: FileHandle, path: string): Promise<boolean> {
  const [mine, named] = [await handle.stat(), await stat(path).catch(() => undefined)];
  return named?.ino === mine.ino && named.dev === mine.dev;
}

function numberOf(text: string): number {
  return Number(/^\{"n":(\d{1,15}),/.exec(text)?.[1] ?? 0);
}
