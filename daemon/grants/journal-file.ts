// The file under the journal of grants: opened again, read and written. Knows nothing of grants.
import { constants, fstatSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pacing } from '../pacing.ts';

/** All of them, or it throws: a full disk takes part of a write and calls that a success. */
export function writeLines(file: number, lines: readonly object[], before = ''): void {
  const bytes = Buffer.from(`${before}${lines.map((line) => `${JSON.stringify(line)}\n`).join('')}`);
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

/** The journal of an earlier daemon, to append to. One that cannot be opened is taken away. */
export function reopened(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    try {
      rmSync(path, { force: true });
    } catch {
      // Told already: nothing can be written there.
    }
    return undefined;
  }
}

/** What it says opens ports: it must come from root, from us, or from whom the folder belongs to, and from nobody who may write to it as well. */
function isTrusted(file: number, folder: string): boolean {
  const stat = fstatSync(file);
  return stat.isFile() && (stat.mode & 0o022) === 0 && [0, process.geteuid?.(), statSync(folder).uid].includes(stat.uid);
}

/** Every line that is JSON, in order, in slices of time; none when the file is not there or not to be trusted. */
export async function* readLines(path: string): AsyncGenerator<unknown, void> {
  const text = await textOf(path);
  const pace = pacing();
  for (let from = 0; from < text.length; ) {
    const newline = text.indexOf('\n', from);
    const end = newline < 0 ? text.length : newline;
    const line = jsonOf(text.slice(from, end));
    from = end + 1;
    if (line !== undefined) yield line;
    const turn = pace();
    if (turn !== undefined) await turn;
  }
}

async function textOf(path: string): Promise<string> {
  let file: FileHandle;
  try {
    // A FIFO put there must not hang the daemon.
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch {
    return '';
  }
  try {
    return isTrusted(file.fd, dirname(path)) ? await file.readFile('utf8') : '';
  } catch {
    return '';
  } finally {
    await file.close();
  }
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined; // A line torn by kill -9; what it would have said was not yet promised to anybody.
  }
}
