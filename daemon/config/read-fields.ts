// Validates one map of a YAML file key by key, so that one wrong value hides no other problem, and puts each complaint at its place.
// It must not know what the keys are for.
import { z } from 'zod';
import { type Problem, problemAt, quoted } from '../problem.ts';
import { safeText } from '../safe-text.ts';
import { didYouMean } from './nearest.ts';
import type { Data, DataMap, Path, YamlSource } from './yaml-source.ts';

export type Shape = { readonly [key: string]: z.ZodType };

/** Each key that stands in the file and is right. */
export type Fields<S extends Shape> = { readonly [K in keyof S]?: z.output<S[K]> | undefined };

/** The right values of the map at `path`; everything wrong is added to `problems`. `what` names the map in messages. */
export function readFields<S extends Shape>(source: YamlSource, shape: S, path: Path, what: string, problems: Problem[]): Fields<S> {
  const data = valueAt(source.data, path);
  if (!isMap(data)) {
    const found = data === undefined || data === null ? 'nothing stands here' : `${describe(data)} stands here`;
    problems.push(problemAt(source.placeOf(path), `${what} must be a map of keys and values, but ${found}`, 'write key: value lines'));
    return {};
  }
  const values: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(data)) {
    const schema = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (schema === undefined) {
      const cure = didYouMean(key, Object.keys(shape), `${what} knows ${Object.keys(shape).join(', ')}`);
      problems.push(problemAt(source.keyPlaceOf([...path, key]), `unknown key ${quoted(key)}`, cure));
      continue;
    }
    const nested = shapeOf(schema);
    if (nested !== undefined && isMap(value)) {
      values[key] = readFields(source, nested, [...path, key], key, problems);
      continue;
    }
    const result = schema.safeParse(value);
    if (result.success) values[key] = result.data;
    else for (const issue of result.error.issues) problems.push(explain(source, issue, [...path, key]));
  }
  return values as Fields<S>;
}

/** The value at a path of plain data. */
export function valueAt(data: Data | undefined, path: Path): Data | undefined {
  let at: Data | undefined = data;
  for (const step of path) {
    if (Array.isArray(at)) at = typeof step === 'number' ? at[step] : undefined;
    else if (isMap(at)) at = Object.hasOwn(at, step) ? at[step] : undefined;
    else return undefined;
  }
  return at;
}

export function isMap(data: Data | undefined): data is DataMap {
  return typeof data === 'object' && data !== null && !Array.isArray(data);
}

/** The shape of a map inside a map, so that its keys are read one by one too. */
function shapeOf(schema: z.ZodType): Shape | undefined {
  const inner = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  return inner instanceof z.ZodObject ? (inner.shape as Shape) : undefined;
}

type Issue = z.core.$ZodIssue;

function explain(source: YamlSource, issue: Issue, base: Path): Problem {
  const path: Path = [...base, ...(issue.path as (string | number)[])];
  const place = source.placeOf(path);
  const data = valueAt(source.data, path);
  const name = safeText(String(path.findLast((step) => typeof step === 'string') ?? ''), 40);
  switch (issue.code) {
    case 'invalid_union':
      return explainUnion(source, issue, path);
    case 'invalid_type':
      return problemAt(place, ...typeWords(name, issue.expected, data));
    case 'invalid_value': {
      const values = issue.values.map(String);
      const otherwise = `write ${listed(values)}`;
      const cure = typeof data === 'string' ? didYouMean(data, values, otherwise) : otherwise;
      return problemAt(place, `${name} must be ${listed(values)}, but ${describe(data)} stands here`, cure);
    }
    case 'too_small':
      return problemAt(place, ...sizeWords(name, issue.origin, 'at least', Number(issue.minimum)));
    case 'too_big':
      return problemAt(place, ...sizeWords(name, issue.origin, 'at most', Number(issue.maximum)));
    case 'invalid_key':
      return problemAt(source.keyPlaceOf(path), `not a name: ${quoted(name)}`, issue.issues[0]?.message ?? 'write a-z, 0-9 and -');
    case 'unrecognized_keys':
      return problemAt(source.keyPlaceOf([...path, issue.keys[0] ?? '']), `unknown key ${quoted(issue.keys[0] ?? '')}`, 'remove it');
    default: {
      const cure = issue.code === 'custom' && typeof issue.params?.['cure'] === 'string' ? issue.params['cure'] : '';
      return problemAt(place, issue.message, cure);
    }
  }
}

/** A union fails with the issues of every branch: the branch that got past the type of the value is the one that was meant. */
function explainUnion(source: YamlSource, issue: Extract<Issue, { code: 'invalid_union' }>, path: Path): Problem {
  const meant = issue.errors.find((branch) => !branch.some((each) => each.code === 'invalid_type' && each.path.length === 0));
  const first = (meant ?? issue.errors[0])?.[0];
  return first === undefined ? problemAt(source.placeOf(path), 'not a valid value', '') : explain(source, first, path);
}

function typeWords(name: string, expected: string, data: Data | undefined): readonly [string, string] {
  const wanted = expected === 'string' ? 'text' : expected === 'array' ? 'a list' : expected === 'boolean' ? 'true or false' : null;
  const word = wanted ?? (expected === 'object' || expected === 'record' ? 'a map of keys and values' : 'a whole number');
  const message = `${name} must be ${word}, but ${data === null || data === undefined ? 'nothing' : describe(data)} stands here`;
  if (expected === 'string' && typeof data === 'number') {
    if (/(?:ttl|tolerance)$/.test(name)) return [message, `write ${data}s, or use m, h or d`];
    if (name === 'max_size') return [message, `write ${data}M, or use K or G`];
    if (name === 'protect' || name === 'services') return [message, `write tcp/${data} or udp/${data}`];
  }
  if (expected === 'string' && (typeof data === 'number' || typeof data === 'boolean')) return [message, `put it in quotes: "${data}"`];
  if (expected === 'boolean' && typeof data === 'string') {
    if (/^(?:yes|on|y)$/i.test(data)) return [message, `in YAML 1.2 ${safeText(data)} is text: write true`];
    if (/^(?:no|off|n)$/i.test(data)) return [message, `in YAML 1.2 ${safeText(data)} is text: write false`];
  }
  if (word === 'a whole number' && typeof data === 'string') {
    if (/^\d+$/.test(data)) return [message, 'remove the quotes'];
    if (/^\d+(?::\d+)+$/.test(data)) return [message, 'in YAML 1.2 this is text, not a time: write a number'];
  }
  if (expected === 'array' && typeof data === 'string' && data.startsWith('-'))
    return [message, `put a space behind the dash: - ${safeText(data.replace(/^-+\s*/, ''))}`];
  if (expected === 'array' && typeof data === 'string') return [message, `write [${safeText(data)}]`];
  return [message, `write ${word}`];
}

function sizeWords(name: string, origin: string, bound: string, size: number): readonly [string, string] {
  if (origin === 'array') return [`${name} must have ${bound} ${size} ${size === 1 ? 'entry' : 'entries'}`, 'add or remove some'];
  if (origin === 'string') return [`${name} must have ${bound} ${size} characters`, 'correct it'];
  return [`${name} must be ${bound} ${size}`, 'correct the number'];
}

function describe(data: Data | undefined): string {
  if (data === null || data === undefined) return 'nothing';
  if (typeof data === 'string') return quoted(data);
  if (typeof data === 'object') return Array.isArray(data) ? 'a list' : 'a map';
  return `the ${typeof data === 'number' ? 'number ' : 'value '}${data}`;
}

function listed(values: readonly string[]): string {
  return values.length < 2 ? values.join('') : `${values.slice(0, -1).join(', ')} or ${values.at(-1)}`;
}
