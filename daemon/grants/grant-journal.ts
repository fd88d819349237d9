// Live grants on disk, so that a restart keeps them. The kernel's timeouts stay the authority on when each ends.
// A line is written after the kernel opened and before the kernel shuts: a crash in between can lose a grant, never revive one.
// It belongs into the runtime folder: grants end with the boot, and a full or read-only disk must not revive a revoked one.
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { formatPortRange, parsePortRange } from '../../protocol/ports.ts';
import { type MonotonicMs, monotonicMs } from '../clock.ts';
import { GRANT_KINDS } from '../firewall/firewall.ts';
import type { Grant } from './grant-book.ts';

const FILE = 'grants.jsonl';

const Header = z.strictObject({ version: z.literal(1), boot: z.string() });
const Put = z.strictObject({
  put: z.string().regex(/^g[1-9]\d*$/),
  client: z.string(),
  key: z.string(),
  address: z.string(),
  label: z.string(),
  ports: z.array(z.string()),
  kind: z.enum(GRANT_KINDS),
  sourcePort: z.number().int(),
  sentAtMs: z.number().int(),
  grantedAtMs: z.number().int(),
  deadlineMs: z.number(),
});
const Drop = z.strictObject({ drop: z.string() });
/** An accepted close: an open that was sent before it must not reopen the door, not even after a restart. */
const Close = z.strictObject({ close: z.string(), key: z.string(), sentAtMs: z.number().int(), atMs: z.number() });
const Line = z.union([Put, Drop, Close]);

export type CloseMark = {
  readonly key: string;
  readonly address: string;
  readonly sentAtMs: number;
  /** When it was accepted. */
  readonly atMs: MonotonicMs;
};
export type Journaled = { readonly grants: readonly Grant[]; readonly closes: readonly CloseMark[] };

/** Reads what an earlier run of the same boot left. Another boot, no file, or a damaged line: the rest is not there. */
export function readGrantJournal(folder: string, bootId: string, now: MonotonicMs): Journaled {
  const grants = new Map<string, Grant>();
  const closes: CloseMark[] = [];
  const lines = readLines(join(folder, FILE));
  const header = Header.safeParse(lines[0]);
  if (!header.success || header.data.boot !== bootId) return { grants: [], closes };
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
  return { grants: [...grants.values()].filter((grant) => grant.deadlineMs > now), closes };
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

function lineOf(grant: Grant): z.input<typeof Put> {
  const { id, address, ports, ...rest } = grant;
  return { put: id, address: address.text, ports: ports.map(formatPortRange), ...rest };
}

function lineOfClose(mark: CloseMark): z.input<typeof Close> {
  return { close: mark.address, key: mark.key, sentAtMs: mark.sentAtMs, atMs: mark.atMs };
}

function closeOf(line: z.output<typeof Close>): CloseMark {
  return { key: line.key, address: line.close, sentAtMs: line.sentAtMs, atMs: monotonicMs(line.atMs) };
}

function grantOf(line: z.output<typeof Put>): Grant | undefined {
  const { put: id, address: addressText, ports: portTexts, sentAtMs, grantedAtMs, deadlineMs, ...rest } = line;
  const address = parseAddress(addressText);
  const ports = portTexts.map(parsePortRange);
  if (!address.ok || sentAtMs < 0 || grantedAtMs < 0) return undefined;
  const good = ports.flatMap((range) => (range.ok ? [range.value] : []));
  if (good.length !== ports.length) return undefined;
  return {
    id,
    ...rest,
    address: address.value,
    ports: good,
    sentAtMs: unixMs(sentAtMs),
    grantedAtMs: unixMs(grantedAtMs),
    deadlineMs: monotonicMs(deadlineMs),
  };
}
