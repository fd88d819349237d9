// Live grants on disk, so that a restart keeps them. The kernel's timeouts stay the authority on when each ends.
// A line is written after the kernel opened and before the kernel shuts: a crash in between can lose a grant, never revive one.
// It belongs into the runtime folder: grants end with the boot, and a full or read-only disk must not revive a revoked one.
import { closeSync, ftruncateSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { MonotonicMs } from '../clock.ts';
import { createFresh } from '../fresh-file.ts';
import { pacing } from '../pacing.ts';
import type { Grant } from './grant-book.ts';
import { type CloseMark, Header, LineReader, lineOf, lineOfClose } from './grant-lines.ts';
import { readLines, reopened, writeLines } from './journal-file.ts';

const FILE = 'grants.jsonl';
/** Tunable: more grants than can be written in one go without a stall. */
const MANY = 500;
/** Tunable: lines that a renewal writes in one go. */
const LINES_AT_ONCE = 50;

export type Journaled = { readonly grants: readonly Grant[]; readonly closes: readonly CloseMark[] };
/** `over` ended by their time since the last line was written. */
export type Found = Journaled & { readonly over: readonly Grant[] };

/** Reads what an earlier run of the same boot left, in slices of time. Another boot, no file, or a damaged line: the rest is not there. */
export async function readGrantJournal(folder: string, bootId: string, now: MonotonicMs): Promise<Found> {
  const standing = new Map<string, Grant>();
  const closes: CloseMark[] = [];
  const lines = new LineReader();
  let isOurs: boolean | undefined;
  for await (const raw of readLines(join(folder, FILE))) {
    if (isOurs === undefined) {
      const header = Header.safeParse(raw);
      isOurs = header.success && header.data.boot === bootId;
      if (isOurs) continue;
      break;
    }
    const told = lines.read(raw);
    if (told?.kind === 'put') standing.set(told.grant.id, told.grant);
    else if (told?.kind === 'drop') standing.delete(told.id);
    else if (told?.kind === 'close') closes.push(told.mark);
  }
  const [grants, over]: [Grant[], Grant[]] = [[], []];
  const pace = pacing();
  for (const grant of standing.values()) {
    (grant.deadlineMs > now ? grants : over).push(grant);
    await pace();
  }
  return { grants, closes, over };
}

/** The open journal. A write that fails is told to `onTrouble` once; the grants themselves are not touched by it. */
export class GrantJournal {
  readonly #folder: string;
  readonly #bootId: string;
  readonly #onTrouble: (why: string) => void;
  #file: number | undefined;
  #healthy = true;
  #isWhole = false;
  /** A line may stand there half: the next one must not be glued to it. */
  #torn = false;
  #lines = 0;
  /** The file of a renewal that is under way: what is written meanwhile goes into both. */
  #next: { readonly file: number; lines: number } | undefined;

  /**
   * Writes a fresh journal that holds just what lives now, beside the old one, and takes its place. With very many grants the old one is
   * written on, and `lines` asks for a renewal soon.
   */
  constructor(folder: string, bootId: string, content: Journaled, onTrouble: (why: string) => void) {
    this.#folder = folder;
    this.#bootId = bootId;
    this.#onTrouble = onTrouble;
    if (content.grants.length > MANY) this.#file = reopened(join(folder, FILE));
    if (this.#file !== undefined) {
      // Its last line may be half.
      [this.#torn, this.#isWhole, this.#lines] = [true, true, Number.POSITIVE_INFINITY];
      return;
    }
    // Where no new one can be written, what ends from now on must not be revived by the old one either.
    if (!this.rewrite(content)) this.#file = reopened(join(folder, FILE));
  }

  rewrite(content: Journaled): boolean {
    this.#abandonNext();
    return this.#guard(() => {
      this.#begin(content.closes);
      this.#addToNext(content.grants.map(lineOf));
      this.#takePlace();
    });
  }

  /**
   * The same in slices of time, for a hundred thousand grants; `grants` is walked meanwhile, and gives each as it stands then. One that is under way
   * is given up: it may have written what is no more.
   */
  async renew(content: { readonly grants: Iterable<Grant>; readonly closes: readonly CloseMark[] }): Promise<void> {
    this.#abandonNext();
    if (!this.#guard(() => this.#begin(content.closes))) return;
    const next = this.#next;
    const pace = pacing();
    let lines: object[] = [];
    const add = (): boolean => {
      if (this.#next !== next) return false;
      const written = this.#guard(() => this.#addToNext(lines));
      lines = [];
      return written;
    };
    for (const grant of content.grants) {
      lines.push(lineOf(grant));
      if (lines.length < LINES_AT_ONCE) continue;
      // No pause between reading and writing: what ends in one would be revived by the other.
      if (!add()) return;
      await pace();
    }
    if (add()) this.#guard(() => this.#takePlace());
  }

  /** False when a line is missing. */
  get isWhole(): boolean {
    return this.#isWhole;
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
    this.#abandonNext();
    if (this.#file !== undefined) ftruncateSync(this.#file, 0);
  }

  closed(mark: CloseMark): void {
    this.#append([lineOfClose(mark)]);
  }

  end(): void {
    this.#abandonNext();
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
      // What fails here costs the renewal, not this line.
      this.#guard(() => this.#addToNext(lines));
    });
  }

  #begin(closes: readonly CloseMark[]): void {
    this.#next = { file: createFresh(this.#nextPath()), lines: 0 };
    this.#addToNext([{ version: 1, boot: this.#bootId }, ...closes.map(lineOfClose)]);
  }

  #addToNext(lines: readonly object[]): void {
    if (this.#next === undefined) return;
    try {
      writeLines(this.#next.file, lines);
      this.#next.lines += lines.length;
    } catch (error) {
      this.#abandonNext();
      throw error;
    }
  }

  #takePlace(): void {
    const next = this.#next;
    if (next === undefined) return;
    try {
      renameSync(this.#nextPath(), join(this.#folder, FILE));
    } catch (error) {
      this.#abandonNext();
      throw error;
    }
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = next.file;
    this.#lines = next.lines;
    this.#torn = false;
    this.#isWhole = true;
    this.#next = undefined;
  }

  #abandonNext(): void {
    if (this.#next === undefined) return;
    closeSync(this.#next.file);
    this.#next = undefined;
    rmSync(this.#nextPath(), { force: true });
  }

  #nextPath(): string {
    return join(this.#folder, `${FILE}.new`);
  }

  #guard(write: () => void): boolean {
    try {
      write();
      this.#healthy = true;
      return true;
    } catch (error) {
      const path = join(this.#folder, FILE);
      this.#isWhole = false;
      if (this.#healthy) this.#onTrouble(`cannot write ${path} (${String(error)}): a restart now would forget live grants`);
      this.#healthy = false;
      return false;
    }
  }
}
