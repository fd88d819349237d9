// One thing that is wrong in a file or on this host, with its place and its cure. Collected, never thrown one by one.
import { safeText } from './safe-text.ts';

export type Place = { readonly file: string; readonly line: number; readonly column: number };

export type Problem = {
  readonly severity: 'error' | 'warning';
  /** Where it stands; undefined when it is about the host (kernel, firewall), not about a file. */
  readonly place: Place | undefined;
  readonly message: string;
  /** What to do, as an imperative sentence. */
  readonly cure: string;
};

/** Text that may come from anybody, in double quotes: safe for a terminal and a log (P34). */
export function quoted(text: string, most = 60): string {
  return `"${safeText(text, most).replaceAll('"', '\\"')}"`;
}

/** `rules.d/ops.yaml:3:5`, for a sentence about another place. */
export function formatPlace(place: Place): string {
  return `${safeText(place.file, 300)}:${place.line}:${place.column}`;
}

/** `rules.d/ops.yaml:3:5: unknown key "service": did you mean "services"?` */
export function formatProblem(problem: Problem): string {
  const at = problem.place === undefined ? '' : `${safeText(problem.place.file, 400)}:${problem.place.line}:${problem.place.column}: `;
  const mark = problem.severity === 'warning' ? 'warning: ' : '';
  return `${at}${mark}${safeText(problem.message, 1000)}${problem.cure === '' ? '' : `: ${safeText(problem.cure, 1000)}`}`;
}

export function problemAt(place: Place | undefined, message: string, cure: string, severity: Problem['severity'] = 'error'): Problem {
  return { severity, place, message, cure };
}

/** By file, line and column; what has no place comes first. */
export function inReadingOrder(problems: readonly Problem[]): readonly Problem[] {
  return [...problems].sort((a, b) => {
    if (a.place === undefined || b.place === undefined) return (a.place === undefined ? 0 : 1) - (b.place === undefined ? 0 : 1);
    if (a.place.file !== b.place.file) return a.place.file < b.place.file ? -1 : 1;
    return a.place.line - b.place.line || a.place.column - b.place.column;
  });
}
