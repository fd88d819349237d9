// Reads the plain form of `knock HOST [SERVICE…]` and of `knock proxy HOST PORT` without the full parser, whose loading would cost a third
// of the whole knock. Gives undefined for anything that is not plain (a mistake, --help, another subcommand): program.ts then has the word.
// Must never differ from it.
import { COMMANDS, flagsFor, KNOCK_FLAGS, type KnockFlag } from './knock-flags.ts';
import type { RawOptions } from './options.ts';

export type KnockLine = {
  readonly kind: 'knock';
  readonly action: 'open' | 'close';
  readonly host: string;
  readonly services: readonly string[];
  readonly raw: RawOptions;
};

export type ProxyLine = { readonly kind: 'proxy'; readonly host: string; readonly port: string; readonly raw: RawOptions };

export type HoldLine = {
  readonly kind: 'hold';
  readonly host: string;
  readonly services: readonly string[];
  readonly leaveOpen: boolean;
  readonly raw: RawOptions;
};

type Flag = { readonly name: string; readonly value: 'next' | boolean };

const FLAGS = flagsByText(KNOCK_FLAGS);
const PROXY_FLAGS = flagsByText(flagsFor('proxy'));

/** The line, if each word of it is a known option, its value, or an operand. */
export function readQuickly(argv: readonly string[]): KnockLine | ProxyLine | undefined {
  if (argv[0] === 'proxy') return readProxy(argv.slice(1));
  const words = readWords(argv);
  if (words === undefined) return undefined;
  const [host, ...services] = words.operands;
  if (host === undefined || host === '' || COMMANDS.includes(host)) return undefined;
  return { kind: 'knock', action: 'open', host, services, raw: words.raw };
}

function readProxy(argv: readonly string[]): ProxyLine | undefined {
  const words = readWords(argv);
  const [host, port, ...more] = words?.operands ?? [];
  if (words === undefined || host === undefined || host === '' || port === undefined || more.length > 0) return undefined;
  return words.flags.every((flag) => PROXY_FLAGS.has(flag)) ? { kind: 'proxy', host, port, raw: words.raw } : undefined;
}

type Words = { readonly operands: readonly string[]; readonly flags: readonly string[]; readonly raw: RawOptions };

function readWords(argv: readonly string[]): Words | undefined {
  const raw: Record<string, string | boolean> = { verify: true };
  const operands: string[] = [];
  const flags: string[] = [];
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    if (!word.startsWith('-')) {
      operands.push(word);
      continue;
    }
    const flag = FLAGS.get(word);
    if (flag === undefined) return undefined;
    flags.push(word);
    if (flag.value !== 'next') {
      raw[flag.name] = flag.value;
      continue;
    }
    at += 1;
    const value = argv[at];
    // A value that looks like an option is more likely a forgotten value.
    if (value === undefined || value.startsWith('-')) return undefined;
    raw[flag.name] = value;
  }
  return { operands, flags, raw };
}

function flagsByText(table: readonly KnockFlag[]): ReadonlyMap<string, Flag> {
  const flags = new Map<string, Flag>();
  for (const each of table) {
    const [names = '', placeholder] = each.flags.split(' <');
    const long = names.slice(names.indexOf('--') + 2);
    const negative = long.startsWith('no-');
    // As commander names them: --dry-run is dryRun, --no-verify sets verify to false.
    const name = (negative ? long.slice(3) : long).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    for (const text of names.split(', ')) flags.set(text, { name, value: placeholder === undefined ? !negative : 'next' });
  }
  return flags;
}
