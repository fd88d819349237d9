// The definitions of the commands about who is in: status, grants, grant, revoke.
import type { Command } from 'commander';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

/** Adds them to `root`. */
export function defineGrants(root: Command, globals: Settle): void {
  common(root.command('status'))
    .description("gate, capture, counters (the kernel's too), ledger, and who is in")
    .option('--watch', 'live on the whole screen, each second anew; q ends it')
    .addHelpText(
      'after',
      '\nExamples:\n  sudo posternd status\n  sudo posternd status --watch\n  sudo posternd status --json | jq .kernel.junk',
    )
    .action(async (options: Globals & { watch?: boolean }) => {
      if (options.watch === true) {
        const { watchCommand } = await import('../commands/watch.ts');
        await watchCommand(globals(options));
        return;
      }
      const { statusCommand } = await import('../commands/status.ts');
      await statusCommand(globals(options), processOutput);
    });
  common(root.command('grants'))
    .description('live grants: who, from where, to what, and how long still')
    .addHelpText('after', "\nExamples:\n  sudo posternd grants\n  sudo posternd grants --json | jq -r '.grants[].client'")
    .action(async (options: Globals) => {
      const { grantsCommand } = await import('../commands/status.ts');
      await grantsCommand(globals(options), processOutput);
    });
  common(root.command('grant'))
    .description('open by hand, without a knock and without a rule')
    .argument('<who>', 'a client (alice) or an address')
    .argument('<services...>', 'what to open: ssh, tcp/8443, udp/5000-5010, or a name of the configuration')
    .option('-t, --ttl <duration>', 'how long: 30s, 10m, 2h, at most 30d (default: default_ttl of the configuration)')
    .option('--from <address>', 'the address of a client; not needed where something is open for it at one address already')
    .option('--once', 'admit one connection')
    .addHelpText(
      'after',
      '\nIt shows in "grants" as opened by hand, survives restarts and reloads, and ends with its time or by "revoke". Granting again prolongs, and never' +
        '\nshortens. It counts for no client\'s max_grants, a client\'s "knock close" does not end it, and no hook is run.' +
        '\n\nExamples:\n  sudo posternd grant 198.51.100.7 ssh --ttl 10m\n  sudo posternd grant alice ssh tcp/8443 --from 2001:db8::7 --ttl 2h' +
        '\n  sudo posternd grant alice database --once',
    )
    .action(async (who: string, services: string[], options: Globals & { ttl?: string; from?: string; once?: boolean }) => {
      const { grantCommand } = await import('../commands/control.ts');
      const { ttl, from, once = false } = options;
      await grantCommand({ ...globals(options), who, services, ttl, from, once }, processOutput);
    });
  common(root.command('revoke'))
    .description('end grants at once, with the connections they let in')
    .argument('<who>', 'a grant (g17), a client (alice) or an address')
    .option('--keep-sessions', 'let connections live that exist already')
    .addHelpText(
      'after',
      '\nConnections end at once, those of rules with "sessions: end" also with --keep-sessions. Where somebody else is let in from the same' +
        '\naddress to the same port, connections are not told apart and live on.' +
        '\nThe client can knock again at once: "posternd client disable alice" ends its grants in the same way, and keeps it out.' +
        '\n\nExamples:\n  sudo posternd revoke g17\n  sudo posternd revoke alice --keep-sessions\n  sudo posternd revoke 203.0.113.7',
    )
    .action(async (who: string, options: Globals & { keepSessions?: boolean }) => {
      const { revokeCommand } = await import('../commands/control.ts');
      await revokeCommand({ ...globals(options), who, keepSessions: options.keepSessions === true }, processOutput);
    });
}
