// What knock says of a command line that it does not understand: what is wrong, what was most likely meant, whose help to read. Pure.
import type { Command } from 'commander';
import { quote } from './quote.ts';

/** What other programs, or posternd, call it; where the command has what is meant. */
const OTHER_NAMES: Readonly<Record<string, string>> = {
  '--for': '--ttl',
  '--duration': '--ttl',
  '--lifetime': '--ttl',
  '--key': '--identity',
  '--host-key': '--server-key',
  '--force': '--replace',
};

/** Commander's sentence about `command` as one line of ours. */
export function usageText(sentence: string, command: Command): string {
  const words = sentence.replace(/^error: /, '').replaceAll('\n', ' ');
  const unknown = /^unknown option '([^']*)'/.exec(words)?.[1];
  const meant = unknown === undefined ? undefined : meantBy(unknown, command);
  const said = meant === undefined ? words : `unknown option '${unknown}' (Did you mean ${meant}?)`;
  return `${quote(said).slice(1, -1).replaceAll('\\"', '"')} (see ${pathOf(command)} --help)`;
}

/** By another name, or the first letters of one option alone. Undefined: what commander found, which goes by the letters. */
function meantBy(unknown: string, command: Command): string | undefined {
  const names = command.options.flatMap(({ long }) => long ?? []);
  const other = Object.hasOwn(OTHER_NAMES, unknown) ? OTHER_NAMES[unknown] : undefined;
  if (other !== undefined && names.includes(other)) return other;
  const [longer, ...more] = unknown.length < 4 ? [] : names.filter((name) => name.startsWith(unknown));
  return more.length === 0 ? longer : undefined;
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}
