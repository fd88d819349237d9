// A terminal that a person would sit at: a tmux window of its own server, typed into and looked at. Decides nothing about what is right.
import { run, runNow } from './process.ts';
import { waitFor } from './wait.ts';

let count = 0;

export type TerminalOptions = { readonly columns?: number; readonly rows?: number; readonly env?: Readonly<Record<string, string>> };

/** Close it: nothing else ends its server. */
export class Terminal {
  readonly #socket: string;

  private constructor(socket: string) {
    this.#socket = socket;
  }

  /** Starts `argv` in a window of its own. */
  static async open(argv: readonly string[], options: TerminalOptions = {}): Promise<Terminal> {
    count += 1;
    const terminal = new Terminal(`pt-${process.pid}-${count}`);
    // By env(1): tmux has its own mind about PATH.
    const variables = Object.entries(options.env ?? {}).map(([name, value]) => `${name}=${value}`);
    const size = ['-x', String(options.columns ?? 100), '-y', String(options.rows ?? 30)];
    await terminal.#tmux(['-f', '/dev/null', 'new-session', '-d', ...size, 'env', ...variables, ...argv]);
    return terminal;
  }

  /** Types text as it is. */
  async type(text: string): Promise<void> {
    await this.#tmux(['send-keys', '-l', text]);
  }

  /** Presses keys by tmux's names: `Tab`, `Enter`, `C-c`. */
  async press(...keys: readonly string[]): Promise<void> {
    await this.#tmux(['send-keys', ...keys]);
  }

  async resize(columns: number, rows: number): Promise<void> {
    await this.#tmux(['resize-window', '-x', String(columns), '-y', String(rows)]);
  }

  /** What stands on the screen, without the empty rest of each line. */
  async screen(): Promise<string> {
    return (await this.#tmux(['capture-pane', '-p'])).replace(/[ ]+$/gm, '').trimEnd();
  }

  /** The same with its colors, as escape sequences. */
  async colors(): Promise<string> {
    return this.#tmux(['capture-pane', '-p', '-e']);
  }

  /** What tmux knows of the window, by its formats. */
  async format(format: string): Promise<string> {
    return (await this.#tmux(['display-message', '-p', format])).trim();
  }

  /** Waits until the screen shows `what`, and gives the screen. */
  async shows(what: RegExp, deadlineMs = 15_000): Promise<string> {
    let last = '';
    try {
      return await waitFor(
        async () => {
          last = await this.screen();
          return what.test(last) ? last : undefined;
        },
        { deadlineMs, intervalMs: 50, what: String(what) },
      );
    } catch (cause) {
      throw new Error(`the screen never showed ${what}; it shows:\n${last}`, { cause });
    }
  }

  close(): void {
    runNow(['tmux', '-L', this.#socket, 'kill-server']);
  }

  async #tmux(args: readonly string[]): Promise<string> {
    // An inherited TMUX would make it speak to somebody else's server.
    return (await run(['env', '-u', 'TMUX', 'tmux', '-L', this.#socket, ...args])).stdout;
  }
}
