// What `posternd client add` was asked for: every option checked before anything is read or written, and which rule file it goes to.
import { readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, resolve } from 'node:path';
import type { z } from 'zod';
import type { UnixMs } from '../../protocol/brand.ts';
import { formatPublicLine, parsePublicLine } from '../../protocol/openssh.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { didYouMean } from '../config/nearest.ts';
import { isMap } from '../config/read-fields.ts';
import { readYaml } from '../config/yaml-source.ts';
import { quoted } from '../problem.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { ALLOW_SHAPE, CLIENT_SHAPE } from '../rules/schema.ts';
import { safeText } from '../safe-text.ts';
import { ruleFileText } from './change-rules.ts';
import type { Entry } from './entry-text.ts';

export type AddOptions = {
  readonly name: string;
  readonly key: string | undefined;
  readonly keysFile: string | undefined;
  readonly generate: boolean;
  readonly file: string | undefined;
  readonly services: string | undefined;
  readonly ttl: string | undefined;
  readonly maxTtl: string | undefined;
  readonly from: string | undefined;
  readonly once: boolean;
  readonly expires: string | undefined;
  readonly slots: string | undefined;
  readonly host: string | undefined;
  readonly qr: boolean;
  readonly dryRun: boolean;
};

/** A public key file is one line. */
const MAX_KEY_FILE_BYTES = 16 * 1024;
const LONGEST_COMMENT = 100;

/** The client's entry: `keys` is its `key` or `keys_file`. Nobody adds a client that is refused from the first moment on purpose. */
export function clientEntry(options: AddOptions, keys: Entry, now: UnixMs): Entry {
  checked('NAME', CLIENT_SHAPE.name, options.name);
  const slots = options.slots === undefined ? undefined : Number(options.slots);
  if (slots !== undefined && !CLIENT_SHAPE.slots.safeParse(slots).success)
    throw wrong(`--slots: not a number from 1 to 64: ${quoted(options.slots ?? '')}`);
  const expiresAtMs = checked('--expires', CLIENT_SHAPE.expires, options.expires);
  if (expiresAtMs !== undefined && expiresAtMs <= now)
    throw wrong(`--expires: ${quoted(options.expires ?? '')} is in the past (days end at midnight UTC): give a later one`);
  return [['name', options.name], ...keys, ...optional('expires', options.expires), ...optional('slots', slots)];
}

/** The allow entry that comes with the client, if any. */
export function allowEntry(options: AddOptions, config: Config): Entry | undefined {
  const { ttl, maxTtl } = options;
  const services = options.services?.split(',').map((name) => name.trim());
  const networks = options.from?.split(',').map((network) => network.trim());
  if (services === undefined) {
    const stray = [ttl && '--ttl', maxTtl && '--max-ttl', options.from && '--from', options.once && '--once'].find((each) => each);
    if (stray !== undefined) throw wrong(`${stray} is about services: add --services`);
    return undefined;
  }
  for (const field of checked('--services', ALLOW_SHAPE.services, services) ?? []) {
    if (field.kind === 'name' && !config.services.has(field.name)) {
      const cure = didYouMean(
        field.name,
        config.services.keys(),
        'name a port like tcp/8443, or define it under services: in the configuration',
      );
      throw wrong(`--services: no service is called ${quoted(field.name)}: ${cure}`);
    }
  }
  checked('--ttl', ALLOW_SHAPE.ttl, ttl);
  checked('--max-ttl', ALLOW_SHAPE.max_ttl, maxTtl);
  checked('--from', ALLOW_SHAPE.from, networks);
  return [
    ['services', services],
    ...optional('ttl', ttl),
    ...optional('max_ttl', maxTtl),
    ...(networks === undefined ? [] : [['from', networks] as const]),
    ...(options.once ? [['once', true] as const] : []),
  ];
}

/** `--key` (a line, a file, or - for standard input) or `--keys-file`; exactly one. */
export async function readKeyOption({ key, keysFile }: AddOptions): Promise<Entry> {
  if (key !== undefined && keysFile !== undefined) throw wrong('--key and --keys-file exclude each other: give one');
  if (keysFile !== undefined) {
    checked('--keys-file', CLIENT_SHAPE.keys_file, keysFile);
    return [['keys_file', resolve(keysFile)]];
  }
  if (key === undefined) throw wrong('whose key? Give --key with the ssh-ed25519 line of "knock keygen", --keys-file, or --generate');
  const text = await keyText(key);
  const line = parsePublicLine(text);
  if (!line.ok) throw wrong(`--key: ${whyNoKey(text, line.why)}`);
  return [['key', formatPublicLine(line.value.publicKey, safeText(line.value.comment, LONGEST_COMMENT))]];
}

function whyNoKey(text: string, why: string): string {
  if (text.includes('PRIVATE KEY')) return 'this is a private key, which nobody else should have: give the public line (the .pub file)';
  return text.includes('\n') ? `${why}: a file of several is for --keys-file` : why;
}

async function keyText(key: string): Promise<string> {
  if (key === '-') return fromInput(process.stdin);
  if (/\s/.test(key.trim()) || !/[./]/.test(key)) return key;
  const found = await stat(key).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error)
    throw new CommandError(
      found.code === 'EACCES' ? 3 : 2,
      `--key: cannot read ${quoted(key)} (${found.code}): give the line itself, or the .pub file`,
    );
  if (!found.isFile() || found.size > MAX_KEY_FILE_BYTES) throw wrong(`--key: ${quoted(key)} is no public key file: give the .pub file`);
  return readFile(key, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new CommandError(error.code === 'EACCES' ? 3 : 1, `--key: cannot read ${quoted(key)} (${error.code})`);
  });
}

async function fromInput(input: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of input) {
    length += part.length;
    if (length > MAX_KEY_FILE_BYTES) throw wrong('--key -: that is no public key: it is too long');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** Where the client goes: the file that was named; a new one for services of its own; else the only one that gives anything. */
export async function settleTarget(
  options: AddOptions,
  config: Config,
  book: RuleBook,
): Promise<{ readonly path: string; readonly isNew: boolean }> {
  const path = options.file === undefined ? defaultFile(options, config, book) : namedFile(options.file, config);
  const there = await stat(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
  );
  if (!there) {
    if (options.services === undefined)
      throw wrong(`${safeText(path, 300)} would be a new file that gives nothing: add --services, ${examples(config)}`);
    return { path, isNew: true };
  }
  const gives = await givesSomething(path);
  if (gives && options.file === undefined && options.services !== undefined) {
    const file = safeText(relative(config.rules, path), 100);
    throw wrong(
      `${safeText(path, 300)} stands already: to give what it allows: --file ${file} and no --services; else another --file, or remove that one`,
    );
  }
  if (gives && options.services !== undefined) {
    throw wrong(
      `what ${safeText(path, 300)} allows holds for all its clients: leave --services out to give the same, or name another --file`,
    );
  }
  if (!gives && options.services === undefined)
    throw wrong(`${safeText(path, 300)} allows nothing yet: add --services, ${examples(config)}`);
  return { path, isNew: false };
}

function defaultFile(options: AddOptions, config: Config, book: RuleBook): string {
  if (options.services !== undefined) return join(config.rules, `${options.name}.yaml`);
  const files = [...new Set(book.clients.flatMap(({ allow }) => allow.map(({ place }) => place.file)))];
  const [only, ...more] = files;
  if (only !== undefined && more.length === 0) return only;
  if (only === undefined) throw wrong(`what may ${options.name} open? Add --services, ${examples(config)}`);
  const names = files.slice(0, 8).map((file) => safeText(relative(config.rules, file), 100));
  throw wrong(`what may ${options.name} open? Add --services, or --file with the rules that shall hold: ${names.join(', ')}`);
}

/** As typed from here, from beside the configuration, or from the folder of rules: whichever lies below the folder of rules. */
function namedFile(file: string, config: Config): string {
  if (!file.endsWith('.yaml')) throw wrong(`--file: ${quoted(file)} would not be read: rule files end in .yaml`);
  const candidates = [resolve(file), resolve(dirname(config.file), file), resolve(config.rules, file)];
  const inside = candidates.find((path) => {
    const way = relative(config.rules, path);
    return !way.startsWith('..') && !isAbsolute(way) && !way.split('/').some((part) => part.startsWith('.'));
  });
  if (inside === undefined) throw wrong(`--file: ${quoted(file)} would not be read: rule files stand below ${safeText(config.rules, 300)}`);
  return inside;
}

async function givesSomething(path: string): Promise<boolean> {
  const { data } = readYaml(path, Buffer.from(await ruleFileText(path)));
  return isMap(data) && Array.isArray(data['allow']) && data['allow'].length > 0;
}

function examples(config: Config): string {
  const names = [...config.services].filter(([, ports]) =>
    ports.some((range) =>
      config.protect.some((each) => each.protocol === range.protocol && each.first <= range.first && range.last <= each.last),
    ),
  );
  const [first] = names;
  return `like --services ${first?.[0] ?? 'ssh'}`;
}

function checked<T extends z.ZodType>(option: string, shape: T, value: unknown): z.output<T> | undefined {
  if (value === undefined) return undefined;
  const result = shape.safeParse(value);
  if (result.success) return result.data;
  const issue = deepest(result.error.issues[0]);
  const cure = issue?.code === 'custom' ? issue.params?.['cure'] : undefined;
  throw wrong(`${option}: ${issue?.message ?? 'not a valid value'}${typeof cure === 'string' && cure !== '' ? `: ${cure}` : ''}`);
}

/** Of a union, the branch that got past the type of the value. */
function deepest(issue: z.core.$ZodIssue | undefined): z.core.$ZodIssue | undefined {
  if (issue?.code !== 'invalid_union') return issue;
  const meant = issue.errors.find((branch) => !branch.some((each) => each.code === 'invalid_type' && each.path.length === 0));
  return deepest(meant?.[0]);
}

function optional(key: string, value: string | number | undefined): Entry {
  return value === undefined ? [] : [[key, value]];
}

function wrong(message: string): CommandError {
  return new CommandError(2, message);
}
