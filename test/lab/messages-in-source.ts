// Finds every message for a user in the project's sources: the words of errors, problems, refusals and warnings, with … for what varies.
// It reads syntax, not text, so that a message that is composed from parts is found as a whole.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Node, type Program, parseSync, Visitor } from 'oxc-parser';

export type SourceMessage = { readonly text: string; readonly file: string; readonly line: number };

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));

/** For each function that takes messages, which of its arguments are some. `-1`: each argument that is text. */
const TAKERS: Readonly<Record<string, readonly number[]>> = {
  CommandError: [-1],
  NotRunning: [-1],
  usageError: [-1],
  problemAt: [1],
  wrong: [0],
  unparsed: [0],
  warn: [-1],
  error: [-1],
  trouble: [0],
  onTrouble: [0],
  report: [-1],
  onEvent: [1],
  at: [1],
  drop: [1],
  refuse: [-1],
  FirewallError: [1],
  CaptureError: [-1],
  LedgerHeldError: [-1],
  HeldError: [-1],
};

/** Properties that hold a message wherever an object is made: a refusal is often a value, not an error. What stands in `cure` is told with it. */
const PROPERTIES = new Set(['why', 'what', 'message', 'sentence']);

/** The word of a kind of failure: `groups-taken`, `log.audit`. */
const CODE = /^[a-z0-9]+([.-][a-z0-9]+)*$/;
/** Less is a name or a frame for other messages (`usage`, `SET_FULL`, `…: …`, `… of …`). */
const TWO_WORDS = /[a-z]{2,}[^a-z…]+([^…]*[^a-z…])?[a-z]{2,}/i;

/** All messages of `client/`, `daemon/`, `protocol/` and `shell/`, in the order of files and lines. */
export function messagesInSource(): readonly SourceMessage[] {
  return ['client', 'daemon', 'protocol', 'shell'].flatMap((folder) =>
    readdirSync(join(PROJECT, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .sort()
      .flatMap((name) => messagesOf(join(PROJECT, folder, name))),
  );
}

function messagesOf(path: string): readonly SourceMessage[] {
  const source = readFileSync(path, 'utf8');
  const program = parseSync(path, source).program;
  const names = textsByName(program);
  const found: SourceMessage[] = [];
  const add = (node: Node) => {
    for (const text of textsOf(node, names)) {
      if (CODE.test(text) || !TWO_WORDS.test(text.replaceAll('_', ''))) continue;
      found.push({ text, file: relative(PROJECT, path), line: source.slice(0, node.start).split('\n').length });
    }
  };
  const take = (callee: Node, args: readonly Node[]) => {
    const name =
      callee.type === 'Identifier'
        ? callee.name
        : callee.type === 'MemberExpression' && callee.property.type === 'Identifier'
          ? callee.property.name
          : '';
    const places = isProblemList(callee) ? [-1] : Object.hasOwn(TAKERS, name) ? (TAKERS[name] ?? []) : [];
    // A place, a message and its cure: the cure is told with the message.
    const which =
      args.length > 2 && ['warn', 'refuse'].includes(name)
        ? args.slice(1, 2)
        : places.includes(-1)
          ? args
          : places.flatMap((place) => args[place] ?? []);
    which.forEach(add);
  };
  new Visitor({
    CallExpression: ({ callee, arguments: args }) => take(callee, args),
    NewExpression: ({ callee, arguments: args }) => take(callee, args),
    Property: ({ key, value }) => {
      if (key.type === 'Identifier' && PROPERTIES.has(key.name)) add(value);
    },
    ObjectExpression: ({ properties }) => {
      const named = (name: string) =>
        properties.flatMap((one) => (one.type === 'Property' && one.key.type === 'Identifier' && one.key.name === name ? [one.value] : []));
      if (named('cure').length > 0) named('text').forEach(add);
    },
  }).visit(program);
  return found;
}

/** `problems.push(…)`, `this.problems.push(…)`: mistakes that are gathered and told together. */
function isProblemList(callee: Node): boolean {
  if (callee.type !== 'MemberExpression' || callee.property.type !== 'Identifier' || callee.property.name !== 'push') return false;
  const { object } = callee;
  const list = object.type === 'MemberExpression' ? object.property : object;
  return list.type === 'Identifier' && list.name === 'problems';
}

type Names = ReadonlyMap<string, readonly string[]>;

/** Constants of the file that are texts: `const message = …` is often what is handed on. */
function textsByName(program: Program): Names {
  const names = new Map<string, readonly string[]>();
  new Visitor({
    VariableDeclarator: ({ id, init }) => {
      if (id.type !== 'Identifier' || init === null) return;
      const texts = textsOf(init, names);
      if (texts.length > 0) names.set(id.name, [...(names.get(id.name) ?? []), ...texts]);
    },
  }).visit(program);
  return names;
}

/** What the expression can be as text: several where it chooses, none where it is no text. */
function textsOf(node: Node, names: Names): readonly string[] {
  const of = (inner: Node) => textsOf(inner, names);
  switch (node.type) {
    case 'Literal':
      return typeof node.value === 'string' ? [node.value] : [];
    case 'TemplateLiteral':
      return [node.quasis.map(({ value }) => value.cooked ?? '').join('…')];
    case 'Identifier':
      return names.get(node.name) ?? [];
    case 'ConditionalExpression':
      return [...of(node.consequent), ...of(node.alternate)];
    case 'LogicalExpression':
      return [...of(node.left), ...of(node.right)];
    case 'BinaryExpression': {
      if (node.operator !== '+') return [];
      const [left, right] = [of(node.left), of(node.right)];
      return (left.length === 0 ? ['…'] : left).flatMap((a) => (right.length === 0 ? ['…'] : right).map((b) => `${a}${b}`));
    }
    case 'ArrayExpression':
      return node.elements.flatMap((element) => (element === null || element.type === 'SpreadElement' ? [] : of(element)));
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
      return of(node.expression);
    default:
      return [];
  }
}

/** The words by which the daemon's log names refusals: the union types of daemon/step.ts and protocol/packet.ts. */
export function reasonsInSource(): ReadonlySet<string> {
  return new Set([...unionOf('daemon/step.ts', 'DropReason'), ...unionOf('protocol/packet.ts', 'OpenFailure')]);
}

function unionOf(file: string, name: string): readonly string[] {
  const path = join(PROJECT, file);
  const found: string[] = [];
  new Visitor({
    TSTypeAliasDeclaration: ({ id, typeAnnotation }) => {
      if (id.name !== name || typeAnnotation.type !== 'TSUnionType') return;
      for (const type of typeAnnotation.types)
        if (type.type === 'TSLiteralType' && type.literal.type === 'Literal' && typeof type.literal.value === 'string')
          found.push(type.literal.value);
    },
  }).visit(parseSync(path, readFileSync(path, 'utf8')).program);
  return found;
}
