// Live grants on disk, so that a restart keeps them. The kernel's timeouts stay the authority on when each ends.
// A line is written after the kernel opened and before the kernel shuts: a crash in between can lose a grant, never revive one.
// It belongs into the runtime folder: grants end with the boot, and a full or read-only disk must not revive a revoked one.
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { MonotonicMs } from '../clock.ts';
import type { Grant } from './grant-book.ts';
import { type CloseMark, closeOf, grantOf, Header, Line, lineOf, lineOfClose } from './grant-lines.ts';

const FILE = 'grants.jsonl';

export type Journaled = { readonly grants: readonly Grant[]; readonly closes: readonly CloseMark[] };
/** `over` ended by their time since the last line was written. */
export type Found = Journaled & { readonly over: readonly Grant[] };

/** Reads what an earlier run of the same boot left. Another boot, no file, or a damaged line: the rest is not there. */
export function readGrantJournal(folder: string, bootId: string, now: MonotonicMs): Found {
  const grants = new Map<string, Grant>();
  const closes: CloseMark[] = [];
  const lines = readLines(join(folder, FILE));
  const header = Header.safeParse(lines[0]);
  if (!header.success || header.data.boot !== bootId) return { grants: [], closes, over: [] };
  for (const raw of lines.slice(1)) {
    const line = Line.safeParse(raw);
    if (!line.success) continue;
    if ('drop' in line.data) grants.delete(line.data.drop);
    else if ('close' in line.data) closes.push(closeOf(line.data));
    else {
      const grant = grantOf(line.data);
      if (grant !== undefined) grants.set(grant.id, grant);
    }
  }
  const all = [...grants.values()];
  return { grants: all.filter((grant) => grant.deadlineMs > now), closes, over: all.filter((grant) => grant.deadlineMs <= now) };
}

/** The open journal. A write that fails is told to `onTrouble` once; the grants themselves are not touched by it. */
export class GrantJournal {
  readonly #folder: string;
  readonly #bootId: string;
  readonly #onTrouble: (why: string) => void;
  #file: number | undefined;
  #healthy = true;
  /** A line may stand there half: the next one must not be glued to it. */
  #torn = false;
  #lines = 0;

  /** Writes a fresh journal that holds just what lives now, beside the old one, and takes its place. */
  constructor(folder: string, bootId: string, content: Journaled, onTrouble: (why: string) => void) {
    this.#folder = folder;
    this.#bootId = bootId;
    this.#onTrouble = onTrouble;
    // Where no new one can be written, what ends from now on must not be revived by the old one either.
    if (!this.rewrite(content)) this.#file = reopened(join(folder, FILE));
  }

  rewrite(content: Journaled): boolean {
    return this.#guard(() => {
      const path = join(this.#folder, FILE);
      const next = `${path}.new`;
      rmSync(next, { force: true });
      const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_APPEND | constants.O_NOFOLLOW;
      const file = openSync(next, flags, 0o600);
      const lines = [{ version: 1, boot: this.#bootId }, ...content.closes.map(lineOfClose), ...content.grants.map(lineOf)];
      try {
        writeLines(file, lines);
        renameSync(next, path);
      } catch (error) {
        closeSync(file);
        rmSync(next, { force: true });
        throw error;
      }
      if (this.#file !== undefined) closeSync(this.#file);
      this.#file = file;
      this.#torn = false;
      this.#lines = lines.length;
    });
  }

  /** Lines in the file: the owner rewrites when most of them are history, and soon when it had to be emptied. */
  lines(): number {
    return this.#lines;
  }

  put(grants: readonly Grant[]): void {
    this.#append(grants.map(lineOf));
  }

  /** When this cannot be written the whole journal is emptied: better to forget every grant than to revive one that was ended. */
  drop(grants: readonly Grant[]): void {
    const written = this.#append(grants.map((grant) => ({ drop: grant.id })));
    if (written) return;
    this.#lines = Number.POSITIVE_INFINITY;
    if (this.#file !== undefined) ftruncateSync(this.#file, 0);
  }

  closed(mark: CloseMark): void {
    this.#append([lineOfClose(mark)]);
  }

  end(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #append(lines: readonly object[]): boolean {
    if (lines.length === 0) return true;
    return this.#guard(() => {
      if (this.#file === undefined) throw new Error('not open');
      const wasTorn = this.#torn;
      this.#torn = true;
      writeLines(this.#file, lines, wasTorn ? '\n' : '');
      this.#torn = false;
      this.#lines += lines.length;
    });
  }

  #guard(write: () => void): boolean {
    try {
      write();
      this.#healthy = true;
      return true;
    } catch (error) {
      const path = join(this.#folder, FILE);
      if (this.#healthy) this.#onTrouble(`cannot write ${path} (${String(error)}): a restart now would forget live grants`);
      this.#healthy = false;
      return false;
    }
  }
}

/** All of them, or it throws: a full disk takes part of a write and calls that a success. */
function writeLines(file: number, lines: readonly object[], before = ''): void {
  const bytes = Buffer.from(`${before}${lines.map((line) => `${JSON.stringify(line)}\n`).join('')}`);
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
}

/** The journal of an earlier daemon, to append to. One that cannot be opened is taken away. */
function reopened(path: string): number | undefined {
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

function readLines(path: string): readonly unknown[] {
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
