// Puts counters into a source file, so that a run tells which of its branches it took. Reads syntax (oxc-parser) and inserts text: lines stay
// where they are. Knows nothing of fuzzing.
//
// An edge is one way that control can take: the start of a function, each arm of `if` (also the one that is not written), `?:`, `&&`, `||`,
// `??` and a default value, the body of a loop, each case, each catch. For reports every statement can have a counter of its own as well.
import { type Node, parseSync } from 'oxc-parser';

/** The names that an instrumented text expects around it: two arrays of counters. */
export const EDGES_NAME = '__edges';
export const STATEMENTS_NAME = '__statements';

export type Edge = { readonly file: string; readonly line: number; readonly kind: string };
export type Statement = { readonly file: string; readonly line: number };

/** What was instrumented so far; a counter's number is its place in these lists. */
export type Instrumented = {
  readonly edges: Edge[];
  readonly statements: Statement[];
  /** Texts and numbers that stand in the sources: what a parser compares its input with. */
  readonly words: Set<string>;
};

export function nothingInstrumented(): Instrumented {
  return { edges: [], statements: [], words: new Set() };
}

/** An insertion: what closes comes before what opens at the same place. */
type Insertion = { readonly at: number; readonly text: string; readonly closes: boolean };

/** The source with counters; `file` is the name in reports. Throws when the source does not parse. */
export function instrument(source: string, file: string, into: Instrumented, countStatements: boolean): string {
  const { program, errors } = parseSync(file, source, { lang: 'ts' });
  const [error] = errors;
  if (error !== undefined) throw new SyntaxError(`${file}: ${error.message}`);
  const insertions: Insertion[] = [];
  const lineOf = lineFinder(source);

  const open = (at: number, text: string) => insertions.push({ at, text, closes: false });
  const close = (at: number, text: string) => insertions.push({ at, text, closes: true });
  const edge = (at: number, kind: string): string => {
    into.edges.push({ file, line: lineOf(at), kind });
    return `${EDGES_NAME}[${into.edges.length - 1}]++`;
  };
  const statement = (at: number): string => {
    if (!countStatements) return '';
    into.statements.push({ file, line: lineOf(at) });
    return `${STATEMENTS_NAME}[${into.statements.length - 1}]++;`;
  };

  /** Counts what an expression is evaluated. */
  const expression = (node: Node, kind: string): void => {
    open(node.start, `(${edge(node.start, kind)},`);
    walk(node);
    close(node.end, ')');
  };
  /** Counts a statement that is run or left out. */
  const branch = (node: Node, kind: string): void => {
    if (node.type === 'BlockStatement') {
      open(node.start + 1, `${edge(node.start, kind)};`);
      walk(node);
    } else {
      open(node.start, `{${edge(node.start, kind)};${statement(node.start)}`);
      walk(node);
      close(node.end, '}');
    }
  };
  const listed = (nodes: readonly Node[]): void => {
    for (const node of nodes) {
      if (!DECLARATIONS.has(node.type)) open(node.start, statement(node.start));
      walk(node);
    }
  };

  function walk(node: Node): void {
    switch (node.type) {
      case 'FunctionDeclaration':
      case 'FunctionExpression':
        for (const parameter of node.params) walk(parameter);
        if (node.body !== null) branch(node.body as Node, 'function');
        return;
      case 'ArrowFunctionExpression':
        for (const parameter of node.params) walk(parameter);
        if (node.body.type === 'BlockStatement') branch(node.body, 'function');
        else expression(node.body, 'function');
        return;
      case 'BlockStatement':
        listed(node.body);
        return;
      case 'IfStatement':
        walk(node.test);
        branch(node.consequent, 'if');
        if (node.alternate === null) close(node.consequent.end, ` else {${edge(node.end, 'else that is not written')}}`);
        else branch(node.alternate, 'else');
        return;
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement':
      case 'WhileStatement':
      case 'DoWhileStatement':
        for (const child of childrenOf(node)) if (child !== node.body) walk(child);
        branch(node.body, 'loop');
        return;
      case 'ConditionalExpression':
        walk(node.test);
        expression(node.consequent, '?');
        expression(node.alternate, ':');
        return;
      case 'LogicalExpression':
        walk(node.left);
        expression(node.right, node.operator);
        return;
      case 'AssignmentExpression':
        walk(node.left);
        if (/^(\?\?|\|\||&&)=$/.test(node.operator)) expression(node.right, node.operator);
        else walk(node.right);
        return;
      case 'AssignmentPattern':
        walk(node.left);
        expression(node.right, 'default value');
        return;
      case 'SwitchCase': {
        const [first] = node.consequent;
        if (node.test !== null) walk(node.test);
        if (first !== undefined) open(first.start, `${edge(node.start, node.test === null ? 'default' : 'case')};`);
        listed(node.consequent);
        return;
      }
      case 'CatchClause':
        branch(node.body, 'catch');
        return;
      case 'Literal':
        if (typeof node.value === 'string' || typeof node.value === 'number') keepWord(String(node.value), into.words);
        return;
      case 'TemplateElement':
        keepWord(node.value.cooked ?? '', into.words);
        return;
      case 'ImportDeclaration':
      case 'ExportAllDeclaration':
      case 'TSTypeAnnotation':
      case 'TSTypeAliasDeclaration':
      case 'TSInterfaceDeclaration':
        return;
      default:
        for (const child of childrenOf(node)) walk(child);
    }
  }
  for (const node of program.body) walk(node as Node);
  return inserted(source, insertions);
}

/** What is declared does not run where it stands. */
const DECLARATIONS = new Set([
  'FunctionDeclaration',
  'ClassDeclaration',
  'TSTypeAliasDeclaration',
  'TSInterfaceDeclaration',
  'TSDeclareFunction',
  'EmptyStatement',
]);

function childrenOf(node: Node): readonly Node[] {
  return Object.values(node)
    .flat()
    .filter((value): value is Node => typeof value === 'object' && value !== null && 'type' in value && 'start' in value);
}

function keepWord(word: string, words: Set<string>): void {
  // A sentence is a message, not something that input is compared with.
  if (word.length > 0 && word.length <= 40 && word.split(' ').length <= 2) words.add(word);
}

function lineFinder(source: string): (at: number) => number {
  const starts = [0];
  for (let at = source.indexOf('\n'); at >= 0; at = source.indexOf('\n', at + 1)) starts.push(at + 1);
  return (at) => {
    let [low, high] = [0, starts.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= at) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}

/** Closings are listed from the inside out and openings from the outside in, as `walk` comes by them; sorting keeps that order. */
function inserted(source: string, insertions: readonly Insertion[]): string {
  const order = insertions.toSorted((a, b) => a.at - b.at || Number(b.closes) - Number(a.closes));
  let out = '';
  let at = 0;
  for (const insertion of order) {
    out += source.slice(at, insertion.at) + insertion.text;
    at = insertion.at;
  }
  return out + source.slice(at);
}
