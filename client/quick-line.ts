// Reads the plain form of `knock HOST [SERVICE…]` without the full parser, whose loading would cost a third of the whole knock.
// Gives undefined for anything that is not plain (a mistake, --help, a subcommand): program.ts then has the word. Must never differ from it.
import { COMMANDS, KNOCK_FLAGS, LATER_COMMANDS } from './knock-flags.ts';
import type { RawOptions } from './options.ts';

export type KnockLine = {
  readonly kind: 'knock';
  readonly action: 'open' | 'close';
  readonly host: string;
  readonly services: readonly string[];
  readonly raw: RawOptions;
};

type Flag = { readonly name: string; readonly value: 'next' | boolean };

const FLAGS = flagsByText();

/** The line, if each word of it is a known option, its value, or an operand. */
export function readQuickly(argv: readonly string[]): KnockLine | undefined {
  const raw: Record<string, string | boolean> = { verify: true };
  const operands: string[] = [];
  for (let at = 0; at < argv.length; at += 1) {
    const word = argv[at] ?? '';
    if (!word.startsWith('-')) {
      operands.push(word);
      continue;
    }
    const flag = FLAGS.get(word);
    if (flag === undefined) return undefined;
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
  const [host, ...services] = operands;
  if (host === undefined || host === '' || [...COMMANDS, ...LATER_COMMANDS].includes(host)) return undefined;
  return { kind: 'knock', action: 'open', host, services, raw };
}

function flagsByText(): ReadonlyMap<string, Flag> {
  const flags = new Map<string, Flag>();
  for (const each of KNOCK_FLAGS) {
    const [names = '', placeholder] = each.flags.split(' <');
    const long = names.slice(names.indexOf('--') + 2);
    const negative = long.startsWith('no-');
    // As commander names them: --dry-run is dryRun, --no-verify sets verify to false.
    const name = (negative ? long.slice(3) : long).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    for (const text of names.split(', ')) flags.set(text, { name, value: placeholder === undefined ? !negative : 'next' });
  }
  return flags;
}
