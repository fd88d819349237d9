// The file under the journal of grants: opened again, read and written. Knows nothing of grants.
import { closeSync, constants, fstatSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

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

/** Every line that is JSON, in order; none when the file is not there or not to be trusted. */
export function readLines(path: string): readonly unknown[] {
  let text: string;
  try {
    // A FIFO put there must not hang the daemon.
    const file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!isTrusted(file, dirname(path))) return [];
      text = readFileSync(file, 'utf8');
    } finally {
      closeSync(file);
    }
  } catch {
    return [];
  }
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as unknown];
    } catch {
      return []; // A line torn by kill -9; what it would have said was not yet promised to anybody.
    }
  });
}
