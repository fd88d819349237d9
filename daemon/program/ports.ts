// The definition of `posternd ports`.
import type { Command } from 'commander';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

/** Adds it to `root`. */
export function definePorts(root: Command, globals: Settle): void {
  common(root.command('ports'))
    .description('the port audit: each listening TCP and UDP socket, who can reach it and why; protected ports on which nothing listens')
    .option('--exposed', 'only what everyone can reach; exit code 1 if there is any')
    .addHelpText(
      'after',
      '\nREACH is everyone; everyone? (hangs on a rule of another firewall that cannot be decided); some (whom another firewall lets in); knock first;' +
        '\ntrusted (the networks of "trusted"); nobody; or loopback. Without root it says what it could not see.' +
        "\n\nExamples:\n  sudo posternd ports\n  sudo posternd ports --exposed || mail -s 'open ports' root\n  sudo posternd ports --json | jq '.sockets[] | select(.reach == \"everyone\")'",
    )
    .action(async (options: Globals & { exposed?: boolean }) => {
      const { portsCommand } = await import('../commands/ports.ts');
      await portsCommand({ ...globals(options), exposed: options.exposed === true }, processOutput);
    });
}
