// Brings lines to a file descriptor without ever blocking, growing or ending the daemon: a full disk or a stuck journal costs lines, not knocks.
// pino's own destination cannot be used: with a full disk (ENOSPC) its flush at exit repeats for ever, and the process never ends.
import { write, writeSync } from 'node:fs';

export type LogOutput = {
  readonly write: (text: string) => void;
  /** Calls back when nothing waits any more. */
  readonly flush: (done?: () => void) => void;
  /** What waits is written now, for the end of the process; gives up after a moment. */
  readonly flushNow: () => void;
};

export type LogOutputOptions = {
  readonly maxWaitingChars: number;
  /** Told when lines can be written again after some were lost. */
  readonly onLost: (lines: number) => void;
};

// Tunable
/** A reader that is slow for now (EAGAIN): the time until the next attempt, and how many of them the end of the process waits for. */
const RETRY_MS = 20;
const RETRIES_AT_END = 10;

export function openLogOutput(fd: number, options: LogOutputOptions): LogOutput {
  let waiting: string[] = [];
  let waitingChars = 0;
  let lost = 0;
  let isFailing = false;
  let retry: NodeJS.Timeout | undefined;
  let current: Buffer | undefined;
  let flushed: (() => void)[] = [];

  const next = (): void => {
    if (waiting.length === 0) tellLost();
    if (current !== undefined) return;
    if (waiting.length === 0) {
      const calls = flushed;
      flushed = [];
      for (const call of calls) call();
      return;
    }
    current = Buffer.from(waiting.join(''));
    waiting = [];
    waitingChars = 0;
    attempt(current);
  };

  /** Only when there is room for the line about it, and not while it could not be written either. */
  const tellLost = (): void => {
    if (lost === 0 || isFailing) return;
    const lines = lost;
    lost = 0;
    options.onLost(lines);
  };

  const attempt = (bytes: Buffer): void => {
    write(fd, bytes, (error, written) => {
      if (error !== null && isBusy(error)) {
        // Not a reason to stay alive: the end of the process has its own attempts.
        retry = setTimeout(() => {
          retry = undefined;
          attempt(bytes);
        }, RETRY_MS).unref();
        return;
      }
      if (error === null && written < bytes.length) {
        current = bytes.subarray(written);
        attempt(current);
        return;
      }
      isFailing = error !== null;
      if (isFailing) lost += countLines(bytes);
      current = undefined;
      next();
    });
  };

  return {
    write: (text) => {
      if (waitingChars + text.length > options.maxWaitingChars) {
        lost += 1;
        return;
      }
      waiting.push(text);
      waitingChars += text.length;
      if (current === undefined) next();
    },
    flush: (done) => {
      if (current === undefined && waiting.length === 0) done?.();
      else if (done !== undefined) flushed.push(done);
    },
    flushNow: () => {
      // What a pool thread has already is written by it: the process waits for its threads. What waits for a retry is not.
      clearTimeout(retry);
      const refused = retry === undefined ? [] : [current ?? Buffer.alloc(0)];
      writeAtEnd(fd, Buffer.concat([...refused, Buffer.from(waiting.join(''))]));
      waiting = [];
      waitingChars = 0;
    },
  };
}

function writeAtEnd(fd: number, bytes: Buffer): void {
  let rest = bytes;
  for (let retries = 0; rest.length > 0 && retries <= RETRIES_AT_END; ) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if (!isBusy(error)) return;
      retries += 1;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    }
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EAGAIN';
}

function countLines(bytes: Buffer): number {
  return bytes.filter((byte) => byte === 0x0a).length;
}
