// The rows of docs/attacks.md: what is attacked with what, what is expected, and which tests show it. Reads the file; runs nothing.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A test file without its ending, and a part of a title; `…` stands for anything. */
export type Named = { readonly file: string; readonly title: string | undefined };
export type Row = { readonly attack: string; readonly expected: string; readonly tests: readonly Named[] };

const DOCUMENT = fileURLToPath(new URL('../../../docs/attacks.md', import.meta.url));
const COLUMNS = 4;

export function readRows(): readonly Row[] {
  return readFileSync(DOCUMENT, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| ') && line.endsWith(' |'))
    .map((line) => line.slice(2, -2).split(' | '))
    .filter((cells) => cells.length === COLUMNS && cells.at(-1)?.includes('`') === true)
    .map(([attack = '', , expected = '', tests = '']) => ({ attack, expected, tests: namedIn(tests) }));
}

/** Whether a test of this file, with the titles that it stands under, is one that is meant. */
export function isMeant({ file, title }: Named, tested: { readonly file: string; readonly title: string }): boolean {
  // What is run once more with iptables is meant as well.
  if (tested.file !== file && tested.file !== `${file}-iptables`) return false;
  let rest = tested.title;
  return (title?.split('…') ?? []).every((part) => {
    const at = rest.indexOf(part.trim());
    if (at >= 0) rest = rest.slice(at + part.trim().length);
    return at >= 0;
  });
}

function namedIn(cell: string): readonly Named[] {
  let file = '';
  return cell
    .replace(/\*[^*]*\*/g, '')
    .split(';')
    .flatMap((piece): readonly Named[] => {
      const [, name, title] = /^`([^`]+)`(?:: ?(.*))?$/.exec(piece.trim()) ?? [];
      file = name ?? file;
      const wanted = name === undefined ? piece.trim() : title?.trim();
      if (name === undefined && wanted === '') return [];
      return [{ file, title: wanted }];
    });
}
