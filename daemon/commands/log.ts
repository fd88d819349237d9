// `posternd log`: the audit log for people, over all its files, and on as it grows. Reads the files itself: it works without the daemon.
import { setTimeout as delay } from 'node:timers/promises';
import { parseDuration } from '../../protocol/duration.ts';
import { describeEntry, readShown, type Shown } from '../audit/describe.ts';
import { follow } from '../audit/follow.ts';
import { linesOf, listParts } from '../audit/parts.ts';
import { CommandError } from '../command-error.ts';
import { loadConfig } from '../config/load.ts';
import { quoted } from '../problem.ts';
import { safeText } from '../safe-text.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';

export type LogOptions = CommonOptions & {
  readonly follow: boolean;
  readonly client: string | undefined;
  readonly since: string | undefined;
  readonly until: string | undefined;
};

/** Tunable: how long a line may be in the file before it is shown. */
const LOOK_MS = 250;

export async function logCommand(options: LogOptions, output: Output): Promise<void> {
  const now = Date.now();
  const since = options.since === undefined ? -Infinity : moment(options.since, '--since', now);
  const until = options.until === undefined ? Infinity : moment(options.until, '--until', now);
  const file = await auditFileOf(options.config);
  const isWanted = ({ time, client }: Shown): boolean => {
    const at = Date.parse(time);
    return at >= since && at <= until && (options.client === undefined || client === options.client);
  };
  let count = 0;
  const print = (at: string, text: string): number | undefined => {
    const shown = readShown(text);
    if (shown === undefined) {
      output.err(`${safeText(at, 400)}: no line of the audit log: see "posternd log verify"`);
      return undefined;
    }
    if (isWanted(shown)) {
      count += 1;
      output.out(options.json ? text : describeEntry(shown));
    }
    return shown.n;
  };
  const parts = await readable(file, () => listParts(file));
  if (parts.length === 0 && !options.follow)
    throw new CommandError(1, `there is no audit log at ${safeText(file, 400)}: it begins with the first start of posternd`);
  let last = 0;
  await readable(file, async () => {
    for (const [at, part] of parts.entries()) {
      // A file that ends before the time that is asked for need not be read.
      const next = parts[at + 1];
      if (next?.firstTime !== undefined && Date.parse(next.firstTime) < since) continue;
      for await (const { bytes, number, isEnded } of linesOf(part.path)) {
        // While it is written, the last line may be half there.
        if (!isEnded && options.follow) break;
        last = print(`${part.path}:${number}`, bytes.toString('utf8')) ?? last;
      }
    }
  });
  if (!options.follow) {
    // Silence could as well be a name or a time that was mistyped.
    if (count === 0) output.err(`nothing in the log${options.client === undefined ? '' : ` about ${quoted(options.client)}`} in that time`);
    return;
  }
  for await (const { at, text } of follow(file, last, () => delay(LOOK_MS))) last = print(at, text) ?? last;
}

/** The path of the audit log of a configuration. */
export async function auditFileOf(configFile: string): Promise<string> {
  const { audit } = requireConfig(await loadConfig(configFile));
  if (audit === undefined) throw new CommandError(1, 'this configuration keeps no audit log (log.audit: none)');
  return audit.file;
}

/** Does something with the files of the log (`isNamed`: on the command line); what the system refuses becomes one line that says what to do. */
export async function readable<T>(file: string, work: () => Promise<T>, isNamed = false): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, path = file } = error as NodeJS.ErrnoException;
    const name = safeText(path, 400);
    if (code === 'ENOENT' && isNamed) throw new CommandError(1, `there is no file ${name}: name the audit log, or a copy of it`);
    if (code === 'ENOENT')
      throw new CommandError(1, `there is no audit log at ${safeText(file, 400)}: it begins with the first start of posternd`);
    if (code === 'EACCES' || code === 'EPERM')
      throw new CommandError(3, `not permitted to read ${name}: use sudo, or join the group that owns it ("postern")`);
    if (code?.startsWith('Z_') === true) throw new CommandError(1, `${name} cannot be unpacked (${code}): is it a whole .gz file?`);
    throw code === undefined ? error : new CommandError(1, `cannot read ${name} (${code})`);
  }
}

/** `1h` ago, or a date and time where this command runs. */
/** `now` less a duration, the beginning of a day, or a time; without a zone, those of this host. */
export function moment(text: string, option: string, now: number): number {
  const ago = parseDuration(text);
  if (ago.ok) return now - ago.value * 1000;
  // As journalctl has them: the midnight that a day began with, here.
  const daysBack = ['today', 'yesterday'].indexOf(text);
  if (daysBack >= 0) {
    const midnight = new Date(now);
    // A day of 23 or 25 hours is one day all the same.
    midnight.setDate(midnight.getDate() - daysBack);
    return midnight.setHours(0, 0, 0, 0);
  }
  const at = /^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)?)?$/.test(text)
    ? // A date alone would be taken as UTC.
      Date.parse(text.length === 10 ? `${text}T00:00` : text.replace(' ', 'T'))
    : Number.NaN;
  if (Number.isNaN(at))
    throw new CommandError(2, `${option}: ${quoted(text)} is no time: write 30m, 12h, yesterday, 2026-11-21 or "2026-11-21 22:00"`);
  return at;
}
