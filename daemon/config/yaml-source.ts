// Turns the text of one YAML 1.2 document into plain data, and remembers where each part stands.
// It must not resolve anything: no anchors, aliases, tags, merge keys or second documents, so that nothing can grow or hide (P35).
import { isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, type Node, parseDocument } from 'yaml';
import { type Place, type Problem, problemAt, quoted } from '../problem.ts';

/** A value as JSON has it. Maps are without a prototype. */
export type Data = null | boolean | number | string | readonly Data[] | DataMap;
export type DataMap = { readonly [key: string]: Data };
export type Path = readonly (string | number)[];

export type YamlSource = {
  /** Undefined: there is nothing to validate (empty, or not YAML at all). */
  readonly data: Data | undefined;
  readonly problems: readonly Problem[];
  /** Where the value at this path stands, or the nearest part around it that exists. */
  readonly placeOf: (path: Path) => Place;
  /** Where the key stands that the path ends in. */
  readonly keyPlaceOf: (path: Path) => Place;
};

// Tunable. Our files are four levels deep; a parser that recurses is a parser that can be made to overflow.
const MAX_DEPTH = 32;

/** Reads the bytes of a file. Every problem is reported, each with its place. */
export function readYaml(file: string, bytes: Uint8Array): YamlSource {
  const start: Place = { file, line: 1, column: 1 };
  const nothing = (problem: Problem): YamlSource => ({
    data: undefined,
    problems: [problem],
    placeOf: () => start,
    keyPlaceOf: () => start,
  });
  let text: string;
  try {
    // Takes the byte order mark away, if there is one.
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return nothing(problemAt(start, 'the file is not UTF-8 text', 'save it as UTF-8'));
  }
  const control = /(?![\t\n\r])\p{Cc}|[\u2028\u2029\ufeff]|\r(?!\n)/u.exec(text);
  if (control !== null) {
    const place = placeAt(file, text, control.index);
    return nothing(problemAt(place, `a control character (${quoted(control[0])}) stands here`, 'remove it'));
  }
  const deep = deepSpot(text);
  if (deep !== undefined)
    return nothing(problemAt(placeAt(file, text, deep), 'brackets or lists are nested too deep', 'see the examples in rules/'));

  const lines = new LineCounter();
  const placeOfOffset = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col) };
  };
  let document: ReturnType<typeof parseDocument>;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      version: '1.2',
      schema: 'core',
      stringKeys: true,
      uniqueKeys: false, // ours names both places
      prettyErrors: false,
      logLevel: 'error', // silent would keep a second document from us
    });
  } catch {
    return nothing(problemAt(start, 'the file cannot be read as YAML', 'see the examples in rules/'));
  }
  const problems: Problem[] = document.errors.map((error) => {
    const [message, cure] = syntaxWords(error.code, withoutToken(error.message));
    return problemAt(placeOfOffset(error.pos[0]), message, cure);
  });
  if (document.directives?.yaml.explicit === true) {
    problems.push(problemAt(start, 'a %YAML directive stands here', 'remove it: these files are YAML 1.2'));
  }
  const reader = new TreeReader(placeOfOffset, problems);
  // What the parser made of a text that is not YAML would only bring complaints that vanish with the first correction.
  const data = document.contents === null || document.errors.length > 0 ? undefined : reader.read(document.contents, []);
  return {
    data,
    problems,
    placeOf: (path) => find(reader.values, path) ?? start,
    keyPlaceOf: (path) => reader.keys.get(pathKey(path)) ?? find(reader.values, path) ?? start,
  };
}

/** Walks the tree once. Lives as long as one file is read. */
class TreeReader {
  readonly values = new Map<string, Place>();
  readonly keys = new Map<string, Place>();
  readonly #placeOfOffset: (offset: number) => Place;
  readonly #problems: Problem[];

  constructor(placeOfOffset: (offset: number) => Place, problems: Problem[]) {
    this.#placeOfOffset = placeOfOffset;
    this.#problems = problems;
  }

  read(node: Node, path: Path): Data {
    const place = this.#place(node);
    this.values.set(pathKey(path), place);
    if (isAlias(node)) return this.#refuse(place, 'an alias (*) stands here', 'write the value out');
    if ('anchor' in node && node.anchor !== undefined)
      this.#refuse(place, 'an anchor (&) stands here', 'remove it: aliases are not used in these files');
    if ('tag' in node && node.tag !== undefined) this.#refuse(place, 'a YAML tag (!) stands here', 'remove it');
    if (isSeq(node)) return node.items.map((item, at) => this.read(item as Node, [...path, at]));
    if (isMap(node)) return this.#readMap(node.items as readonly MapPair[], path);
    return isScalar(node) ? this.#readScalar(node, place) : null;
  }

  #readMap(pairs: readonly MapPair[], path: Path): DataMap {
    const out: Record<string, Data> = Object.create(null);
    for (const { key, value } of pairs) {
      const place = this.#place(key);
      if (!isScalar(key) || typeof key.value !== 'string') {
        this.#refuse(place, 'a key must be plain text', 'write key: value');
        continue;
      }
      const here = [...path, key.value];
      const first = this.keys.get(pathKey(here));
      if (first !== undefined) {
        this.#refuse(place, `the key ${quoted(key.value)} stands twice (first in line ${first.line})`, 'keep one of them');
        continue;
      }
      this.keys.set(pathKey(here), place);
      if (value === null) this.values.set(pathKey(here), place);
      out[key.value] = value === null ? null : this.read(value, here);
    }
    return out;
  }

  #readScalar(node: { readonly value: unknown; readonly source?: string; readonly type?: string }, place: Place): Data {
    const { value } = node;
    if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
    if (typeof value !== 'number') return this.#refuse(place, 'this is not a value that YAML 1.2 has', 'put it in quotes');
    // 022 is 22 in YAML 1.2, and was 18 in 1.1: whoever writes it means one of the two.
    if (/^[-+]?0\d/.test(node.source ?? '')) {
      this.#refuse(place, `${node.source} is the number ${value} in YAML 1.2`, `write ${value}, or quotes around it if it is text`);
    }
    return value;
  }

  #refuse(place: Place, message: string, cure: string): null {
    this.#problems.push(problemAt(place, message, cure));
    return null;
  }

  #place(node: Node | null): Place {
    return this.#placeOfOffset(node?.range?.[0] ?? 0);
  }
}

type MapPair = { readonly key: Node; readonly value: Node | null };

/** The lexer does not recurse, so it can tell what would make the parser overflow: a spot that is nested too deep. */
function deepSpot(text: string): number | undefined {
  let flow = 0;
  let inLine = 0;
  let offset = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') flow += 1;
    else if (token === ']' || token === '}') flow = Math.max(0, flow - 1);
    else if (token === '-' || token === '?' || token === ':') inLine += 1;
    else if (token === ',' || token.endsWith('\n')) inLine = 0;
    if (flow > MAX_DEPTH || inLine > MAX_DEPTH) return Math.min(offset, text.length);
    // The lexer marks documents, scalars and byte order marks with single control characters that are not in the text.
    if (token !== '\u0002' && token !== '\u0018' && token !== '\u001f') offset += token.length;
  }
  const steep = /^ {512}/m.exec(text);
  return steep?.index;
}

/** The parser repeats what stands there, which may be a key in the wrong file; the place says it as well. */
function withoutToken(message: string): string {
  return message.replace(/: ".*$/s, '');
}

function syntaxWords(code: string, message: string): readonly [message: string, cure: string] {
  switch (code) {
    case 'MULTIPLE_DOCS':
      return ['a second YAML document begins here', 'keep one document in a file: remove the ---'];
    case 'TAB_AS_INDENT':
      return ['a tab stands in the indentation', 'indent with spaces'];
    case 'NON_STRING_KEY':
      return ['a key must be plain text', 'write key: value'];
    case 'BAD_DIRECTIVE':
      return ['a directive (%) stands here', 'remove it'];
    case 'BAD_INDENT':
    case 'MISSING_CHAR':
    case 'UNEXPECTED_TOKEN':
    case 'BLOCK_AS_IMPLICIT_KEY':
      return [`not valid YAML: ${message}`, 'see indentation, quotes and brackets here and just above'];
    default:
      return [`not valid YAML: ${message}`, 'correct the syntax'];
  }
}

function placeAt(file: string, text: string, offset: number): Place {
  const before = text.slice(0, offset);
  const lineStart = before.lastIndexOf('\n') + 1;
  return { file, line: before.split('\n').length, column: offset - lineStart + 1 };
}

function find(places: ReadonlyMap<string, Place>, path: Path): Place | undefined {
  for (let length = path.length; length >= 0; length -= 1) {
    const place = places.get(pathKey(path.slice(0, length)));
    if (place !== undefined) return place;
  }
  return undefined;
}

function pathKey(path: Path): string {
  return JSON.stringify(path);
}
