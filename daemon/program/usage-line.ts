// What posternd says of a command line that it does not understand: what is wrong, what was most likely meant, whose help to read. Pure.
import type { Command } from 'commander';
import { safeText } from '../safe-text.ts';

/** What other programs, or other commands of this one, call it. What the command has of these is meant, the first of them first. */
const OTHER_NAMES: Readonly<Record<string, readonly string[]>> = {
  '--for': ['--ttl'],
  '--ttl': ['--for', '--max-ttl'],
  '--time': ['--ttl', '--for', '--at'],
  '--timeout': ['--ttl', '--for'],
  '--duration': ['--ttl', '--for'],
  '--lifetime': ['--ttl', '--for'],
  '--last': ['--since'],
  '--ip': ['--from'],
  '--address': ['--from'],
  '--source': ['--from'],
  '--expiry': ['--expires'],
  '--until': ['--expires'],
  '--service': ['--services'],
  '--ports': ['--services'],
  del: ['remove'],
  delete: ['remove'],
  rm: ['remove'],
  new: ['add'],
  create: ['add'],
  ls: ['list'],
  revoke: ['disable'],
  lock: ['disable'],
  unlock: ['enable'],
};

/** What systemd does, and posternd itself does not. */
const UNIT_ORDERS: ReadonlySet<string> = new Set(['start', 'stop', 'restart', 'enable', 'disable']);

/** Commander's sentence about `command` as one line of ours. */
export function usageLine(sentence: string, command: Command): string {
  const words = sentence
    .trim()
    .replace(/^error: /, '')
    .replaceAll('\n', ' ')
    .replace(/\.$/, '');
  const path = pathOf(command);
  const [, kind, unknown = ''] = /^unknown (option|command) '([^']*)'/.exec(words) ?? [];
  if (kind === 'command' && command.parent === null && UNIT_ORDERS.has(unknown))
    return `posternd: unknown command '${unknown}': the daemon is a unit of systemd: "systemctl ${unknown} posternd"`;
  const meant = kind === undefined ? undefined : meantBy(unknown, namesOf(command));
  const said = meant === undefined ? words : `unknown ${kind} '${unknown}' (Did you mean ${meant}?)`;
  return `posternd: ${safeText(said)}: see "${path} --help"`;
}

/** By another name, or the first letters of one alone. Undefined: what commander found, which goes by the letters. */
function meantBy(unknown: string, names: readonly string[]): string | undefined {
  const others = Object.hasOwn(OTHER_NAMES, unknown) ? OTHER_NAMES[unknown] : undefined;
  const other = others?.find((name) => names.includes(name));
  if (other !== undefined || unknown.length < 4) return other;
  const [longer, ...more] = names.filter((name) => name.startsWith(unknown));
  return more.length === 0 ? longer : undefined;
}

function namesOf(command: Command): readonly string[] {
  return [...command.options.flatMap(({ long }) => long ?? []), ...command.commands.map((each) => each.name())];
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}
