// Child processes of the laboratory: their output is kept, lines can be waited for, nothing outlives its owner.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';

const OUTPUT_LIMIT_CHARS = 4 * 1024 * 1024;

export type RunResult = { readonly code: number; readonly stdout: string; readonly stderr: string };

export type RunOptions = {
  readonly stdin?: string | Uint8Array;
  readonly timeoutMs?: number;
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** By default an exit code other than 0 is an exception with the output in its message. */
  readonly mayFail?: boolean;
};

export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null };

/** Runs a command to its end. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const running = new Running(argv, options);
  running.child.stdin?.end(options.stdin ?? '');
  const timeoutMs = options.timeoutMs ?? 30_000;
  const timer = setTimeout(() => running.kill('SIGKILL'), timeoutMs);
  const { code, signal } = await running.exited;
  clearTimeout(timer);
  const result = { code: code ?? 128, stdout: running.stdout, stderr: running.stderr };
  if (signal === 'SIGKILL') throw new Error(`${argv.join(' ')}: killed after at most ${timeoutMs} ms\n${result.stdout}${result.stderr}`);
  if (result.code !== 0 && options.mayFail !== true) {
    throw new Error(`${argv.join(' ')}: exit ${code ?? signal}\n${result.stdout}${result.stderr}`);
  }
  return result;
}

/** Runs a short command without the event loop, for clean-up while the process ends. Errors are left to the next sweep. */
export function runNow(argv: readonly string[]): string {
  const [command = '', ...args] = argv;
  return spawnSync(command, args, { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'pipe', 'ignore'] }).stdout ?? '';
}

/** A child that runs for as long as the test wants. */
export class Running {
  readonly argv: readonly string[];
  readonly child: ChildProcess;
  readonly exited: Promise<Exit>;
  stdout = '';
  stderr = '';
  #ended = false;
  readonly #onOutput = new Set<() => void>();

  constructor(argv: readonly string[], options: Pick<RunOptions, 'env' | 'cwd'> & { readonly ipc?: boolean } = {}) {
    this.argv = argv;
    const [command = '', ...args] = argv;
    this.child = spawn(command, args, {
      env: { ...process.env, ...options.env },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      stdio: options.ipc === true ? ['ignore', 'pipe', 'pipe', 'ipc'] : ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdin?.on('error', () => undefined); // a child that ended early closes its input: its exit code tells
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#keep('stdout', text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#keep('stderr', text));
    this.exited = new Promise((resolve) => {
      const end = (exit: Exit): void => {
        this.#ended = true;
        for (const call of this.#onOutput) call();
        resolve(exit);
      };
      this.child.once('error', (error) => {
        this.stderr += `${error.message}\n`;
        end({ code: 127, signal: null });
      });
      this.child.once('close', (code, signal) => end({ code, signal }));
    });
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error(`${this.argv.join(' ')}: did not start`);
    return this.child.pid;
  }

  get ended(): boolean {
    return this.#ended;
  }

  kill(signal: NodeJS.Signals = 'SIGTERM'): void {
    if (!this.#ended) this.child.kill(signal);
  }

  /** SIGTERM, then SIGKILL if that was not enough. */
  async stop(graceMs = 5_000): Promise<Exit> {
    this.kill('SIGTERM');
    const timer = setTimeout(() => this.kill('SIGKILL'), graceMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** Waits until everything that was printed (stdout, then stderr) matches; fails when the child ends or time is up. */
  async waitForOutput(pattern: RegExp, deadlineMs = 10_000): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        clearTimeout(timer);
        this.#onOutput.delete(look);
        finish();
      };
      const complain = (why: string) => new Error(`${this.argv.join(' ')}: ${why} before ${pattern}\n${this.stdout}${this.stderr}`);
      const look = (): void => {
        const found = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
        if (found !== null) settle(() => resolve(found));
        else if (this.#ended) settle(() => reject(complain('ended')));
      };
      const timer = setTimeout(() => settle(() => reject(complain(`${deadlineMs} ms passed`))), deadlineMs);
      this.#onOutput.add(look);
      look();
    });
  }

  #keep(stream: 'stdout' | 'stderr', text: string): void {
    this[stream] = (this[stream] + text).slice(-OUTPUT_LIMIT_CHARS);
    for (const call of this.#onOutput) call();
  }
}
