// One thing that is wrong in a file or on this host, with its place and its cure. Collected, never thrown one by one.

export type Place = { readonly file: string; readonly line: number; readonly column: number };

export type Problem = {
  readonly severity: 'error' | 'warning';
  /** Where it stands; undefined when it is about the host (kernel, firewall), not about a file. */
  readonly place: Place | undefined;
  readonly message: string;
  /** What to do, as an imperative sentence. */
  readonly cure: string;
};

/** `rules.d/ops.yaml:3:5: unknown key "service": did you mean "services"?` */
export function formatProblem(problem: Problem): string {
  const at = problem.place === undefined ? '' : `${problem.place.file}:${problem.place.line}:${problem.place.column}: `;
  const mark = problem.severity === 'warning' ? 'warning: ' : '';
  return `${at}${mark}${problem.message}${problem.cure === '' ? '' : `: ${problem.cure}`}`;
}
