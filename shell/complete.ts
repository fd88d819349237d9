// Finds what may stand at the end of an unfinished command line, from the definitions that parse it. What only the host knows
// (names of servers, clients, grants) comes from sources that the command gives. Pure apart from these.
import type { Command, Option } from 'commander';

export type Candidate = { readonly word: string; readonly about: string };

/** Words to choose from, or what the shell itself knows best: its files, its commands. */
export type Completion =
  | { readonly kind: 'words'; readonly candidates: readonly Candidate[] }
  | { readonly kind: 'files' }
  | { readonly kind: 'commands' };

/** What stands on the line already, for sources that depend on it. */
export type Before = { readonly operands: readonly string[]; readonly options: Readonly<Record<string, string>> };

/** By the name of a placeholder in the definitions: `HOST`, `who`, `INTERFACE`. A source that fails is an empty one. */
export type Sources = Readonly<Record<string, (before: Before) => Promise<readonly Candidate[]>>>;

const FILE_PLACEHOLDER = /(^|\|)files?$/i;
// What needs no quoting in any of the shells: other names are left out, so that nothing from a file is ever run by a shell.
const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_@%+=:,./-]*$/;

/** What may stand for the last of `words`, which are all behind the program's name; the last is `''` after a space. */
export async function completeLine(root: Command, words: readonly string[], sources: Sources): Promise<Completion> {
  const last = words.at(-1) ?? '';
  const line = readLine(root, words.slice(0, -1));
  if (line.kind === 'behind') return line.first ? { kind: 'commands' } : { kind: 'files' };
  const { command, before, waiting } = line;
  if (waiting !== undefined) return await values(placeholder(waiting), waiting.argChoices, before, last, '', sources);
  const assigned = /^(--[^=]+)=(.*)$/.exec(last);
  if (assigned !== null) {
    const [, name = '', start = ''] = assigned;
    const option = find(command, name);
    if (option === undefined || !takesValue(option)) return chosen([], last);
    return await values(placeholder(option), option.argChoices, before, start, `${name}=`, sources);
  }
  if (last.startsWith('-')) return chosen(optionWords(command, before), last);
  const commands = before.operands.length === 0 ? subcommandWords(command) : [];
  const argument = command.registeredArguments[Math.min(before.operands.length, command.registeredArguments.length - 1)];
  if (argument === undefined || (before.operands.length >= command.registeredArguments.length && !argument.variadic))
    return chosen(commands, last);
  const found = await values(argument.name(), argument.argChoices, before, last, '', sources);
  return found.kind === 'words' ? { kind: 'words', candidates: [...chosen(commands, last).candidates, ...found.candidates] } : found;
}

type Line =
  | { readonly kind: 'own'; readonly command: Command; readonly before: Before; readonly waiting: Option | undefined }
  /** Behind `--`: another program's line. */
  | { readonly kind: 'behind'; readonly first: boolean };

function readLine(root: Command, words: readonly string[]): Line {
  let command = root;
  let waiting: Option | undefined;
  const operands: string[] = [];
  const options: Record<string, string> = {};
  for (const [at, word] of words.entries()) {
    if (waiting !== undefined) {
      options[waiting.attributeName()] = word;
      waiting = undefined;
    } else if (word === '--') return { kind: 'behind', first: at === words.length - 1 };
    else if (word.startsWith('-') && word !== '-') {
      const [name = '', value] = word.split('=', 2);
      const option = find(command, name);
      if (option === undefined) continue;
      if (!takesValue(option) || value !== undefined) options[option.attributeName()] = value ?? '';
      else waiting = option;
    } else {
      const below = operands.length === 0 ? command.commands.find((one) => one.name() === word) : undefined;
      if (below === undefined) operands.push(word);
      else command = below;
    }
  }
  return { kind: 'own', command, before: { operands, options }, waiting };
}

async function values(
  name: string,
  choices: readonly string[] | undefined,
  before: Before,
  start: string,
  prefix: string,
  sources: Sources,
): Promise<Completion> {
  if (choices !== undefined)
    return chosen(
      choices.map((word) => ({ word, about: '' })),
      start,
      prefix,
    );
  const source = Object.hasOwn(sources, name) ? sources[name] : undefined;
  if (source === undefined) return FILE_PLACEHOLDER.test(name) ? { kind: 'files' } : chosen([], start);
  const found = await source(before).catch(() => []);
  // `ssh,tcp/8443`: of a list by commas, the last is the one that is being typed.
  const typed = name === 'list' ? start.lastIndexOf(',') + 1 : 0;
  if (typed > 0)
    return chosen(
      found.filter(({ word }) => PLAIN.test(word)),
      start.slice(typed),
      `${prefix}${start.slice(0, typed)}`,
    );
  const fresh = found.filter(({ word }) => PLAIN.test(word) && !before.operands.includes(word));
  return chosen(fresh, start, prefix);
}

function chosen(candidates: readonly Candidate[], start: string, prefix = ''): Completion & { kind: 'words' } {
  const seen = new Set<string>();
  const matching = candidates.filter(({ word }) => word.startsWith(start) && !seen.has(word) && seen.add(word) !== undefined);
  return { kind: 'words', candidates: matching.map(({ word, about }) => ({ word: `${prefix}${word}`, about })) };
}

function optionWords(command: Command, before: Before): readonly Candidate[] {
  return lineage(command)
    .flatMap((one) => one.options)
    .filter((option) => !option.hidden && !Object.hasOwn(before.options, option.attributeName()))
    .concat(
      command
        .createHelp()
        .visibleOptions(command)
        .filter((option) => option.long === '--help'),
    )
    .map((option) => ({ word: option.long ?? option.short ?? '', about: option.description }));
}

function subcommandWords(command: Command): readonly Candidate[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .filter((one) => one.name() !== 'help')
    .map((one) => ({ word: one.name(), about: one.description() }));
}

/** The command, and those above it whose options may stand before it. */
function lineage(command: Command): readonly Command[] {
  return command.parent === null ? [command] : [command, ...lineage(command.parent)];
}

function find(command: Command, name: string): Option | undefined {
  return lineage(command)
    .flatMap((one) => one.options)
    .find((option) => option.long === name || option.short === name);
}

const takesValue = (option: Option): boolean => option.required || option.optional;

/** `FILE` of `-i, --identity <FILE>`. */
function placeholder(option: Option): string {
  return /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? '';
}
