// The definition of `posternd explain`.
import type { Command } from 'commander';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

/** Adds it to `root`. */
export function defineExplain(root: Command, globals: Settle): void {
  common(root.command('explain'))
    .description('would this knock be let in? which rule decides, and what would have to change; exit code 0 yes, 1 no')
    .argument('<client>', 'a client of the rules')
    .argument('[service]', 'ssh, tcp/8443, tcp/9000-9010 or a name of the configuration; none: what is given by default')
    .option('--from <address>', 'where the client knocks from (default: from anywhere, and where that makes a difference)')
    .option('--at <time>', 'when: "09:30", "2026-11-23 09:30" or 2026-11-23T09:30:00Z (default: now, with the grants that are live)')
    .addHelpText(
      'after',
      '\nIt reads the rule files as they are on the disk and asks the same policy as the daemon, for a knock that is bound to its source address.' +
        '\n\nExamples:\n  sudo posternd explain alice ssh\n  sudo posternd explain alice admin-panel --from 203.0.113.7 --at "2026-11-23 09:30"' +
        '\n  sudo posternd explain alice --json | jq .candidates',
    )
    .action(async (client: string, service: string | undefined, options: Globals & { from?: string; at?: string }) => {
      const { explainCommand } = await import('../commands/explain.ts');
      await explainCommand({ ...globals(options), client, service, from: options.from, at: options.at }, processOutput);
    });
}
