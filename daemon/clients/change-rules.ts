// Changes rule files: one at a time, checked as a whole before a byte is written, then told to the running daemon.
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import { makeFile } from '../commands/new-file.ts';
import type { Config } from '../config/config.ts';
import { readTrustedFile } from '../config/trusted-file.ts';
import { askDaemon, NotRunning } from '../control/ask.ts';
import { ReloadReport } from '../control/messages.ts';
import { type Held, HeldError, takeLink } from '../held-link.ts';
import { readBootId } from '../ledger/open.ts';
import { formatProblem, type Problem } from '../problem.ts';
import { backendLimits } from '../rules/backend-limits.ts';
import { draftRuleBook } from '../rules/load.ts';
import { MAX_FILE_BYTES } from '../rules/rule-files.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { safeText } from '../safe-text.ts';
import { unifiedDiff } from './diff.ts';
import { replaceFile, sweepLeftBehind } from './replace-file.ts';

// Tunable
const PATIENCE_MS = 10_000;
const LOOK_AGAIN_MS = 50;
/** Begins with a dot: the loader leaves it alone. */
const LOCK = '.posternd-edit.lock';

/** `before` undefined: the file is made. */
export type FileChange = { readonly path: string; readonly before: string | undefined; readonly after: string };

export type Changed = {
  readonly files: readonly FileChange[];
  /** The rules as they are, or would be, with the change. */
  readonly book: RuleBook;
  /** What the rules are warned of with the change, and were not before. */
  readonly warnings: readonly string[];
  readonly diff: string;
};

/**
 * Asks `plan` for the changes, in the order in which they are to be written so that the rules are right after each, and writes them unless
 * `dryRun`. Throws a CommandError, and nothing is written, if the rules would be wrong.
 */
export async function changeRules(
  config: Config,
  dryRun: boolean,
  plan: (book: RuleBook) => Promise<readonly FileChange[]>,
): Promise<Changed> {
  const lock = dryRun ? undefined : await takeTurn(config.rules);
  try {
    const now = systemClock.wall();
    const before = await draftRuleBook(config, now);
    const files = (await plan(before.draft)).filter((file) => file.before !== file.after);
    const after = await draftRuleBook(config, now, new Map(files.map((file) => [file.path, Buffer.from(file.after)])));
    const problems = [...after.problems, ...backendLimits(config.firewall, after.draft, 'error')];
    refuseErrors(problems, before.problems);
    const known = new Set(before.problems.map(textOf));
    const warnings = problems.filter((problem) => !known.has(textOf(problem))).map(formatProblem);
    if (!dryRun) for (const file of files) await write(file, config.rules);
    const diff = files.map((file) => unifiedDiff(file.path, file.before, file.after)).join('');
    return { files, book: after.draft, warnings, diff };
  } finally {
    lock?.release();
  }
}

/** The text of a rule file that is to be changed. Throws a CommandError when it cannot be, a link among others. */
export async function ruleFileText(path: string): Promise<string> {
  const read = await readTrustedFile(path, 'config', MAX_FILE_BYTES);
  if (read.ok) return read.bytes.toString('utf8');
  throw new CommandError(read.code === 'EACCES' || read.code === 'EPERM' ? 3 : 2, `${read.why}: ${read.cure}`);
}

export type ReloadState =
  | { readonly state: 'reloaded'; readonly clients: number; readonly notes: readonly string[] }
  | { readonly state: 'not-running' }
  | { readonly state: 'failed'; readonly why: string };

/** The change is written: whatever is wrong now is told, not thrown. */
export async function reloadDaemon(config: Config): Promise<ReloadState> {
  try {
    const { clients, notes } = await askDaemon(config.control, { command: 'reload' }, ReloadReport);
    return { state: 'reloaded', clients, notes };
  } catch (error) {
    if (error instanceof NotRunning) return { state: 'not-running' };
    if (error instanceof CommandError) return { state: 'failed', why: error.message };
    throw error;
  }
}

/** Two at once: the second waits for the first, and then plans on what that one has written. */
async function takeTurn(folder: string): Promise<Held> {
  const path = join(folder, LOCK);
  const deadlineMs = systemClock.monotonic() + PATIENCE_MS;
  for (;;) {
    try {
      const held = takeLink(path, readBootId());
      await sweepLeftBehind(folder);
      return held;
    } catch (error) {
      if (!(error instanceof HeldError)) throw asCommandError(error, folder);
      if (systemClock.monotonic() > deadlineMs) {
        throw new CommandError(
          1,
          `process ${error.pid} changes the rules for more than ${PATIENCE_MS / 1000} s now: let it end, then run this again`,
        );
      }
      await sleep(LOOK_AGAIN_MS);
    }
  }
}

function refuseErrors(problems: readonly Problem[], before: readonly Problem[]): void {
  const errors = problems.filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return;
  const known = new Set(before.filter(({ severity }) => severity === 'error').map(textOf));
  const fresh = errors.filter((problem) => !known.has(textOf(problem)));
  const lines =
    fresh.length > 0
      ? fresh.map((problem) => `nothing was changed, as the rules would be wrong: ${formatProblem(problem)}`)
      : errors.map((problem) => `nothing was changed, as the rules are wrong already: ${formatProblem(problem)}`);
  throw new CommandError(2, lines.slice(0, 20).join('\n'));
}

/** Without its line, which a change above may move. */
function textOf({ severity, place, message }: Problem): string {
  return `${severity} ${place?.file} ${message.replace(/:\d+:\d+/g, '')}`;
}

async function write({ path, before, after }: FileChange, folder: string): Promise<void> {
  try {
    if (before !== undefined) {
      await replaceFile(path, Buffer.from(before), Buffer.from(after));
      return;
    }
    const { gid, mode } = await stat(folder);
    // Who can look into the folder can read its files: the daemon, by the group or because everybody can.
    const made = await makeFile(path, after, (mode & 0o005) === 0 ? 0o640 : 0o644, { uid: process.geteuid?.() ?? 0, gid });
    if (!made) throw new CommandError(1, `${safeText(path, 300)} was made by somebody else just now: run this again`);
  } catch (error) {
    throw asCommandError(error, path);
  }
}

function asCommandError(error: unknown, path: string): unknown {
  if (error instanceof CommandError) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  const name = safeText(path, 300);
  if (code === 'EACCES' || code === 'EPERM') return new CommandError(3, `no permission to change ${name}: run this as root`);
  if (code === 'ENOENT') return new CommandError(2, `there is no ${name}: run "posternd init"`);
  return new CommandError(1, `cannot change ${name} (${code}): what stood there stands unchanged`);
}

/** Before anything is asked or made: whether this user could write at all. */
export async function requireWritable(folder: string): Promise<void> {
  await access(folder, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw asCommandError(error, folder);
  });
}
