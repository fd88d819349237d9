// One host of the laboratory: a network namespace, what runs in it, and what is asked of it.
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { AgentCall, Answer, Ask, ConnectOutcome, UdpOutcome } from './agent-protocol.ts';
import { Capture, type CaptureOptions } from './capture.ts';
import { Running, type RunOptions, type RunResult, run } from './process.ts';

const AGENT = fileURLToPath(new URL(`./agent${extname(import.meta.url)}`, import.meta.url));

/** One end of a link. */
export type Interface = { readonly name: string; readonly ipv4: string; readonly ipv6: string; readonly mac: string };

type Agent = { readonly running: Running; readonly pending: Map<number, Pending>; lastId: number };
type Pending = { readonly resolve: (answer: unknown) => void; readonly reject: (error: Error) => void };

export class Host {
  readonly name: string;
  /** Name of its network namespace, as `ip netns` shows it. */
  readonly namespace: string;
  readonly interfaces: Interface[] = [];
  readonly #started = new Set<Running>();
  #agent: Agent | undefined;

  constructor(name: string, namespace: string) {
    this.name = name;
    this.namespace = namespace;
  }

  /** Its IPv4 address on its first link (or the given one). */
  ipv4(link = 0): string {
    return this.#interface(link).ipv4;
  }

  ipv6(link = 0): string {
    return this.#interface(link).ipv6;
  }

  /** Both, for tests that run over each family. */
  addresses(): readonly [string, string] {
    return [this.ipv4(), this.ipv6()];
  }

  /** The command line that runs `argv` inside. The process keeps its pid: `ip` executes it in its own place. */
  inside(argv: readonly string[]): readonly string[] {
    return ['ip', 'netns', 'exec', this.namespace, ...argv];
  }

  /** Runs a command inside to its end. */
  async exec(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(this.inside(argv), options);
  }

  /** Starts something that goes on until it is stopped or the laboratory closes. */
  start(argv: readonly string[], options: Pick<RunOptions, 'env' | 'cwd'> & { readonly ipc?: boolean } = {}): Running {
    const running = new Running(this.inside(argv), options);
    this.#started.add(running);
    return running;
  }

  async sysctl(values: Readonly<Record<string, string | number>>): Promise<void> {
    await this.exec(['sysctl', '-qw', ...Object.entries(values).map(([key, value]) => `${key}=${value}`)]);
  }

  /** Loads a ruleset here with the host's own nft. */
  async nft(ruleset: string): Promise<string> {
    return (await this.exec(['nft', '-f', '-'], { stdin: ruleset })).stdout;
  }

  /** Captures packets; comes back when tcpdump really listens. */
  async capture(options: CaptureOptions = {}): Promise<Capture> {
    return Capture.start(this, options);
  }

  /** Echo services (TCP says `banner` first), on all addresses. */
  async listen(ports: { readonly tcp?: readonly number[]; readonly udp?: readonly number[]; readonly banner?: string }): Promise<void> {
    const { tcp = [], udp = [], banner } = ports;
    await this.ask('listen', { tcp, udp, ...(banner === undefined ? {} : { banner }) });
  }

  /** One fresh TCP connection from here. A dropped SYN shows as `timeout`. */
  async connect(address: string, port: number, options: Partial<Omit<Ask<'connect'>, 'address' | 'port'>> = {}): Promise<ConnectOutcome> {
    return this.ask('connect', { address, port, timeoutMs: 700, ...options });
  }

  /** Sends datagrams; with `wanted` or `waitMs`, gathers what comes back. */
  async sendUdp(
    address: string,
    port: number,
    payloads: readonly Uint8Array[],
    options: { readonly sourcePort?: number; readonly wanted?: number; readonly waitMs?: number } = {},
  ): Promise<UdpOutcome> {
    const { wanted = 0, waitMs = 0, sourcePort } = options;
    const texts = payloads.map((payload) => Buffer.from(payload).toString('base64'));
    return this.ask('udp', { address, port, payloads: texts, wanted, waitMs, ...(sourcePort === undefined ? {} : { sourcePort }) });
  }

  /** Asks the program that lives here (agent.ts); it is started the first time. */
  async ask<K extends AgentCall>(call: K, question: Ask<K>): Promise<Answer<K>> {
    const agent = await this.#liveAgent();
    agent.lastId += 1;
    const id = agent.lastId;
    return new Promise((resolve, reject) => {
      agent.pending.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      agent.running.child.send({ id, call, ask: question });
    });
  }

  /** Ends everything that was started here. The namespace itself belongs to the laboratory. */
  async stopAll(): Promise<void> {
    for (const running of this.#started) running.kill('SIGKILL');
    await Promise.all([...this.#started].map((running) => running.exited));
  }

  /** The same while the process ends. */
  killAllNow(): void {
    for (const running of this.#started) running.kill('SIGKILL');
  }

  async #liveAgent(): Promise<Agent> {
    if (this.#agent !== undefined && !this.#agent.running.ended) return this.#agent;
    const running = this.start([process.execPath, AGENT], { ipc: true });
    const agent = { running, pending: new Map<number, Pending>(), lastId: 0 };
    this.#agent = agent;
    const ready = new Promise<void>((resolve, reject) => agent.pending.set(0, { resolve: () => resolve(), reject }));
    running.child.on('message', (message) => {
      const { id, answer, error } = message as { id: number; answer?: unknown; error?: string };
      const waiting = agent.pending.get(id);
      agent.pending.delete(id);
      if (error === undefined) waiting?.resolve(answer);
      else waiting?.reject(new Error(`${this.name}: ${error}`));
    });
    void running.exited.then(() => {
      for (const waiting of agent.pending.values()) waiting.reject(new Error(`${this.name}: the agent ended\n${running.stderr}`));
    });
    await ready;
    return agent;
  }

  #interface(link: number): Interface {
    const found = this.interfaces[link];
    if (found === undefined) throw new Error(`${this.name} has no link ${link}`);
    return found;
  }
}
