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
  return { severity, place, message: withoutKeys(message), cure: withoutKeys(cure) };
}

/** 32 bytes in base64 as a pre-shared key stands in its file, and longer runs as in a private key's. A fingerprint has 43 letters and no `=`. */
const KEY_LIKE = /[A-Za-z0-9+/]{48,}={0,2}|[A-Za-z0-9+/]{43}=/g;

/**
 * A key that stands where it does not belong (`psk_file:` with the key itself, a key file in place of a rule file) must not get into the
 * journal by way of the message about it. A long path has no capitals and digits; what looks like a key and is none is no loss.
 */
function withoutKeys(text: string): string {
  return text.replace(KEY_LIKE, (run) =>
    /[A-Z]/.test(run) && /[a-z]/.test(run) && /[0-9]/.test(run) ? `(${run.length} letters, not shown)` : run,
  );
}

/** By file, line and column; what has no place comes first. */
export function inReadingOrder(problems: readonly Problem[]): readonly Problem[] {
  return [...problems].sort((a, b) => {
    if (a.place === undefined || b.place === undefined) return (a.place === undefined ? 0 : 1) - (b.place === undefined ? 0 : 1);
    if (a.place.file !== b.place.file) return a.place.file < b.place.file ? -1 : 1;
    return a.place.line - b.place.line || a.place.column - b.place.column;
  });
}
