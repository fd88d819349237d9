// `posternd grant`, `posternd revoke` and `posternd reload`: what an administrator asks of the running daemon.
import { formatDuration, parseDuration } from '../../protocol/duration.ts';
import { CommandError } from '../command-error.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon } from '../control/ask.ts';
import { GrantReport, LONGEST_TEXT, MOST_SERVICES, ReloadReport, RevokeReport } from '../control/messages.ts';
import { quoted } from '../problem.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';

export type GrantOptions = CommonOptions & {
  readonly who: string;
  readonly from: string | undefined;
  readonly services: readonly string[];
  readonly ttl: string | undefined;
  readonly once: boolean;
};

export async function grantCommand(options: GrantOptions, output: Output): Promise<void> {
  const { who, from = null, services, ttl, once } = options;
  for (const word of [who, from ?? who, ...services]) requireWord(word);
  if (services.length > MOST_SERVICES) throw new CommandError(2, `at most ${MOST_SERVICES} services at once, not ${services.length}`);
  const lifetime = ttl === undefined ? undefined : parseDuration(ttl);
  if (lifetime?.ok === false) throw new CommandError(2, `--ttl: ${lifetime.why}`);
  const config = requireConfig(await loadConfig(options.config));
  const ttlSeconds = lifetime?.value ?? null;
  const report = await askDaemon(config.control, { command: 'grant', who, from, services: [...services], ttlSeconds, once }, GrantReport);
  if (options.json) {
    output.out(JSON.stringify(report, null, 2));
    return;
  }
  for (const note of report.notes) output.err(`note: ${note}`);
  for (const grant of report.granted) {
    const what = `${grant.service}${grant.kind === 'once' ? ', one connection' : ''}`;
    output.out(
      `granted ${grant.id}: ${grant.client === '-' ? '' : `${grant.client} from `}${grant.address} to ${what}, ${timeLeft(grant.remaining_seconds)}`,
    );
  }
}

/** What no request can carry names nothing either. */
function requireWord(word: string): void {
  if (word.length < 1 || word.length > LONGEST_TEXT)
    throw new CommandError(2, `${quoted(word)} names nothing: write 1 to ${LONGEST_TEXT} characters`);
}

/** A grant that stood already keeps its time if that is longer: what is said is what holds. */
function timeLeft(seconds: number): string {
  return `for ${formatDuration(Math.round(seconds))}`;
}

export async function revokeCommand(
  options: CommonOptions & { readonly who: string; readonly keepSessions: boolean },
  output: Output,
): Promise<void> {
  requireWord(options.who);
  const config = requireConfig(await loadConfig(options.config));
  const report = await askDaemon(config.control, { command: 'revoke', who: options.who, keepSessions: options.keepSessions }, RevokeReport);
  if (options.json) output.out(JSON.stringify(report, null, 2));
  else for (const grant of report.revoked) output.out(`revoked ${grant.id}: ${grant.client} from ${grant.address} to ${grant.service}`);
}

export async function reloadCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  const report = await askDaemon(config.control, { command: 'reload' }, ReloadReport);
  if (options.json) {
    output.out(JSON.stringify(report, null, 2));
    return;
  }
  for (const warning of report.warnings) output.err(warning);
  for (const note of report.notes) output.err(note);
  output.out(`reloaded: ${report.clients} client${report.clients === 1 ? '' : 's'}`);
}
