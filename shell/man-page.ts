// The manual page of a command, from the definitions that parse and help: nothing is said twice. Pure.
import type { Argument, Command, Option } from 'commander';
import { type HelpPart, helpParts } from './help-text.ts';
import { bold, escaped, literal, type Page, pageList, pageText, paragraph, prose, section, subsection, term } from './roff.ts';

/** What a page says beyond the definitions. */
export type PageFacts = {
  readonly section: 1 | 8;
  readonly date: string;
  readonly version: string;
  readonly files: readonly (readonly [path: string, about: string])[];
  readonly environment: readonly (readonly [name: string, about: string])[];
  readonly seeAlso: readonly string[];
};

/** The page of the program `root` with all its subcommands, as roff. */
export function commandPage(root: Command, facts: PageFacts): string {
  const { exits, examples, rest } = sorted(helpParts(root));
  const body = [
    section('Name'),
    `${escaped(root.name())} \\-`,
    prose(lowered(root.description())),
    section('Synopsis'),
    ...synopsis(root),
    section('Description'),
    ...paragraph(root.description()),
    ...rest.flatMap(part),
    ...(root.registeredArguments.length > 0 ? [section('Arguments'), ...root.registeredArguments.flatMap(argument)] : []),
    section('Options'),
    ...options(root),
    section('Commands'),
    ...shown(root.commands).flatMap((command) => commandPart(command, root)),
    ...(exits.length > 0 ? [section('Exit status'), ...exits.flatMap((text) => paragraph(text))] : []),
    section('Environment'),
    ...facts.environment.flatMap(([name, about]) => term(name, about)),
    section('Files'),
    ...facts.files.flatMap(([path, about]) => term(path, about)),
    ...(examples.length > 0 ? [section('Examples'), ...literal(examples)] : []),
    section('See also'),
    pageList(facts.seeAlso),
  ];
  const page: Page = { name: root.name(), section: facts.section, date: facts.date, source: `Postern ${facts.version}`, body };
  return pageText(page);
}

/** A command, or each command of a group such as `gate`. */
function commandPart(command: Command, root: Command, before = ''): readonly string[] {
  const name = `${before}${command.name()}`;
  if (command.commands.length > 0 && !acts(command)) return shown(command.commands).flatMap((one) => commandPart(one, root, `${name} `));
  const { exits, examples, rest } = sorted(helpParts(command));
  return [
    subsection(`${name} ${usage(command)}`.trim()),
    ...paragraph(sentence(command.description())),
    ...command.registeredArguments.flatMap(argument),
    ...options(command, root),
    ...rest.flatMap(part),
    ...exits.flatMap((text) => paragraph(text)),
    ...(examples.length > 0 ? literal(examples) : []),
    ...shown(command.commands).flatMap((one) => commandPart(one, root, `${name} `)),
  ];
}

/** Whether the command does something itself, and is no mere name for its subcommands. */
function acts(command: Command): boolean {
  return command.registeredArguments.length > 0 || command.options.length > 0;
}

function synopsis(root: Command): readonly string[] {
  const own = root.registeredArguments.length > 0 ? ['.PP', `${bold(root.name())} ${escaped(usage(root))}`] : [];
  const each = flattened(root).map((name) => ['.br', `${bold(`${root.name()} ${name.words}`)} ${escaped(usage(name.command))}`]);
  const lines = [...own, ...each.flat()];
  return lines[0] === '.br' ? ['.PP', ...lines.slice(1)] : lines;
}

type Named = { readonly words: string; readonly command: Command };

function flattened(command: Command, before = ''): readonly Named[] {
  return shown(command.commands).flatMap((one) => {
    const words = `${before}${one.name()}`;
    const below = flattened(one, `${words} `);
    return below.length > 0 && !acts(one) ? below : [{ words, command: one }, ...below];
  });
}

function usage(command: Command): string {
  return command
    .usage()
    .replace(/\[command\]/, '')
    .trim();
}

/** Those that `known` has too are explained there. */
function options(command: Command, known?: Command): readonly string[] {
  const isNew = (option: Option) => known?.options.every((other) => other.flags !== option.flags) ?? true;
  return command.options
    .filter((option) => !option.hidden && isNew(option))
    .flatMap((option) => term(option.flags, sentence(about(option))));
}

function about(option: Option): string {
  const { defaultValue: value } = option;
  return typeof value === 'string' ? `${option.description} (default ${value})` : option.description;
}

function argument(one: Argument): readonly string[] {
  return one.description === '' ? [] : term(one.variadic ? `${one.name()}...` : one.name(), sentence(one.description));
}

function part(one: HelpPart): readonly string[] {
  return one.kind === 'paragraph' ? paragraph(one.text) : [...paragraph(`${one.heading}:`), ...literal(one.lines)];
}

type Sorted = { readonly exits: readonly string[]; readonly examples: readonly string[]; readonly rest: readonly HelpPart[] };

/** Examples and exit codes have sections of their own. */
function sorted(parts: readonly HelpPart[]): Sorted {
  const isExit = (one: HelpPart) => one.kind === 'paragraph' && /^Exit codes?: /.test(one.text);
  const isExample = (one: HelpPart) => one.kind === 'block' && /^Examples?$/.test(one.heading);
  return {
    exits: parts.flatMap((one) => (one.kind === 'paragraph' && isExit(one) ? [one.text.replace(/^Exit codes?: /, '')] : [])),
    examples: parts.flatMap((one) => (one.kind === 'block' && isExample(one) ? one.lines : [])),
    rest: parts.filter((one) => !isExit(one) && !isExample(one)),
  };
}

function shown(commands: readonly Command[]): readonly Command[] {
  return commands.filter((one) => one.name() !== 'help' && !one.name().startsWith('__'));
}

function sentence(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return text === '' || /[.!?]$/.test(text) ? first : `${first}.`;
}

function lowered(text: string): string {
  return (text.charAt(0).toLowerCase() + text.slice(1)).replace(/\.$/, '');
}
