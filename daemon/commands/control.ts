// `posternd revoke` and `posternd reload`: what an administrator asks of the running daemon.
import { loadConfig } from '../config/load.ts';
import { askDaemon } from '../control/ask.ts';
import { ReloadReport, RevokeReport } from '../control/messages.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';

export async function revokeCommand(
  options: CommonOptions & { readonly who: string; readonly keepSessions: boolean },
  output: Output,
): Promise<void> {
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
