// The real thing beside the model: a posternd on a real firewall in a namespace, and what can be done to it. Decides nothing; measures when it was done.
import { cpSync, rmSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { CommandError } from '../../daemon/command-error.ts';
import { askDaemon } from '../../daemon/control/ask.ts';
import { GrantReport, ReloadReport, type Request, RevokeReport, StatusReport } from '../../daemon/control/messages.ts';
import { asking } from '../bench/asking.ts';
import { flushCommands } from '../lab/backend.ts';
import { FakeClock } from '../lab/fake-clock.ts';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import { type Abilities, abilities } from './abilities.ts';
import {
  type Addresses,
  allRules,
  DEFAULT_S,
  KNOCK_PORT,
  portsText,
  type Rules,
  SERVICE_NAMES,
  type ServiceName,
  serviceOf,
} from './cast.ts';
import { type KernelView, readKernel } from './kernel-view.ts';
import { Keys } from './keys.ts';
import type { Packet, Span } from './model.ts';
import type { Door, Outcome, ProberCalls } from './prober.ts';
import { ruleFile } from './rule-file.ts';

const PROBER = fileURLToPath(new URL(`./prober${extname(import.meta.url)}`, import.meta.url));
/** An answer always comes: a reset or an ICMP message where it is shut. So this is for a machine that is busy. */
const PATIENCE_MS = 10_000;
const DEADLINE_MS = 15_000;
const WINDOW_MS = 60_000;
const MOST_SLOTS = 64;

export class World {
  readonly addresses: Addresses;
  readonly abilities: Abilities;
  readonly #lab: Lab;
  readonly #server: Host;
  readonly #postern: Installation;
  readonly #pristine: string;
  readonly #clock: FakeClock;
  readonly #ask: ReturnType<typeof asking<ProberCalls>>;
  #keys: Keys | undefined;
  /** Each packet is made once: a replay is the same bytes. */
  readonly #bytes = new Map<Packet, Uint8Array>();
  #clockMs = 0;
  #histories = 0;
  #hearings = 0;

  private constructor(parts: {
    lab: Lab;
    server: Host;
    client: Host;
    postern: Installation;
    addresses: Addresses;
  }) {
    this.#lab = parts.lab;
    this.#server = parts.server;
    this.#postern = parts.postern;
    this.addresses = parts.addresses;
    this.abilities = abilities();
    this.#pristine = join(parts.postern.folder, 'pristine');
    cpSync(join(parts.postern.folder, 'state'), this.#pristine, { recursive: true, preserveTimestamps: true });
    this.#clock = new FakeClock();
    this.#ask = asking<ProberCalls>(parts.client.start([process.execPath, PROBER], { ipc: true }));
  }

  static async create(deadlineMs: number): Promise<World> {
    const lab = await createLab({ label: 'model', deadlineMs });
    try {
      const [server, client] = [await lab.host('server'), await lab.host('client')];
      await lab.lan(server, client);
      const [ipv4, ipv6] = ['10.77.1.12', 'fd00:77:1::c'];
      for (const address of [ipv4, ipv6]) await lab.addAddress(client, address);
      // A shut UDP port must say so each time it is tried.
      await server.sysctl({ 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 });
      const protect = SERVICE_NAMES.map(portsText);
      const named = Object.fromEntries(SERVICE_NAMES.map((name) => [name, portsText(name)]));
      const config = { protect, services: named, port: KNOCK_PORT, refuse: 'reject', default_ttl: `${DEFAULT_S}s`, max_grants: 500 };
      // The rules are written for each history anew.
      const nobody = { name: 'nobody', clients: [], allow: [] };
      const postern = await Installation.create(server, config, nobody);
      const portsOf = (protocol: 'tcp' | 'udp') =>
        SERVICE_NAMES.map(serviceOf).flatMap((one) => (one.protocol === protocol ? one.ports : []));
      await server.listen({ tcp: portsOf('tcp'), udp: portsOf('udp') });
      return new World({ lab, server, client, postern, addresses: [client.ipv4(), ipv4, client.ipv6(), ipv6] });
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#postern.close();
    await this.#lab.close();
    this.#clock.close();
  }

  /** A new beginning: other keys, nothing remembered, nothing granted, the clock right. */
  async begin(): Promise<void> {
    await this.kill();
    const { folder } = this.#postern;
    for (const name of ['state', 'run', 'log']) rmSync(join(folder, name), { recursive: true, force: true });
    cpSync(this.#pristine, join(folder, 'state'), { recursive: true, preserveTimestamps: true });
    this.#clock.step(-this.#clockMs / 1000);
    this.#clockMs = 0;
    this.#histories += 1;
    this.#keys = new Keys(this.#postern.publicLine, this.#histories);
    this.#bytes.clear();
    this.#hearings = 0;
    this.writeRules(allRules(this.abilities));
    await this.start();
  }

  wall(): number {
    return Date.now() + this.#clockMs;
  }

  get isUp(): boolean {
    return !this.#postern.daemon.ended;
  }

  get log(): string {
    return this.#postern.daemon.stdout;
  }

  async start(): Promise<void> {
    await this.#postern.start({ env: this.#clock.env });
  }

  /** A start that has to fail, with its exit code. */
  async startInVain(): Promise<number> {
    const { code } = await this.#postern.posternd(['run'], { env: this.#clock.env, mayFail: true });
    return code;
  }

  async kill(): Promise<void> {
    try {
      if (!this.isUp) return;
    } catch {
      return;
    }
    await this.#postern.killHard();
  }

  async stop(): Promise<void> {
    await this.#postern.stop();
  }

  /** Sets the wall clock; comes back when a running daemon has noticed. */
  async step(seconds: number): Promise<void> {
    const noticed = () => this.log.split('the clock moved by').length;
    const before = this.isUp ? noticed() : 0;
    this.#clockMs += seconds * 1000;
    this.#clock.step(seconds);
    if (!this.isUp) return;
    await waitFor(() => noticed() > before, { deadlineMs: DEADLINE_MS, what: 'the daemon to notice the step' });
    // Where no tag in the kernel shows it.
    if (!this.abilities.sieve) await this.#heard();
  }

  /** Comes back when the daemon hears knocks of the windows of now: somebody who has nothing open closes it, with one packet, until that counts. */
  async #heard(): Promise<void> {
    // The last one that it learns of those that it accepts.
    const window = Math.floor(this.wall() / WINDOW_MS) + 1;
    const slot = this.#hearings;
    this.#hearings = (this.#hearings + 1) % MOST_SLOTS;
    const wish = { kind: 'close', service: undefined } as const;
    const sentAtMs = window * WINDOW_MS + slot;
    const payload = this.#knockers().seal({ person: 'somebody', window, slot, sentAtMs, boundTo: undefined, wish });
    const closed = (await this.status()).knocks.closed;
    await waitFor(
      async () => {
        await this.#send(this.addresses[0], [payload], 'a knock of somebody');
        return (await this.status()).knocks.closed > closed;
      },
      { deadlineMs: DEADLINE_MS, intervalMs: 100, what: 'the daemon to hear after the step' },
    );
  }

  writeRules(rules: Rules): void {
    this.#postern.writeRules(ruleFile(rules, this.addresses, this.#knockers().publicKeys()));
  }

  /** False: the rules are not taken (exit 2). */
  async reload(): Promise<boolean> {
    try {
      await this.#control({ command: 'reload' }, ReloadReport);
      return true;
    } catch (error) {
      if (error instanceof CommandError && error.exitCode === 2) return false;
      throw error;
    }
  }

  /** False when nothing was there to be revoked. */
  async revoke(who: string, keepSessions: boolean): Promise<boolean> {
    try {
      await this.#control({ command: 'revoke', who, keepSessions }, RevokeReport);
      return true;
    } catch (error) {
      if (/no live grant has/.test(String(error))) return false;
      throw error;
    }
  }

  /** False: refused, as there are no one-shots here. */
  async grant(who: string, from: string | null, service: ServiceName, ttlS: number, once: boolean): Promise<boolean> {
    try {
      await this.#control({ command: 'grant', who, from, services: [service], ttlSeconds: ttlS === 0 ? null : ttlS, once }, GrantReport);
      return true;
    } catch (error) {
      if (/one-shot grants need nftables/.test(String(error))) return false;
      throw error;
    }
  }

  async status(): Promise<StatusReport> {
    return this.#control({ command: 'status' }, StatusReport);
  }

  kernel(): Promise<KernelView | undefined> {
    return readKernel(this.#server);
  }

  /** Somebody else on the server, with all rights but not the daemon's socket. */
  async run(words: readonly string[]): Promise<number> {
    return (await this.#server.exec(words, { mayFail: true })).code;
  }

  async flush(): Promise<void> {
    for (const words of flushCommands()) await this.#server.exec(words);
  }

  /** Comes back when the daemon, which looks at the gate for it, finds the gate that it means. */
  async mended(): Promise<void> {
    const what = 'the gate to be put right';
    await waitFor(async () => (await this.status()).gate.state === 'up', { deadlineMs: DEADLINE_MS, what });
  }

  tagOf(packet: Packet): bigint {
    return this.#knockers().tagOf(packet);
  }

  /** Sends copies of a packet and waits until each was counted, by the sieve and, where it passed, by the daemon. */
  async deliver(packet: Packet, from: string, copies: number): Promise<Span> {
    const bytes = this.#bytes.get(packet) ?? this.#knockers().seal(packet);
    this.#bytes.set(packet, bytes);
    return this.#send(from, Array<Uint8Array>(copies).fill(bytes), `${copies} copies of packet ${packet.number}`);
  }

  async #send(from: string, packets: readonly Uint8Array[], what: string): Promise<Span> {
    if (!this.abilities.ownTable) await this.#withoutStandIn();
    const [kernel, status] = [await this.kernel(), this.isUp ? await this.status() : undefined];
    const started = performance.now();
    const payloads = packets.map((bytes) => Buffer.from(bytes).toString('base64'));
    await this.#ask('send', { from, to: this.#serverFor(from), port: KNOCK_PORT, payloads });
    const deadline = { deadlineMs: DEADLINE_MS, what: `${what} to be counted` };
    if (status !== undefined) {
      const [heard, passed, decided] = [heardBy(status), status.kernel?.knocks ?? 0, decidedBy(status)];
      await waitFor(async () => {
        const now = await this.status();
        return heardBy(now) >= heard + packets.length && decidedBy(now) - decided >= (now.kernel?.knocks ?? 0) - passed;
      }, deadline);
    } else if (kernel !== undefined)
      await waitFor(async () => ((await this.kernel())?.heard ?? 0) >= kernel.heard + packets.length, deadline);
    return { from: started, to: performance.now() };
  }

  /** What stands in for a gate that others flush counts nothing, and is there for two seconds more (docs/decisions/060-iptables.md). */
  async #withoutStandIn(): Promise<void> {
    const isThere = async () => (await this.#server.exec(['nft', 'list', 'tables'])).stdout.includes('postern-standin');
    await waitFor(async () => !(await isThere()), { deadlineMs: DEADLINE_MS, what: 'the stand-in to go' });
  }

  async probe(doors: readonly Omit<Door, 'to'>[]): Promise<readonly Outcome[]> {
    return this.#ask('probe', { doors: doors.map((door) => ({ ...door, to: this.#serverFor(door.from) })), patienceMs: PATIENCE_MS });
  }

  #serverFor(from: string): string {
    return from.includes(':') ? this.#server.ipv6() : this.#server.ipv4();
  }

  #knockers(): Keys {
    if (this.#keys === undefined) throw new Error('no history has begun yet');
    return this.#keys;
  }

  #control<T>(request: Request, shape: z.ZodType<T>): Promise<T> {
    return askDaemon(join(this.#postern.folder, 'run', 'control.sock'), request, shape);
  }
}

function heardBy({ kernel }: StatusReport): number {
  return (kernel?.knocks ?? 0) + (kernel?.junk ?? 0);
}

function decidedBy({ knocks }: StatusReport): number {
  return knocks.granted + knocks.closed + Object.values(knocks.dropped).reduce((sum, count) => sum + count, 0);
}
