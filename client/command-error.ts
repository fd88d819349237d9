// The one kind of error that `knock` shows to its user. Anything else that is thrown is a bug and shows its stack.

/** 1: it did not work. 2: wrong usage or configuration. 3: not permitted. 130: interrupted. */
export type FailureCode = 1 | 2 | 3 | 130;

/** A failure that the user can act on. The message is one line: what is wrong and what to do; hints follow on lines of their own. */
export class CommandError extends Error {
  readonly exitCode: FailureCode;
  /** Stable word for scripts (`--json`). */
  readonly code: string;
  readonly hints: readonly string[];

  constructor(exitCode: FailureCode, code: string, message: string, hints: readonly string[] = []) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exitCode;
    this.code = code;
    this.hints = hints;
  }
}

/** By its name, not `instanceof`: parts of the bundle that are loaded later carry a class of their own. */
export function isCommandError(cause: unknown): cause is CommandError {
  return cause instanceof Error && cause.name === 'CommandError';
}

/** Several mistakes in one command line or file are reported together: the first is the message, the others follow. */
export function usageError(problems: readonly string[]): CommandError {
  const [first = 'wrong usage', ...more] = problems;
  return new CommandError(2, 'usage', first, more);
}
