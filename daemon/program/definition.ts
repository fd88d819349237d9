// What every definition of a posternd command shares: the common options, and how they become exact values.
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type CommonOptions, DEFAULT_CONFIG } from '../commands/options.ts';

/** The common options as commander hands them over. */
export type Globals = { readonly config?: string; readonly json?: boolean };

/** The common options as commands take them: an absolute path, and a decision. */
export type Settle = (options: Globals) => CommonOptions;

/** Settles the common options of a subcommand of `root`: the command's own, else the root's, else the environment's, else the default. */
export function settleFor(root: Command): Settle {
  return (options) => ({
    config: resolve(options.config || root.opts<Globals>().config || process.env['POSTERN_CONFIG'] || DEFAULT_CONFIG),
    json: options.json === true,
  });
}

/** Gives `command` the options that all commands have. */
export function common(command: Command): Command {
  return command
    .option('-c, --config <file>', `the configuration file (else POSTERN_CONFIG, else ${DEFAULT_CONFIG})`)
    .option('--json', 'print one JSON object')
    .exitOverride();
}
