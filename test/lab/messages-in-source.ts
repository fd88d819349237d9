// Finds every message for a user in the project's sources: the words of errors, problems, refusals and warnings, with … for what varies.
// It reads syntax, not text, so that a message that is composed from parts is found as a whole.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Expression, type Node, parseSync, Visitor } from 'oxc-parser';

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
  report: [0],
  at: [1],
};

/** A word of one kind of failure (`usage`, `not-permitted`), not a message. */
const CODE = /^[a-z0-9-]+$/;

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
  const found: SourceMessage[] = [];
  const take = (callee: Node, args: readonly Node[]) => {
    const name = callee.type === 'Identifier' ? callee.name : callee.type === 'MemberExpression' && callee.property.type === 'Identifier' ? callee.property.name : '';
    const places = Object.hasOwn(TAKERS, name) ? (TAKERS[name] ?? []) : [];
    const which = places.includes(-1) ? args : places.flatMap((place) => args[place] ?? []);
    for (const arg of which)
      for (const text of textsOf(arg)) {
        if (text.replace(/…/g, '').trim() === '' || CODE.test(text)) continue;
        found.push({ text, file: relative(PROJECT, path), line: source.slice(0, arg.start).split('\n').length });
      }
  };
  new Visitor({
    CallExpression: ({ callee, arguments: args }) => take(callee, args),
    NewExpression: ({ callee, arguments: args }) => take(callee, args),
  }).visit(parseSync(path, source).program);
  return found;
}

/** What the expression can be as text: several where it chooses, none where it is no text. */
function textsOf(node: Node | Expression): readonly string[] {
  switch (node.type) {
    case 'Literal':
      return typeof node.value === 'string' ? [node.value] : [];
    case 'TemplateLiteral': {
      return [node.quasis.map(({ value }) => value.cooked ?? '').join('…')];
    }
    case 'ConditionalExpression':
      return [...textsOf(node.consequent), ...textsOf(node.alternate)];
    case 'LogicalExpression':
      return [...textsOf(node.left), ...textsOf(node.right)];
    case 'BinaryExpression': {
      if (node.operator !== '+') return [];
      const [left, right] = [textsOf(node.left), textsOf(node.right)];
      return (left.length === 0 ? ['…'] : left).flatMap((a) => (right.length === 0 ? ['…'] : right).map((b) => `${a}${b}`));
    }
    case 'ArrayExpression':
      return node.elements.flatMap((element) => (element === null || element.type === 'SpreadElement' ? [] : textsOf(element)));
    case 'TSAsExpression':
    case 'TSSatisfiesExpression':
      return textsOf(node.expression);
    default:
      return [];
  }
}
