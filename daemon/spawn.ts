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

export type RunOptions = {
  readonly stdin?: string;
  readonly timeoutMs: number;
  /** Beside the fixed environment. */
  readonly env?: Readonly<Record<string, string>>;
};

/** The program could not be run to its end. An exit code other than 0 is not one: it is a result. */
export class SpawnError extends Error {
  readonly code: 'MISSING' | 'TIMEOUT' | 'KILLED' | 'FAILED';
  constructor(code: SpawnError['code'], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'SpawnError';
    this.code = code;
  }
}

export type Launched = {
  /** Resolves when it ends, with its exit code. */
  readonly ended: Promise<number>;
  /** Our own end does not wait for it any more. */
  readonly forget: () => void;
};

/** Starts something that lives on without us, in a session of its own; what it says goes to the file (which is open for appending). */
export function launch(argv: readonly string[], output: number): Launched {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { env: ENVIRONMENT, cwd: '/', stdio: ['ignore', output, output], shell: false, detached: true });
  const ended = new Promise<number>((resolve) => {
    child.once('error', () => resolve(127));
    child.once('exit', (code) => resolve(code ?? 128));
  });
  return { ended, forget: () => child.unref() };
}

export type Listening = {
  /** The last word that it hears; without one its input only closes. */
  readonly tell: (text: string) => void;
};

/**
 * Starts something that may change the firewall after our end, of which it hears by its standard input. In a session of its own: what is sent to
 * our group or terminal is not for it.
 */
export function launchListening(argv: readonly string[], onEnd: () => void): Listening {
  const [program = '', ...args] = argv;
  const child = lendNetAdmin(() =>
    spawn(program, args, { env: ENVIRONMENT, cwd: '/', stdio: ['pipe', 'ignore', 'inherit'], shell: false, detached: true }),
  );
  child.once('error', onEnd);
  child.once('exit', onEnd);
  child.stdin.on('error', () => undefined);
  child.unref();
  return { tell: (text) => void child.stdin.end(text) };
}

/** Runs `argv` to its end. A child that exceeds the time limit is killed. */
export function run(argv: readonly string[], options: RunOptions): Promise<Finished> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const env = { ...ENVIRONMENT, ...options.env };
    const child = lendNetAdmin(() => spawn(program, args, { env, cwd: '/', stdio: ['pipe', 'pipe', 'pipe'], shell: false }));
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

export type ConfinedOptions = {
  /** As whom; undefined: as ourselves. Only root can run a child as another user. */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  readonly timeoutMs: number;
};

export type Confined = {
  /** Rejects with a SpawnError like `run`. `stderr` is its first part. */
  readonly ended: Promise<Pick<Finished, 'code' | 'stderr'>>;
  /** Ends it, and all that it started. */
  readonly kill: () => void;
};

// Tunable: what a program has to say about its failure.
const CONFINED_STDERR_BYTES = 2048;
/** Tunable: its output may come a moment after its end. */
const LAST_WORDS_MS = 100;

/**
 * Runs a program that is not ours: without capabilities (none are lent), with no input, in a process group of its own. When it ends or is out
 * of time the whole group is killed, so that it leaves nothing behind but what made itself a session of its own.
 */
export function runConfined(argv: readonly string[], options: ConfinedOptions): Confined {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, {
    env: ENVIRONMENT,
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe'],
    shell: false,
    detached: true,
    ...(options.user === undefined ? {} : options.user),
  });
  const kill = (): void => {
    // Whatever it did to its group: itself it cannot escape.
    child.kill('SIGKILL');
    try {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    } catch {
      // The group is gone already.
    }
  };
  const ended = new Promise<Pick<Finished, 'code' | 'stderr'>>((resolve, reject) => {
    const said: Buffer[] = [];
    let bytes = 0;
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      kill();
    }, options.timeoutMs);
    // Read to the end, or it would wait for us; kept only in part.
    child.stderr.on('data', (chunk: Buffer) => {
      if (bytes < CONFINED_STDERR_BYTES) said.push(chunk.subarray(0, CONFINED_STDERR_BYTES - bytes));
      bytes += chunk.length;
    });
    child.on('error', (cause) => {
      clearTimeout(timer);
      reject(new SpawnError('FAILED', `could not be started: ${cause.message}`, cause));
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      kill();
      const settle = (): void => {
        clearTimeout(patience);
        child.stderr.destroy();
        if (isLate) reject(new SpawnError('TIMEOUT', `took longer than ${options.timeoutMs} ms and was killed`));
        else if (code === null) reject(new SpawnError('KILLED', `was ended by ${signal ?? 'a signal'}`));
        else resolve({ code, stderr: Buffer.concat(said).toString() });
      };
      const patience = setTimeout(settle, LAST_WORDS_MS);
      child.once('close', settle);
    });
  });
  return { ended, kill };
}
