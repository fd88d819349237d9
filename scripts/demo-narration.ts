// How the demonstration talks: numbered steps, the commands with their real output, and what was checked. Decides nothing.
import type { ConnectOutcome } from '../test/lab/agent-protocol.ts';
import type { Host } from '../test/lab/host.ts';
import type { RunResult } from '../test/lab/process.ts';

const COLORS = { bold: '1', dim: '2', red: '31', green: '32', cyan: '36' } as const;

/** What was shown is not what was promised: the demonstration ends with this. */
export class DemoFailure extends Error {}

export class Narration {
  readonly #colored: boolean;
  readonly #write: (text: string) => void;
  #step = 0;

  constructor(write: (text: string) => void, colored: boolean) {
    this.#write = write;
    this.#colored = colored;
  }

  step(title: string): void {
    this.#step += 1;
    this.#line(`\n${this.#paint('bold', `${this.#step}. ${title}`)}`);
  }

  say(text: string): void {
    for (const line of text.split('\n')) this.#line(`   ${line}`);
  }

  /** Runs a command on a host and shows it with its output. `show` is how a person would type it. */
  async shell(host: Host, show: string, command: () => Promise<RunResult>): Promise<RunResult> {
    this.prompt(host, show);
    const result = await command();
    this.output(result.stdout + result.stderr);
    return result;
  }

  prompt(host: Host, show: string): void {
    this.#line(`   ${this.#paint('cyan', `${host.name}$`)} ${show}`);
  }

  output(text: string): void {
    for (const line of text.trimEnd().split('\n')) if (line !== '') this.#line(this.#paint('dim', `   | ${line}`));
  }

  /** Says that something holds, or ends the demonstration. */
  check(holds: boolean, text: string, found = ''): void {
    if (!holds) {
      this.#line(`   ${this.#paint('red', '✗')} expected: ${text}${found === '' ? '' : `; found: ${found}`}`);
      throw new DemoFailure(text);
    }
    this.#line(`   ${this.#paint('green', '✓')} ${text}`);
  }

  checkConnect(result: ConnectOutcome, wanted: ConnectOutcome['outcome'], text: string): void {
    this.check(result.outcome === wanted, text, result.outcome);
  }

  #line(text: string): void {
    this.#write(`${text}\n`);
  }

  #paint(color: keyof typeof COLORS, text: string): string {
    return this.#colored ? `\u001b[${COLORS[color]}m${text}\u001b[0m` : text;
  }
}
