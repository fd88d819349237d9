// Starts capture-program in a laboratory host and reads what it says. For the capture tests only.
import { fileURLToPath } from 'node:url';
import type { CaptureCounters } from '../../daemon/capture/capture.ts';
import type { Host } from '../lab/host.ts';
import type { Running } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';
import type { ProgramOptions, Seen } from './capture-program.ts';

const PROGRAM = fileURLToPath(new URL('./capture-program.js', import.meta.url));

export const KNOCK_PORT = 62_201;
export const GROUP = 5;

/** The log rule as the gate has it, and rules of others that share its group. */
export const RULES = `table inet t {
  chain early { type filter hook prerouting priority raw;
    udp dport 62201 log prefix "postern" group 5 queue-threshold 1 drop
    udp dport 62202 log prefix "postern2" group 5 queue-threshold 1 drop
    udp dport 62203 log prefix "poster" group 5 queue-threshold 1 drop
    udp dport 62204 log group 5 queue-threshold 1 drop
  }
  chain later { type filter hook input priority filter;
    udp dport 62205 log prefix "postern" group 5 queue-threshold 1 drop
  }
}
`;

export class CaptureProcess {
  readonly running: Running;
  readonly #lines: Record<string, unknown>[] = [];
  #rest = '';

  private constructor(running: Running) {
    this.running = running;
    running.child.stdout?.on('data', (text: string) => {
      const parts = (this.#rest + text).split('\n');
      this.#rest = parts.pop() ?? '';
      this.#lines.push(...parts.map((part) => JSON.parse(part) as Record<string, unknown>));
    });
  }

  /** Comes back when it captures, or has said why it cannot. */
  static async start(host: Host, options: Partial<ProgramOptions> = {}): Promise<CaptureProcess> {
    const asked: ProgramOptions = { wish: 'nflog', port: KNOCK_PORT, group: GROUP, ...options };
    const running = host.start([process.execPath, PROGRAM, JSON.stringify(asked)], { ipc: true });
    const started = new CaptureProcess(running);
    await running.waitForOutput(/"(started|failed)".*\n/);
    return started;
  }

  lines(): readonly Record<string, unknown>[] {
    return this.#lines;
  }

  /** What it said at its start. */
  get first(): Record<string, unknown> {
    return this.lines().find((line) => 'started' in line || 'failed' in line) ?? {};
  }

  get seen(): readonly Seen[] {
    return this.lines().filter((line) => 'payload' in line) as unknown as readonly Seen[];
  }

  get troubles(): readonly string[] {
    return this.lines().flatMap((line) => (typeof line['trouble'] === 'string' ? [line['trouble']] : []));
  }

  async waitForSeen(count: number, deadlineMs = 20_000): Promise<readonly Seen[]> {
    return waitFor(() => this.seen.length >= count && this.seen, { what: `${count} datagrams (${this.seen.length} so far)`, deadlineMs });
  }

  async counters(): Promise<CaptureCounters> {
    const answer = new Promise<CaptureCounters>((resolve) =>
      this.running.child.once('message', (message) => resolve(message as CaptureCounters)),
    );
    this.running.child.send('counters');
    return answer;
  }

  async waitForCounters(enough: (counters: CaptureCounters) => boolean): Promise<CaptureCounters> {
    return waitFor(async () => {
      const counters = await this.counters();
      return enough(counters) && counters;
    });
  }

  /** Stops the capture and leaves the process to end by itself. Answers how long that took. */
  async stop(): Promise<{ readonly code: number | null; readonly elapsedMs: number; readonly resources: readonly string[] }> {
    const started = performance.now();
    this.running.child.send('stop');
    const { code } = await this.running.exited;
    const last = this.lines().find((line) => 'stopped' in line);
    return {
      code,
      elapsedMs: performance.now() - started,
      resources: (last?.['resources'] as string[] | undefined) ?? ['it never stopped'],
    };
  }
}
