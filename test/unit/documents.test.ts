// The documents that claim something name the test that shows it: each file and each part of a title must be there, in the sources.
//
// In the last column of a table: `file`: part of a title; part of another title of that file; `file`, `file`: part. "…" stands for anything.
// What stands between asterisks is a reason and no title. Anywhere else: (`file`) or (`file`: part of a title).
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

type Reference = { readonly file: string; readonly title: string | undefined };

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const FOLDERS = ['unit', 'integration', 'system', 'fuzz', 'attack'];
const DOCUMENTS = ['attacks.md', 'faults.md', 'knocking.md', 'threat-model.md'];

describe('every test that a document names is there', () => {
  const titles = readTitles();
  for (const document of DOCUMENTS) {
    test(`docs/${document}`, () => {
      const text = readFileSync(join(ROOT, 'docs', document), 'utf8');
      const references = [...tableReferences(text), ...proseReferences(text)];
      assert.ok(references.length > 30, `only ${references.length} references were found: is the table still read as it is written?`);
      const missing = references.filter((reference) => !isThere(reference, titles)).map(({ file, title }) => `${file}: ${title ?? ''}`);
      assert.deepEqual(missing, []);
    });
  }

  test('no row of docs/faults.md is without a test', () => {
    const rows = rowsOf(readFileSync(join(ROOT, 'docs', 'faults.md'), 'utf8'));
    assert.deepEqual(
      rows.filter((cells) => referencesIn(cells.at(-1) ?? '').length === 0),
      [],
    );
  });
});

describe('a reference', () => {
  const titles = new Map([
    ['e2e-x', ['kill -9: closed on time, over IPv4', 'a second one']],
    ['y', ['y does it']],
  ]);
  for (const { cell, missing } of [
    { cell: '`e2e-x`: closed on time; a second; `y`', missing: [] },
    { cell: '`e2e-x`: kill -9 … over; *a; reason*', missing: [] },
    { cell: '`e2e-x`, `y`: second', missing: ['y: second'] },
    { cell: '`e2e-x`: over … kill -9', missing: ['e2e-x: over … kill -9'] },
    { cell: '`e2e-x`: a second one; a third one', missing: ['e2e-x: a third one'] },
    { cell: '`e2e-gone`; a file: `test/unit/gone.txt`, `package.json`', missing: ['e2e-gone: ', 'test/unit/gone.txt: '] },
  ]) {
    test(`${cell}: ${missing.length === 0 ? 'is there' : 'is missed'}`, () => {
      const lost = referencesIn(cell).filter((reference) => !isThere(reference, titles));
      assert.deepEqual(
        lost.map(({ file, title }) => `${file}: ${title ?? ''}`),
        missing,
      );
    });
  }
});

function isThere({ file, title }: Reference, titles: ReadonlyMap<string, readonly string[]>): boolean {
  if (file.includes('/') || file.includes('.')) return existsSync(join(ROOT, file));
  const known = titles.get(file);
  return known !== undefined && (title === undefined || known.some((each) => holdsInOrder(each, title.split('…'))));
}

function holdsInOrder(text: string, parts: readonly string[]): boolean {
  let from = 0;
  for (const part of parts.map((each) => each.trim())) {
    const at = text.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return true;
}

/** The cells of each row of each table, the headings left out. */
function rowsOf(document: string): readonly (readonly string[])[] {
  const lines = document.split('\n');
  return lines
    .filter((line, at) => line.startsWith('|') && !isRuler(line) && !isRuler(lines[at + 1] ?? ''))
    .map((line) => line.slice(1, line.lastIndexOf('|')).split('|'));
}

function isRuler(line: string): boolean {
  return /^\|[-| ]+\|$/.test(line);
}

function tableReferences(document: string): readonly Reference[] {
  return rowsOf(document).flatMap((cells) => referencesIn(cells.at(-1) ?? ''));
}

function proseReferences(document: string): readonly Reference[] {
  const prose = document.split('\n').filter((line) => !line.startsWith('|'));
  return [...prose.join('\n').matchAll(/\((`[a-z0-9-]+`[^)]*)\)/g)].flatMap(([, inner = '']) => referencesIn(inner));
}

function referencesIn(cell: string): readonly Reference[] {
  let files: readonly string[] = [];
  return cell
    .replace(/\*[^*]*\*/g, '')
    .split(';')
    .flatMap((piece): readonly Reference[] => {
      const [, named = '', title] = /^((?:[^`]*`[^`]+`)+)(?:: ?(.*))?$/s.exec(piece.trim()) ?? [];
      const names = [...named.matchAll(/`([^`]+)`/g)].flatMap(([, name = '']) => name);
      if (names.length > 0) files = names;
      const wanted = (names.length > 0 ? title : piece)?.trim();
      if (names.length === 0 && wanted === '') return [];
      return files.map((file) => ({ file, title: wanted === '' ? undefined : wanted }));
    });
}

/** By the name of the test file without its ending: the text of each title, as it stands in the source. */
function readTitles(): ReadonlyMap<string, readonly string[]> {
  const titles = new Map<string, readonly string[]>();
  for (const folder of FOLDERS) {
    const path = join(ROOT, 'test', folder);
    if (!existsSync(path)) continue;
    for (const file of readdirSync(path).filter((name) => name.endsWith('.test.ts'))) {
      const source = readFileSync(join(path, file), 'utf8');
      const calls = source.matchAll(/\b(?:test|it|describe)\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|`((?:[^`\\]|\\.)*)`)/g);
      titles.set(
        basename(file, '.test.ts'),
        [...calls].map(([, single, double, template]) => (single ?? double ?? template ?? '').replace(/\\(.)/g, '$1')),
      );
    }
  }
  return titles;
}
