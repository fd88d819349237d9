// The command line of `knock`: its commands, options and help, in one definition. Decides nothing about their values: see options.ts.
import { Command, CommanderError } from 'commander';
import { CommandError, usageError } from './command-error.ts';
import type { KeygenOptions } from './keygen.ts';
import { checkOptions, type RawOptions } from './options.ts';
import { quote } from './quote.ts';
import { VERSION } from './version.ts';
import type { World } from './world.ts';

// What the design lists and a later version brings. As hosts they would be tried in vain, and nobody would see why.
const LATER_COMMANDS = ['proxy', 'hold', 'doctor', 'add', 'profiles'];
const LATER_OPTIONS = ['--time', '--via', '--on-behalf', '--source-port'];

const OPEN_HELP = `
SERVICE is a name (ssh, https, or one that the server defined), tcp/8443, udp/51820 or tcp/9000-9010.
Without one, the server opens what its rule gives by default, and tcp/22 is checked.

Examples:
  knock web1.example.org ssh                 open ssh for this machine, and see that it is open
  knock web1 tcp/8443 -t 10m                 for ten minutes, if the rule allows it
  knock web1 ssh -- ssh web1                 knock, then run ssh; its exit code is the command's
  knock web1 tcp/5432 --once                 for one connection (which knock then does not use up by checking)
  knock 192.0.2.7 ssh --server-key host.pub  with the server's key from a file
  knock web1 --dry-run                       show what would be sent, field by field

Keys: -i, else the profile's, else ~/.config/knock/id_ed25519, else ~/.ssh/id_ed25519. The server's: --server-key, else
the profile's, else the ssh-ed25519 line for HOST in ~/.ssh/known_hosts. A passphrase is asked for on the terminal, or
read from the file that KNOCK_PASSPHRASE_FILE names. Profiles are in ~/.config/knock/config.yaml.
A service whose rule says "once" on the server admits one connection, and the check uses it: give --once or --no-verify.

With --json, one object on standard output (with "-- COMMAND", on standard error), also when it fails:
  ok, action (open, close), host, result (open, sent, closed, failed), address, afterMs, wasOpen, knocksSent, services,
  addresses [{address, knocksSent, source, ports [{service, before, after, afterMs}]}], notes, error {code, message, hints}
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

/** Runs one command line (without node and script). Gives the exit code; throws CommandError for what the user did wrong. */
export async function runCli(argv: readonly string[], world: World): Promise<number> {
  const split = argv.indexOf('--');
  const own = split < 0 ? argv : argv.slice(0, split);
  const command = split < 0 ? [] : argv.slice(split + 1);
  if (split >= 0 && command.length === 0) throw usageError(['nothing stands after --: write the command to run, or leave -- out']);
  let exitCode = 0;
  const program = define(
    async (action, host, services, raw) => {
      refuseLater(host);
      if (action === 'close' && command.length > 0) throw usageError(['knock close takes no command after --']);
      const options = checkOptions(host, services, command, raw);
      const { knockCommand } = await import('./knock-command.ts');
      exitCode = await knockCommand(action, options, world);
    },
    async (options) => {
      if (command.length > 0) throw usageError(['knock keygen takes no command after --']);
      const { keygen } = await import('./keygen.ts');
      exitCode = await keygen(options, world);
    },
  );
  try {
    if (own.length === 0) program.help({ error: true });
    await program.parseAsync([...own], { from: 'user' });
  } catch (cause) {
    if (!(cause instanceof CommanderError)) throw cause;
    if (cause.code === 'commander.help') return 2;
    if (cause.exitCode === 0) return 0;
    throw usageError([commanderText(cause)]);
  }
  return exitCode;

  function define(
    knock: (action: 'open' | 'close', host: string, services: readonly string[], raw: RawOptions) => Promise<void>,
    makeKey: (options: KeygenOptions) => Promise<void>,
  ): Command {
    const root = new Command('knock');
    root.exitOverride().configureOutput({ writeOut: world.out, writeErr: (text) => (/^error:/.test(text) ? undefined : world.err(text)) });
    root.enablePositionalOptions();
    root
      .usage('[options] HOST [SERVICE...] [-- COMMAND...]')
      .description('Opens a port of a server that runs posternd, for this machine alone, and sees that it opened.')
      .version(VERSION, '--version', 'print the version')
      .helpOption('-h, --help', 'print this')
      .argument('<HOST>', 'a name, an address or a profile')
      .argument('[SERVICE...]', 'what to open');
    addKnockOptions(root, 'open').addHelpText('after', OPEN_HELP);
    root.action(async (host: string, services: string[]) => await knock('open', host, services, root.opts()));
    const close = root
      .command('close')
      .usage('[options] HOST [SERVICE...]')
      .description('give a grant back early')
      .argument('<HOST>', 'a name, an address or a profile')
      .argument('[SERVICE...]', 'what to check');
    addKnockOptions(close, 'close').addHelpText('after', CLOSE_HELP);
    close.action(async (host: string, services: string[]) => await knock('close', host, services, { ...root.opts(), ...close.opts() }));
    root
      .command('keygen')
      .description('make a key to knock with')
      .option('-f, --file <FILE>', 'where to put it (~/.config/knock/id_ed25519)')
      .option('-C, --comment <TEXT>', 'comment in the public line (user@host)')
      .option('--no-passphrase', 'do not encrypt the private key')
      .option('-q, --quiet', 'print the public line only')
      .option('--json', 'print one JSON object')
      .addHelpText('after', KEYGEN_HELP)
      .action(makeKey);
    root.helpCommand(false);
    return root;
  }
}

function addKnockOptions(command: Command, action: 'open' | 'close'): Command {
  command
    .option('-i, --identity <FILE>', 'private key to knock with')
    .option('--server-key <LINE|FILE>', 'public key of the server')
    .option('-p, --port <N>', 'UDP port to knock at (62201)');
  if (action === 'open') {
    command.option('-t, --ttl <TIME>', "how long it shall stay open, as 30s, 10m, 2h (the rule's default)");
    command.option('--once', 'open for one connection only');
  }
  return command
    .option('--source <WHICH>', 'address to bind the knock to: auto, none, bound or an ADDRESS (auto)')
    .option('-4, --ipv4', 'IPv4 addresses of HOST only')
    .option('-6, --ipv6', 'IPv6 addresses of HOST only')
    .option('--retries <N>', 'knock again up to N times (3)')
    .option('--timeout <TIME>', 'give up after this time (5s)')
    .option('--no-verify', 'do not check the port')
    .option('--dry-run', 'send nothing, print what would be sent')
    .option('-q, --quiet', 'print errors only')
    .option('-v, --verbose', 'print each step')
    .option('--json', 'print one JSON object')
    .option('--config <FILE>', 'configuration (~/.config/knock/config.yaml)');
}

function refuseLater(host: string): void {
  if (!LATER_COMMANDS.includes(host)) return;
  throw new CommandError(
    2,
    'not-in-this-version',
    `"knock ${host}" is not in this version (for a host of that name, write "${host}." or its address)`,
  );
}

function commanderText(error: CommanderError): string {
  const text = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  const option = /^unknown option '([^']*)'/.exec(text)?.[1];
  if (option !== undefined && LATER_OPTIONS.includes(option)) return `the option ${option} is not in this version`;
  return `${quote(text).slice(1, -1).replaceAll('\\"', '"')} (see knock --help)`;
}
