#!/usr/bin/env node
// posternd: turns a command line into one call of a command, and its end into an exit code. Nothing else exits the process.
import { resolve } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { CommandError } from './command-error.ts';
import { DEFAULT_CONFIG, processOutput } from './commands/options.ts';
import { safeText } from './safe-text.ts';
import { VERSION } from './version.ts';

type Globals = { readonly config?: string; readonly json?: boolean };

async function main(argv: readonly string[]): Promise<void> {
  try {
    await program().parseAsync([...argv]);
  } catch (error) {
    process.exitCode = report(error);
  }
}

function program(): Command {
  const root = new Command('posternd')
    .description('Keeps protected ports closed, and opens them for a short time to clients that knock.')
    .version(VERSION)
    .option('-c, --config <file>', 'the configuration file, here or behind the command')
    .exitOverride()
    .showSuggestionAfterError()
    // So that `posternd -c FILE status` is the same as `posternd status -c FILE`.
    .enablePositionalOptions()
    .configureOutput({
      writeOut: (text) => processOutput.out(text.trimEnd()),
      writeErr: (text) => processOutput.err(text.trimEnd()),
      outputError: (text, put) => put(usageLine(text)),
    })
    .configureHelp({ sortSubcommands: false })
    .addHelpText('after', ROOT_HELP);

  const globals = (options: Globals) => ({
    config: resolve(options.config || root.opts<Globals>().config || process.env['POSTERN_CONFIG'] || DEFAULT_CONFIG),
    json: options.json === true,
  });

  common(root.command('init'))
    .description('make what a first start needs: server key, configuration, rules, ledger; never overwrites')
    .option('--use-ssh-host-key', 'take the key of /etc/ssh/ssh_host_ed25519_key (clients know it already; see the warning)')
    .addHelpText('after', '\nExamples:\n  sudo posternd init\n  sudo posternd init -c /srv/second/postern.yaml')
    .action(async (options: Globals & { useSshHostKey?: boolean }) => {
      const { initCommand } = await import('./commands/init.ts');
      await initCommand({ ...globals(options), useSshHostKey: options.useSshHostKey === true }, processOutput);
    });
  common(root.command('check'))
    .description('say everything that is wrong with configuration, rules, keys, kernel and firewall; changes nothing')
    .addHelpText('after', '\nExamples:\n  sudo posternd check\n  sudo posternd check --json | jq .problems')
    .action(async (options: Globals) => {
      const { checkCommand } = await import('./commands/check.ts');
      await checkCommand(globals(options), processOutput);
    });
  common(root.command('run'))
    .description('the daemon, in the foreground; systemd runs this')
    .addHelpText(
      'after',
      '\nSIGHUP reads configuration and rules again. SIGTERM and SIGINT (Ctrl-C) stop it in order and end with 0; the gate stays closed.' +
        '\n\nExamples:\n  sudo posternd run\n  sudo systemctl start posternd',
    )
    // What "posternd try" starts where no daemon runs.
    .addOption(new Option('--for-trial').hideHelp())
    .action(async (options: Globals & { forTrial?: boolean }) => {
      const { runCommand } = await import('./commands/run.ts');
      await runCommand({ ...globals(options), forTrial: options.forTrial === true });
    });
  common(root.command('try'))
    .description('put the gate up, and take it down again unless confirmed from a NEW connection in time')
    .option('--for <time>', 'how long to wait for the confirmation', '60s')
    .addOption(new Option('--confirm', 'the gate stays: to be run in a connection that was opened while it stood').conflicts('cancel'))
    .option('--cancel', 'take the gate down at once')
    .addHelpText(
      'after',
      '\nWith the daemon or without it: then one runs for as long as the trial. Connections that live already go on. Whatever is killed' +
        '\nmeanwhile, the gate is down after the time.' +
        '\n\nExamples:\n  sudo posternd try --for 2m\n  sudo posternd try --confirm      in a second terminal, after knock and ssh',
    )
    .action(async (options: Globals & { for: string; confirm?: boolean; cancel?: boolean }) => {
      const { tryCommand } = await import('./commands/try.ts');
      const action = options.confirm === true ? 'confirm' : options.cancel === true ? 'cancel' : 'begin';
      await tryCommand({ ...globals(options), action, time: options.for }, processOutput);
    });

  const gate = root.command('gate').description('the gate alone: up, down, show; works without the daemon');
  common(gate.command('up'))
    .description('close the protected ports, with the grants that are still live; what the boot unit runs')
    .addHelpText('after', '\nExamples:\n  sudo posternd gate up\n  sudo posternd gate up && sudo posternd gate show')
    .action(async (options: Globals) => {
      const { gateUpCommand } = await import('./commands/gate.ts');
      await gateUpCommand(globals(options), processOutput);
    });
  common(gate.command('down'))
    .description('take the gate away: every port is as open as without Postern')
    .addHelpText(
      'after',
      '\nLive grants are kept for the next "gate up". A restart of the daemon puts the gate up again.\n\nExamples:\n  sudo posternd gate down',
    )
    .action(async (options: Globals) => {
      const { gateDownCommand } = await import('./commands/gate.ts');
      await gateDownCommand(globals(options), processOutput);
    });
  common(gate.command('show'))
    .description('show what stands in the kernel: counters, openings with their time left, rules')
    .addHelpText('after', '\nExamples:\n  sudo posternd gate show\n  sudo posternd gate show --json | jq .openings')
    .action(async (options: Globals) => {
      const { gateShowCommand } = await import('./commands/gate.ts');
      await gateShowCommand(globals(options), processOutput);
    });

  common(root.command('status'))
    .description("gate, capture, counters (the kernel's too), ledger, and who is in")
    .addHelpText('after', '\nExamples:\n  sudo posternd status\n  sudo posternd status --json | jq .kernel.junk')
    .action(async (options: Globals) => {
      const { statusCommand } = await import('./commands/status.ts');
      await statusCommand(globals(options), processOutput);
    });
  common(root.command('grants'))
    .description('live grants: who, from where, to what, and how long still')
    .addHelpText('after', "\nExamples:\n  sudo posternd grants\n  sudo posternd grants --json | jq -r '.grants[].client'")
    .action(async (options: Globals) => {
      const { grantsCommand } = await import('./commands/status.ts');
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
      const { grantCommand } = await import('./commands/control.ts');
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
        '\n\nExamples:\n  sudo posternd revoke g17\n  sudo posternd revoke alice --keep-sessions\n  sudo posternd revoke 203.0.113.7',
    )
    .action(async (who: string, options: Globals & { keepSessions?: boolean }) => {
      const { revokeCommand } = await import('./commands/control.ts');
      await revokeCommand({ ...globals(options), who, keepSessions: options.keepSessions === true }, processOutput);
    });
  common(root.command('reload'))
    .description('read configuration and rules again; keeps the old ones when the new ones are wrong')
    .addHelpText('after', '\nExamples:\n  sudo posternd reload\n  sudo posternd check && sudo systemctl reload posternd')
    .action(async (options: Globals) => {
      const { reloadCommand } = await import('./commands/control.ts');
      await reloadCommand(globals(options), processOutput);
    });
  return root;
}

const ROOT_HELP = `
Examples:
  sudo posternd init             make /etc/postern
  sudo posternd check            is everything right?
  sudo posternd status           who is in, and what was refused
  sudo posternd -c /srv/second/postern.yaml status

Exit codes: 0 done, 1 it did not work, 2 wrong usage or configuration, 3 not permitted.`;

function common(command: Command): Command {
  return command
    .option('-c, --config <file>', `the configuration file (else POSTERN_CONFIG, else ${DEFAULT_CONFIG})`)
    .option('--json', 'print one JSON object')
    .exitOverride();
}

/** Commander's sentence as one line of ours: what is wrong, perhaps what was meant, and what to do. */
function usageLine(text: string): string {
  const words = text
    .trim()
    .replace(/^error: /, '')
    .replaceAll('\n', ' ')
    .replace(/\.$/, '');
  return `posternd: ${safeText(words)}: see "posternd --help"`;
}

function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has printed its line already; help and version end with 0.
    return error.exitCode === 0 ? 0 : 2;
  }
  if (error instanceof CommandError) {
    for (const line of error.message.split('\n')) processOutput.err(`posternd: ${line}`);
    return error.exitCode;
  }
  processOutput.err(`posternd: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return 1;
}

await main(process.argv);
