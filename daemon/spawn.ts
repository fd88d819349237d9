// The one place that starts child processes: argument arrays only, a fixed environment, a time limit. Never a shell (P33).

import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { lendNetAdmin } from './netlink/capabilities.ts';

/** Nothing of our own environment reaches a child. */
const ENVIRONMENT = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', HOME: '/' } as const;
// Tunable
/** A listing of 10,000 elements is 1 MB; more than this is not an answer that we asked for. */
const OUTPUT_BYTES = 64 * 1024 * 1024;

export type Finished = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type RunOptions = { readonly stdin?: string; readonly timeoutMs: number };

/** The program could not be run to its end. An exit code other than 0 is not one: it is a result. */
export class SpawnError extends Error {
  readonly code: 'MISSING' | 'TIMEOUT' | 'KILLED' | 'FAILED';
  constructor(code: SpawnError['code'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'SpawnError';
    this.code = code;
  }
}

/** Runs `argv` to its end. A child that exceeds the time limit is killed. */
export function run(argv: readonly string[], options: RunOptions): Promise<Finished> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = lendNetAdmin(() => spawn(program, args, { env: ENVIRONMENT, cwd: '/', stdio: ['pipe', 'pipe', 'pipe'], shell: false }));
    const output = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    let bytes = 0;
    let ended: SpawnError | undefined;
    const stop = (error: SpawnError): void => {
      ended ??= error;
      child.kill('SIGKILL');
    };
    const timer = setTimeout(
      () => stop(new SpawnError('TIMEOUT', `${program} took longer than ${options.timeoutMs} ms`)),
      options.timeoutMs,
    );
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > OUTPUT_BYTES) stop(new SpawnError('FAILED', `${program} wrote more than ${OUTPUT_BYTES} bytes`));
        else output[name].push(chunk);
      });
    }
    child.on('error', (cause) => {
      clearTimeout(timer);
      const missing = 'code' in cause && cause.code === 'ENOENT';
      reject(
        missing
          ? new SpawnError('MISSING', `${program} is not installed`, cause)
          : new SpawnError('FAILED', `${program}: ${cause.message}`, cause),
      );
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (ended !== undefined) reject(ended);
      else if (code === null) reject(new SpawnError('KILLED', `${program} was ended by ${signal ?? 'a signal'}`));
      else resolve({ code, stdout: Buffer.concat(output.stdout).toString(), stderr: Buffer.concat(output.stderr).toString() });
    });
    // A child that ends without reading its input breaks the pipe; its exit code tells why.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.stdin ?? '');
  });
}
