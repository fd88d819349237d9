// The definitions of `posternd gate up`, `down` and `show`.
import type { Command } from 'commander';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

/** Adds them to `root`. */
export function defineGate(root: Command, globals: Settle): void {
  const gate = root.command('gate').description('the gate alone: up, down, show; works without the daemon');
  common(gate.command('up'))
    .description('close the protected ports, with the grants that are still live; what the boot unit runs')
    .addHelpText('after', '\nExamples:\n  sudo posternd gate up\n  sudo posternd gate up && sudo posternd gate show')
    .action(async (options: Globals) => {
      const { gateUpCommand } = await import('../commands/gate.ts');
      await gateUpCommand(globals(options), processOutput);
    });
  common(gate.command('down'))
    .description('take the gate away: every port is as open as without Postern')
    .addHelpText(
      'after',
      '\nLive grants are kept for the next "gate up". A restart of the daemon puts the gate up again.\n\nExamples:\n  sudo posternd gate down',
    )
    .action(async (options: Globals) => {
      const { gateDownCommand } = await import('../commands/gate.ts');
      await gateDownCommand(globals(options), processOutput);
    });
  common(gate.command('show'))
    .description('show what stands in the kernel: counters, openings with their time left, rules')
    .addHelpText('after', '\nExamples:\n  sudo posternd gate show\n  sudo posternd gate show --json | jq .openings')
    .action(async (options: Globals) => {
      const { gateShowCommand } = await import('../commands/gate.ts');
      await gateShowCommand(globals(options), processOutput);
    });
}
