// The command line of `knock` in full, by commander: subcommands, help, and a message for each mistake. Decides nothing about values.
import { Argument, Command, CommanderError } from 'commander';
import { SHELLS, type Shell } from '../shell/completion-script.ts';
import { usageError } from './command-error.ts';
import { CLOSE_HELP, COMPLETION_HELP, DOCTOR_HELP, KEYGEN_HELP, OPEN_HELP, PROXY_HELP } from './help-texts.ts';
import type { KeygenOptions } from './keygen.ts';
import { flagsFor, KNOCK_FLAGS, type Verb } from './knock-flags.ts';
import type { RawOptions } from './options.ts';
import type { KnockLine, ProxyLine } from './quick-line.ts';
import { quote } from './quote.ts';
import { VERSION } from './version.ts';
import type { World } from './world.ts';

export type Line =
  | KnockLine
  | ProxyLine
  | { readonly kind: 'keygen'; readonly options: KeygenOptions }
  | { readonly kind: 'doctor'; readonly host: string; readonly services: readonly string[]; readonly raw: RawOptions }
  | { readonly kind: 'completion'; readonly shell: Shell }
  /** Help or version: printed already. */
  | { readonly kind: 'printed'; readonly exitCode: 0 | 2 };

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
  addFlags(close, 'close');
  close.action((host: string, services: string[]) => {
    found({ kind: 'knock', action: 'close', host, services, raw: bothOptions(root, close, 'close') });
  });
  const proxy = root
    .command('proxy')
    .usage('[options] HOST PORT')
    .description("knock, connect and relay, as ssh's ProxyCommand")
    .argument('<HOST>', 'a name, an address or a profile')
    .argument('<PORT>', 'the TCP port to connect to')
    .addHelpText('after', PROXY_HELP);
  addFlags(proxy, 'proxy');
  proxy.action((host: string, port: string) => found({ kind: 'proxy', host, port, raw: bothOptions(root, proxy, 'proxy') }));
  const doctor = root
    .command('doctor')
    .usage('[options] HOST [SERVICE...]')
    .description('say which link of the chain fails, and what to do')
    .argument('<HOST>', 'a name, an address or a profile')
    .argument('[SERVICE...]', 'what to open')
    .addHelpText('after', DOCTOR_HELP);
  addFlags(doctor, 'doctor');
  doctor.action((host: string, services: string[]) => {
    found({ kind: 'doctor', host, services, raw: bothOptions(root, doctor, 'doctor') });
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

function addFlags(command: Command, verb: Verb): void {
  for (const { flags, about } of flagsFor(verb)) command.option(flags, about);
}

/** Options may stand before the subcommand too; what stands after it wins, and so does --no-verify wherever it stands. */
function bothOptions(root: Command, command: Command, verb: Verb): RawOptions {
  for (const option of root.options) {
    const misplaced =
      root.getOptionValueSource(option.attributeName()) === 'cli' && !flagsFor(verb).some(({ flags }) => flags === option.flags);
    if (misplaced) throw usageError([`${option.long ?? option.flags} does not go with knock ${verb} (see knock ${verb} --help)`]);
  }
  const [before, after] = [root.opts<RawOptions>(), command.opts<RawOptions>()];
  return { ...before, ...after, verify: before.verify !== false && after.verify !== false };
}

function commanderText(error: CommanderError): string {
  const text = error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  return `${quote(text).slice(1, -1).replaceAll('\\"', '"')} (see knock --help)`;
}
