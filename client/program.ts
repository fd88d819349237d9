// The command line of `knock` in full, by commander: subcommands, help, and a message for each mistake. Decides nothing about values.
import { Argument, Command, CommanderError } from 'commander';
import { SHELLS, type Shell } from '../shell/completion-script.ts';
import type { AddOptions } from './add-command.ts';
import { usageError } from './command-error.ts';
import {
  ADD_HELP,
  CLOSE_HELP,
  COMPLETION_HELP,
  DOCTOR_HELP,
  HOLD_HELP,
  KEYGEN_HELP,
  OPEN_HELP,
  PROFILES_HELP,
  PROXY_HELP,
} from './help-texts.ts';
import type { KeygenOptions } from './keygen.ts';
import { flagsFor, KNOCK_FLAGS, type Verb } from './knock-flags.ts';
import type { RawOptions } from './options.ts';
import type { ProfilesAction, ProfilesOptions } from './profiles-command.ts';
import type { HoldLine, KnockLine, ProxyLine } from './quick-line.ts';
import { quote } from './quote.ts';
import { usageText } from './usage-text.ts';
import { VERSION } from './version.ts';
import type { World } from './world.ts';

export type Line =
  | KnockLine
  | ProxyLine
  | HoldLine
  | { readonly kind: 'add'; readonly invitation: string | undefined; readonly options: AddOptions }
  | { readonly kind: 'profiles'; readonly action: ProfilesAction; readonly options: ProfilesOptions }
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
  let complaining = program;
  hear(program, (command) => {
    complaining = command;
  });
  try {
    if (argv.length === 0) program.help({ error: true });
    program.parse([...argv], { from: 'user' });
  } catch (cause) {
    if (!(cause instanceof CommanderError)) throw cause;
    if (cause.code === 'commander.help') return { kind: 'printed', exitCode: 2 };
    if (cause.exitCode === 0) return { kind: 'printed', exitCode: 0 };
    throw usageError([usageText(cause.message, complaining)]);
  }
  if (line === undefined) throw new TypeError('commander called no action');
  return line;
}

/** Which command complains: commander's error does not say. */
function hear(command: Command, complains: (command: Command) => void): void {
  command.configureOutput({ outputError: () => complains(command) });
  for (const each of command.commands) hear(each, complains);
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
  const hold = root
    .command('hold')
    .usage('[options] HOST [SERVICE...]')
    .description('keep a door open until Ctrl-C')
    .argument('<HOST>', 'a name, an address or a profile')
    .argument('[SERVICE...]', 'what to hold open')
    .option('--leave-open', 'do not close at the end: let the last grant run out')
    .addHelpText('after', HOLD_HELP);
  addFlags(hold, 'hold');
  hold.action((host: string, services: string[]) => {
    const { leaveOpen, ...raw } = bothOptions(root, hold, 'hold') as RawOptions & { readonly leaveOpen?: boolean };
    found({ kind: 'hold', host, services, leaveOpen: leaveOpen === true, raw });
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
    .command('add')
    .usage('[options] [INVITATION]')
    .description('store a profile from an invitation line')
    .argument('[INVITATION]', 'the line, a file that holds it, or - for standard input')
    .option('--name <NAME>', "name of the profile (the host's first label)")
    .option('--replace', 'take the new server key for a profile that has another')
    .option('-q, --quiet', 'print errors only')
    .option('--json', 'print one JSON object')
    .option('--config <FILE>', 'configuration (~/.config/knock/config.yaml)')
    .addHelpText('after', ADD_HELP)
    .action((invitation: string | undefined, options: AddOptions) => found({ kind: 'add', invitation, options }));
  addProfiles(root, found);
  root
    .command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Argument('<SHELL>', 'bash, zsh or fish').choices(SHELLS))
    .addHelpText('after', COMPLETION_HELP)
    .action((shell: Shell) => found({ kind: 'completion', shell }));
  return root;
}

function addProfiles(root: Command, found: (line: Line) => void): void {
  const config = ['--config <FILE>', 'configuration (~/.config/knock/config.yaml)'] as const;
  const json = ['--json', 'print one JSON object'] as const;
  const profiles = root
    .command('profiles')
    .usage('[options] [show NAME | remove NAME]')
    .description('list, show and remove profiles')
    .helpCommand(false)
    .option(...json)
    .option(...config)
    .addHelpText('after', PROFILES_HELP)
    // A word that is no subcommand would otherwise be taken for nothing.
    .argument('[SUBCOMMAND...]', 'show or remove')
    .action(([word]: string[], options: ProfilesOptions) => {
      if (word !== undefined) throw usageError([`knock profiles ${quote(word).slice(1, -1)}: write show NAME or remove NAME, or nothing`]);
      found({ kind: 'profiles', action: { kind: 'list' }, options });
    });
  for (const [kind, about] of [
    ['show', 'print what one profile holds'],
    ['remove', 'forget one server'],
  ] as const) {
    const command = profiles
      .command(kind)
      .description(about)
      .argument('<NAME>', 'the profile')
      .option(...json)
      .option(...config);
    command.addHelpText('after', `\nExample:\n  knock profiles ${kind} web1`);
    command.action((name: string) => {
      found({
        kind: 'profiles',
        action: { kind, name },
        options: { ...profiles.opts<ProfilesOptions>(), ...command.opts<ProfilesOptions>() },
      });
    });
  }
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
