// The definitions of the commands that set the daemon up and run it: init, check, run, try, reload; and completion.
import { Argument, type Command, Option } from 'commander';
import { completionScript, SHELLS, type Shell } from '../../shell/completion-script.ts';
import { processOutput } from '../commands/options.ts';
import { common, type Globals, type Settle } from './definition.ts';

/** Adds them to `root`. */
export function defineService(root: Command, globals: Settle): void {
  common(root.command('init'))
    .description('make what a first start needs: server key, configuration, rules, ledger; never overwrites')
    .option('--use-ssh-host-key', 'take the key of /etc/ssh/ssh_host_ed25519_key (clients know it already; see the warning)')
    .addHelpText('after', '\nExamples:\n  sudo posternd init\n  sudo posternd init -c /srv/second/postern.yaml')
    .action(async (options: Globals & { useSshHostKey?: boolean }) => {
      const { initCommand } = await import('../commands/init.ts');
      await initCommand({ ...globals(options), useSshHostKey: options.useSshHostKey === true }, processOutput);
    });
  common(root.command('check'))
    .description('say everything that is wrong with configuration, rules, keys, kernel and firewall; changes nothing')
    .addHelpText('after', '\nExamples:\n  sudo posternd check\n  sudo posternd check --json | jq .problems')
    .action(async (options: Globals) => {
      const { checkCommand } = await import('../commands/check.ts');
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
      const { loadRun } = await import('../commands/run-in-pieces.ts');
      const { runCommand } = await loadRun();
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
      const { tryCommand } = await import('../commands/try.ts');
      const action = options.confirm === true ? 'confirm' : options.cancel === true ? 'cancel' : 'begin';
      await tryCommand({ ...globals(options), action, time: options.for }, processOutput);
    });
  common(root.command('reload'))
    .description('read configuration and rules again; keeps the old ones when the new ones are wrong')
    .addHelpText('after', '\nExamples:\n  sudo posternd reload\n  sudo posternd check && sudo systemctl reload posternd')
    .action(async (options: Globals) => {
      const { reloadCommand } = await import('../commands/control.ts');
      await reloadCommand(globals(options), processOutput);
    });
  root
    .command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Argument('<shell>', 'bash, zsh or fish').choices(SHELLS))
    .exitOverride()
    .addHelpText(
      'after',
      '\nIt completes clients, grants and services too, as far as the one who types may read them.' +
        '\n\nExamples:\n  posternd completion bash | sudo tee /etc/bash_completion.d/posternd >/dev/null' +
        '\n  source <(posternd completion zsh)       in ~/.zshrc, after compinit',
    )
    .action((shell: Shell) => processOutput.out(completionScript(shell, 'posternd').trimEnd()));
}
