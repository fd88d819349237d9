// The manual page of a YAML file, from the JSON Schema that its loader's definition gives. Pure.
import { bold, literal, type Page, pageList, pageText, paragraph, prose, section } from './roff.ts';

/** As much of JSON Schema (2020-12) as the project's definitions give. */
export type SchemaNode = {
  readonly title?: string;
  readonly description?: string;
  readonly type?: string;
  readonly enum?: readonly (string | number | boolean)[];
  readonly const?: string | number | boolean;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: boolean | SchemaNode;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
  readonly required?: readonly string[];
};

export type FileFacts = {
  readonly name: string;
  readonly about: string;
  readonly description: readonly string[];
  readonly date: string;
  readonly version: string;
  /** A file that works, as lines. */
  readonly example: readonly string[];
  /** What belongs to the page but to no key: each a title and its paragraphs. */
  readonly more: readonly (readonly [title: string, paragraphs: readonly string[]])[];
  readonly files: readonly (readonly [path: string, about: string])[];
  readonly seeAlso: readonly string[];
};

/** The page as roff. */
export function filePage(schema: SchemaNode, facts: FileFacts): string {
  const body = [
    section('Name'),
    `${facts.name} \\- ${facts.about}`,
    section('Description'),
    ...facts.description.flatMap(paragraph),
    section('Keys'),
    ...keyTerms(schema, ''),
    ...facts.more.flatMap(([title, texts]) => [section(title), ...texts.flatMap(paragraph)]),
    section('Files'),
    ...facts.files.flatMap(([path, about]) => ['.TP', bold(path), prose(about)]),
    section('Examples'),
    ...literal(facts.example),
    section('See also'),
    pageList(facts.seeAlso),
  ];
  const page: Page = { name: facts.name, section: 5, date: facts.date, source: `Postern ${facts.version}`, body };
  return pageText(page);
}

/** Every key of the file, nested ones as `log.level` and `clients[].name`, each with the values it takes. */
export function keysOf(schema: SchemaNode, before = ''): readonly { readonly key: string; readonly node: SchemaNode }[] {
  return Object.entries(objectProperties(schema)).flatMap(([name, node]) => {
    const key = `${before}${name}`;
    const inside = entries(node);
    if (inside === undefined) return [{ key, node }, ...keysOf(node, `${key}.`)];
    return [{ key, node }, ...inside.flatMap((entry) => keysOf(entry, `${key}[].`))];
  });
}

function keyTerms(schema: SchemaNode, before: string): readonly string[] {
  return keysOf(schema, before).flatMap(({ key, node }) => {
    const about = node.description ?? '';
    return ['.TP', `${bold(key)} (${prose(values(node)).replaceAll('\n', ' ')})`, prose(/[.!?]$/.test(about) ? about : `${about}.`)];
  });
}

function objectProperties(node: SchemaNode): Readonly<Record<string, SchemaNode>> {
  if (node.properties !== undefined) return node.properties;
  return Object.assign({}, ...(node.anyOf ?? []).map(objectProperties)) as Readonly<Record<string, SchemaNode>>;
}

/** The kinds of objects that a list holds, if it holds objects. */
function entries(node: SchemaNode): readonly SchemaNode[] | undefined {
  const list = [node, ...(node.anyOf ?? [])].find((one) => one.items !== undefined);
  if (list?.items === undefined) return undefined;
  const kinds = (list.items.anyOf ?? [list.items]).filter((one) => one.properties !== undefined);
  return kinds.length > 0 ? kinds : undefined;
}

/** What may stand behind the key, in words. */
function values(node: SchemaNode): string {
  if (node.anyOf !== undefined) {
    const kinds = node.anyOf.filter((one) => one.type !== 'null').map(values);
    return [...new Set(kinds)].join(', or ');
  }
  if (node.const !== undefined) return String(node.const);
  if (node.enum !== undefined) return node.enum.join(', ');
  switch (node.type) {
    case 'integer': {
      const { minimum, maximum } = node;
      return minimum !== undefined && maximum !== undefined ? `number from ${minimum} to ${maximum}` : 'number';
    }
    case 'boolean':
      return 'true or false';
    case 'array':
      return node.items === undefined ? 'list' : `list of ${plural(values(node.items))}`;
    case 'object':
      return node.properties === undefined ? 'map' : 'keys below';
    default:
      return 'text';
  }
}

function plural(kind: string): string {
  const words: Readonly<Record<string, string>> = { text: 'texts', 'keys below': 'entries', number: 'numbers', map: 'maps' };
  return words[kind] ?? kind;
}
