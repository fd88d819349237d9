// What a change does to a file, in the form of `diff -u`. Pure.

const CONTEXT_LINES = 3;
const NO_LINE_END = '\\ No newline at end of file';

/** One hunk from the first line that differs to the last one; empty when nothing does. `before` undefined: a new file. */
export function unifiedDiff(path: string, before: string | undefined, after: string): string {
  const [a, b] = [linesOf(before ?? ''), linesOf(after)];
  let head = 0;
  while (head < Math.min(a.length, b.length) && a[head] === b[head]) head += 1;
  let tail = 0;
  while (tail < Math.min(a.length, b.length) - head && a.at(-1 - tail) === b.at(-1 - tail)) tail += 1;
  if (head === a.length && head === b.length) return '';
  const from = Math.max(0, head - CONTEXT_LINES);
  const [untilA, untilB] = [a.length, b.length].map((length) => Math.min(length, length - tail + CONTEXT_LINES));
  const lines = [
    ...a.slice(from, head).map((line) => ` ${line}`),
    ...a.slice(head, a.length - tail).map((line) => `-${line}`),
    ...b.slice(head, b.length - tail).map((line) => `+${line}`),
    ...a.slice(a.length - tail, untilA).map((line) => ` ${line}`),
  ];
  const hunk = `@@ -${range(from, untilA ?? 0)} +${range(from, untilB ?? 0)} @@`;
  return `--- ${before === undefined ? '/dev/null' : path}\n+++ ${path}\n${hunk}\n${lines.join('')}`;
}

/** Each with its line end. */
function linesOf(text: string): readonly string[] {
  return (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).map((line) => (line.endsWith('\n') ? line : `${line}\n${NO_LINE_END}\n`));
}

/** `diff` counts from one, and names the line before an empty range. */
function range(from: number, until: number): string {
  return `${until === from ? from : from + 1},${until - from}`;
}
