// An end of a command that its user caused and can mend: one line and an exit code, no stack.

/** 1 it did not work, 2 wrong usage or configuration, 3 not permitted. */
export type ExitCode = 1 | 2 | 3;

export class CommandError extends Error {
  readonly exitCode: ExitCode;
  constructor(exitCode: ExitCode, message: string) {
    super(message);
    this.name = 'CommandError';
    this.exitCode = exitCode;
  }
}
