// Writes manual pages in the man(7) macros. Decides how text is escaped and laid out, not what a page says.

/** One page under construction: title line first, then sections in reading order. */
export type Page = {
  readonly name: string;
  readonly section: 1 | 5 | 7 | 8;
  /** `YYYY-MM-DD`. */
  readonly date: string;
  readonly source: string;
  readonly body: readonly string[];
};

/** The text of the page. Source: man(7), mandoc's roff(7). */
export function pageText(page: Page): string {
  const title = `.TH ${quoted(page.name.toUpperCase())} ${page.section} "${page.date}" ${quoted(page.source)} "Postern"`;
  // A paragraph that opens a section needs no macro of its own.
  const body = page.body
    .flatMap((line) => line.split('\n'))
    .filter((line, at, all) => line !== '.PP' || !/^\.S[HS] /.test(all[at - 1] ?? ''));
  return `${[title, '.nh', '.ad l', ...body].join('\n')}\n`;
}

export const section = (title: string): string => `.SH ${quoted(title.toUpperCase())}`;
export const subsection = (title: string): string => `.SS ${quoted(title)}`;
export const paragraph = (text: string): readonly string[] => ['.PP', prose(text)];

/** A term and what it means: options, files, exit codes. */
export const term = (name: string, text: string): readonly string[] => ['.TP', bold(name), prose(text)];

/** Lines that stand as they are: examples, files. */
export function literal(lines: readonly string[]): readonly string[] {
  return ['.PP', '.in +4n', '.nf', ...lines.map((line) => (line === '' ? '\\&' : guarded(escaped(line)))), '.fi', '.in'];
}

/** Bold text on a line of its own. */
export const bold = (text: string): string => guarded(`\\fB${escaped(text)}\\fR`);

/** Other pages, `knock(1)`, as man(7) writes them: the name bold, the section not. */
export const pageList = (pages: readonly string[]): string =>
  pages.map((page) => page.replace(/^(.*)(\(\d\))$/, (_, name: string, number: string) => `${bold(name)}${number}`)).join(', ');

/** Prose on lines of its own; a sentence begins a new line, as man(7) wants, and `code` is bold. */
export function prose(text: string): string {
  return text
    .trim()
    .split(/(?<=[.!?])\s+(?=[A-Z"`])/)
    .flatMap((sentence) => wrapped(escaped(sentence).replace(/`([^`]+)`/g, '\\fB$1\\fR')))
    .map(guarded)
    .join('\n');
}

/** Lines of source that are no longer than 79 bytes where words allow it, as mandoc's lint asks. */
function wrapped(text: string): readonly string[] {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const last = lines.at(-1);
    if (last === undefined || last.length + word.length + 1 > 77) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** Hyphens are minus signs wherever they may be copied from the page; a backslash is one. */
export function escaped(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('…', '...')
    .replaceAll('→', '\\(->')
    .replaceAll('·', '\\(bu')
    .replaceAll('≥', '\\(>=')
    .replaceAll('≤', '\\(<=')
    .replaceAll('×', '\\(mu')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha');
}

/** A line that begins with a control character is text all the same. */
function guarded(line: string): string {
  return /^[.']/.test(line) ? `\\&${line}` : line;
}

function quoted(text: string): string {
  return `"${escaped(text).replaceAll('"', '\\(dq')}"`;
}
