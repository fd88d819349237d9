// The command line of `knock` in full, by commander: subcommands, help, and a message for each mistake. Decides nothing about values.
import { Argument, Command, CommanderError } from 'commander';
import { SHELLS, type Shell } from '../shell/completion-script.ts';
import { usageError } from './command-error.ts';
import type { KeygenOptions } from './keygen.ts';
import { KNOCK_FLAGS } from './knock-flags.ts';
import type { RawOptions } from './options.ts';
import type { KnockLine } from './quick-line.ts';
import { quote } from './quote.ts';
import { VERSION } from './version.ts';
import type { World } from './world.ts';

export type Line =
  | KnockLine
  | { readonly kind: 'keygen'; readonly options: KeygenOptions }
  | { readonly kind: 'completion'; readonly shell: Shell }
  /** Help or version: printed already. */
  | { readonly kind: 'printed'; readonly exitCode: 0 | 2 };

const OPEN_HELP = `
SERVICE is a name (ssh, https, or one that the server defined), tcp/8443, udp/51820 or tcp/9000-9010.
Without one, the server opens what its rule gives by default, and tcp/22 is checked.

Examples:
  knock web1.example.org ssh                 open ssh for this machine, and see that it is open
  knock web1 tcp/8443 -t 10m                 for ten minutes, if the rule allows it
  knock web1 ssh -- ssh web1                 knock, then run ssh; its exit code is the command's
  knock web1 tcp/5432 --once                 for one connection (which knock then does not use up by checking)
  knock 192.0.2.7 ssh --server-key host.pub  with the server's key from a file
  knock web1 ssh --on-behalf 198.18.7.9      for somebody else's address, if the rule says on_behalf
  knock web1 ssh --source stun:stun.example.org   bound to the address that this STUN server sees
  knock web1 ssh --via wlan0                 from the address of wlan0
  knock web1 udp/51820 --source-port 51820   for connections from this port only
  knock web1 ssh --time sntp:192.0.2.123     signed by that server's clock, where this machine's is wrong
  knock web1 --dry-run                       show what would be sent, field by field

Keys: -i, else the profile's, else ~/.config/knock/id_ed25519, else ~/.ssh/id_ed25519. The server's: --server-key, else
the profile's, else the ssh-ed25519 line for HOST in ~/.ssh/known_hosts. A passphrase is asked for on the terminal, or
read from the file that KNOCK_PASSPHRASE_FILE names. Profiles are in ~/.config/knock/config.yaml.
Without --source, a knock is bound to this machine's address only if that is a global one; behind a NAT, stun:SERVER finds
the outer one. No server but HOST is ever asked on its own. A bound knock is worthless to whoever catches it elsewhere.
The server takes a knock only if both clocks agree within a minute or so. --time asks the one clock that you name and corrects
what is signed, never the system's clock. It is trusted: who controls it can have a knock signed for tonight.
A service whose rule says "once" on the server admits one connection, and the check uses it: give --once or --no-verify.

With --json, one object on standard output (with "-- COMMAND", on standard error), also when it fails:
  ok, action (open, close), host, result (open, sent, closed, failed), address, afterMs, wasOpen, knocksSent, services,
  addresses [{address, knocksSent, source, ports [{service, before, after, afterMs}]}], notes,
  clock {source, offsetMs, corrected}, error {code, message, hints}
The error is written to standard error too, as one line.

Exit codes: 0 open (or sent, when it cannot be checked); 1 it did not work; 2 wrong usage or configuration;
3 not permitted; 130 interrupted; with "-- COMMAND", the command's, 128 + n when signal n ended it, 127 not found.`;

const CLOSE_HELP = `
Ends the grants that this key has for this machine's address, and sees that the door is shut.

Examples:
  knock close web1.example.org
  knock close web1 tcp/8443        check that tcp/8443 is shut
  knock close web1 --json          one object, with the fields that "knock --help" lists`;

const KEYGEN_HELP = `
Writes FILE (readable by you alone) and FILE.pub, and prints the public line for the server's administrator.
Asks for a passphrase on the terminal, or takes it from the file that KNOCK_PASSPHRASE_FILE names. Never overwrites.

Examples:
  knock keygen
  knock keygen -f ~/.config/knock/id_work -C "alice at work"
  knock keygen --no-passphrase --json      file, publicFile, publicKey, fingerprint, encrypted`;

const COMPLETION_HELP = `
Prints a script that completes hosts (profiles, ~/.ssh/config, known_hosts), services and options.

Examples:
  knock completion bash > ~/.local/share/bash-completion/completions/knock
  knock completion fish > ~/.config/fish/completions/knock.fish
  source <(knock completion zsh)       in ~/.zshrc, after compinit`;

/** Reads the words before `--`. Throws a usage error for what commander refuses. */
export function readFully(argv: readonly string[], world: Pick<World, 'out' | 'err'>): Line {
  let line: Line | undefined;
  const program = define(world, (found) => {
    line = found;
  });
  try {
    if (argv.length === 0) program.help({ error: true });
    program.parse([...argv], { from: 'user' });
  } catch (cause) {
    if (!(cause instanceof CommanderError)) throw cause;
    if (cause.code === 'commander.help') return { kind: 'printed', exitCode: 2 };
    if (cause.exitCode === 0) return { kind: 'printed', exitCode: 0 };
    throw usageError([commanderText(cause)]);
  }
  if (line === undefined) throw new TypeError('commander called no action');
  return line;
}

/** The whole command line of knock, for what only looks at it: completion and the manual page. It acts on nothing. */
export function knockProgram(): Command {
  return define({ out: () => undefined, err: () => undefined }, () => undefined);
}

function define(world: Pick<World, 'out' | 'err'>, found: (line: Line) => void): Command {
  const root = new Command('knock');
  root.exitOverride().configureOutput({ writeOut: world.out, writeErr: (text) => (/^error:/.test(text) ? undefined : world.err(text)) });
  root.enablePositionalOptions().helpCommand(false);
  root
    .usage('[options] HOST [SERVICE...] [-- COMMAND...]')
    .description('Opens a port of a server that runs posternd, for this machine alone, and sees that it opened.')
    .version(VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .argument('<HOST>', 'a name, an address or a profile')
    .argument('[SERVICE...]', 'what to open')
    .addHelpText('after', OPEN_HELP);
  for (const { flags, about } of KNOCK_FLAGS) root.option(flags, about);
  root.action((host: string, services: string[]) => {
    found({ kind: 'knock', action: 'open', host, services, raw: root.opts<RawOptions>() });
  });
  const close = root
    .command('close')
    .usage('[options] HOST [SERVICE...]')
    .description('give a grant back early')
    .argument('<HOST>', 'a name, an address or a profile')
    .argument('[SERVICE...]', 'what to check')
    .addHelpText('after', CLOSE_HELP);
  for (const { flags, about, openOnly } of KNOCK_FLAGS) if (openOnly !== true) close.option(flags, about);
  close.action((host: string, services: string[]) => {
    // Options may stand before the subcommand too; what stands after it wins, and so does --no-verify wherever it stands.
    const [before, after] = [root.opts<RawOptions>(), close.opts<RawOptions>()];
    const verify = before.verify !== false && after.verify !== false;
    found({ kind: 'knock', action: 'close', host, services, raw: { ...before, ...after, verify } });
  });
  root
    .command('keygen')
    .description('make a key to knock with')
    .option('-f, --file <FILE>', 'where to put it (~/.config/knock/id_ed25519)')
    .option('-C, --comment <TEXT>', 'comment in the public line (user@host)')
    .option('--no-passphrase', 'do not encrypt the private key')
    .option('-q, --quiet', 'print the public line only')
    .option('--json', 'print one JSON object')
    .addHelpText('after', KEYGEN_HELP)
    .action((options: KeygenOptions) => found({ kind: 'keygen', options }));
  root
    .command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Argument('<SHELL>', 'bash, zsh or fish').choices(SHELLS))
    .addHelpText('after', COMPLETION_HELP)
    .action((shell: Shell) => found({ kind: 'completion', shell }));
  return root;
}

function commanderText(error: CommanderError): string {
  const text = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  return `${quote(text).slice(1, -1).replaceAll('\\"', '"')} (see knock --help)`;
}
