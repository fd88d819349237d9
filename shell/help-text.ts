// Reads the help of a command definition as a document: what stands behind commander's own lists, in paragraphs and blocks. Prints nothing.
import type { Command } from 'commander';

/** A paragraph of prose, or a block under a heading whose lines stand as they are. */
export type HelpPart =
  | { readonly kind: 'paragraph'; readonly text: string }
  | { readonly kind: 'block'; readonly heading: string; readonly lines: readonly string[] };

/** The parts of the text that `command` prints after its options: paragraphs are parted by empty lines, a block's lines are indented. */
export function helpParts(command: Command): readonly HelpPart[] {
  return textBehind(command)
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.split('\n').filter((line) => line.trim() !== ''))
    .filter((lines) => lines.length > 0)
    .flatMap(readPart);
}

/** What `--help` prints behind the part that commander itself makes. */
function textBehind(command: Command): string {
  const before = { ...command.configureOutput() };
  let text = '';
  command.configureOutput({ writeOut: (piece) => (text += piece) });
  command.outputHelp();
  command.configureOutput(before);
  return text.slice(command.helpInformation().length);
}

function readPart(lines: readonly string[]): readonly HelpPart[] {
  const indented = lines.findIndex((line) => line.startsWith(' '));
  if (indented < 0) return [{ kind: 'paragraph', text: lines.join(' ') }];
  // The line before the indented ones is their heading; lines before that are prose.
  const prose = lines.slice(0, Math.max(0, indented - 1)).join(' ');
  const heading = (lines[indented - 1] ?? '').replace(/:$/, '');
  const behind = lines.findIndex((line, at) => at > indented && !line.startsWith(' '));
  const end = behind < 0 ? lines.length : behind;
  const block: HelpPart = { kind: 'block', heading, lines: lines.slice(indented, end).map((line) => line.replace(/^ {2}/, '')) };
  return [
    ...(prose === '' ? [] : [{ kind: 'paragraph', text: prose } as const]),
    block,
    ...(end < lines.length ? readPart(lines.slice(end)) : []),
  ];
}
