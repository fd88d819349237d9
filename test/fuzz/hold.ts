// How an oracle says that something does not hold.

export class OracleError extends Error {
  constructor(what: string) {
    super(what);
    this.name = 'OracleError';
  }
}

export function hold(condition: boolean, what: string | (() => string)): asserts condition {
  if (!condition) throw new OracleError(typeof what === 'string' ? what : what());
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** Fails for what a terminal or a reader of logs would not show as it is: controls, text directions, line and paragraph separators. */
export function holdPlain(text: string, what: string): void {
  const bad = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.exec(text);
  if (bad !== null) throw new OracleError(`${what} shows U+${(bad[0].codePointAt(0) ?? 0).toString(16)}`);
}
