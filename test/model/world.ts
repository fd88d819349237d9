// The real thing beside the model: a posternd on real nftables in a namespace, and what can be done to it. Decides nothing; measures when it was done.
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, rmSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { askDaemon } from '../../daemon/control/ask.ts';
import { GrantReport, ReloadReport, type Request, RevokeReport, StatusReport } from '../../daemon/control/messages.ts';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine, parsePublicLine } from '../../protocol/openssh.ts';
import { sealKnock } from '../../protocol/packet.ts';
import { type Pairing, pairAsClient } from '../../protocol/pairing.ts';
import { tagOf } from '../../protocol/tags.ts';
import { asking } from '../bench/asking.ts';
import { FakeClock } from '../lab/fake-clock.ts';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import {
  type Addresses,
  ALL_RULES,
  DEFAULT_S,
  KNOCK_PORT,
  PEOPLE,
  type Person,
  portsText,
  type Rules,
  type ServiceName,
  SHORT_S,
  SOURCE_PORT,
  serviceOf,
} from './cast.ts';
import { type KernelView, readKernel } from './kernel-view.ts';
import type { Packet, Span } from './model.ts';
import type { Door, Outcome, ProberCalls } from './prober.ts';

const PROBER = fileURLToPath(new URL(`./prober${extname(import.meta.url)}`, import.meta.url));
/** An answer always comes: a reset or an ICMP message where it is shut. So this is for a machine that is busy. */
const PATIENCE_MS = 10_000;
const DEADLINE_MS = 15_000;

type Secrets = { readonly secret: SecretKey; readonly pairing: Pairing };

export class World {
  readonly addresses: Addresses;
  readonly services: readonly ServiceName[];
  readonly #lab: Lab;
  readonly #server: Host;
  readonly #postern: Installation;
  readonly #pristine: string;
  readonly #clock: FakeClock;
  readonly #ask: ReturnType<typeof asking<ProberCalls>>;
  readonly #people = new Map<Person, Secrets>();
  /** Each packet is made once: a replay is the same bytes. */
  readonly #bytes = new Map<Packet, Uint8Array>();
  #clockMs = 0;
  #histories = 0;

  private constructor(parts: {
    lab: Lab;
    server: Host;
    client: Host;
    postern: Installation;
    addresses: Addresses;
    services: readonly ServiceName[];
  }) {
    this.#lab = parts.lab;
    this.#server = parts.server;
    this.#postern = parts.postern;
    this.addresses = parts.addresses;
    this.services = parts.services;
    this.#pristine = join(parts.postern.folder, 'pristine');
    cpSync(join(parts.postern.folder, 'state'), this.#pristine, { recursive: true, preserveTimestamps: true });
    this.#clock = new FakeClock();
    this.#ask = asking<ProberCalls>(parts.client.start([process.execPath, PROBER], { ipc: true }));
  }

  static async create(services: readonly ServiceName[], deadlineMs: number): Promise<World> {
    const lab = await createLab({ label: 'model', deadlineMs });
    try {
      const [server, client] = [await lab.host('server'), await lab.host('client')];
      await lab.lan(server, client);
      const [ipv4, ipv6] = ['10.77.1.12', 'fd00:77:1::c'];
      for (const address of [ipv4, ipv6]) await lab.addAddress(client, address);
      // A shut UDP port must say so each time it is tried.
      await server.sysctl({ 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 });
      const protect = services.map(portsText);
      const named = Object.fromEntries(services.map((name) => [name, portsText(name)]));
      const config = { protect, services: named, port: KNOCK_PORT, refuse: 'reject', default_ttl: `${DEFAULT_S}s`, max_grants: 500 };
      // The rules are written for each history anew.
      const nobody = { name: 'nobody', clients: [], allow: [] };
      const postern = await Installation.create(server, config, nobody);
      const portsOf = (protocol: 'tcp' | 'udp') => services.map(serviceOf).flatMap((one) => (one.protocol === protocol ? one.ports : []));
      await server.listen({ tcp: portsOf('tcp'), udp: portsOf('udp') });
      return new World({ lab, server, client, postern, addresses: [client.ipv4(), ipv4, client.ipv6(), ipv6], services });
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
    const server = parsePublicLine(this.#postern.publicLine);
    if (!server.ok) throw new Error(server.why);
    for (const person of PEOPLE) {
      const secret = secretFromSeed(createHash('sha256').update(`${process.pid} ${this.#histories} ${person}`).digest());
      this.#people.set(person, { secret, pairing: pairAsClient(secret, server.value.publicKey) });
    }
    this.#bytes.clear();
    this.writeRules(ALL_RULES);
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
    if (this.isUp) await waitFor(() => noticed() > before, { deadlineMs: DEADLINE_MS, what: 'the daemon to notice the step' });
  }

  writeRules(rules: Rules): void {
    const clients = PEOPLE.filter((person) => rules.people[person] !== 'out').map((person) => ({
      name: person,
      key: formatPublicLine(this.#secrets(person).secret.publicKey, person),
      slots: 32,
      enabled: rules.people[person] === 'in',
    }));
    // A rule file without anybody is refused; this person never knocks.
    const somebody = secretFromSeed(createHash('sha256').update('somebody').digest());
    const allow = this.services
      .filter((name) => !rules.missing.includes(name))
      .map((name) => {
        const { ttlS, maxTtlS, isDefault, once, ends, near } = serviceOf(name);
        const most = rules.isStingy ? SHORT_S : maxTtlS;
        return {
          services: [name],
          ttl: `${Math.min(ttlS, most)}s`,
          max_ttl: `${most}s`,
          default: isDefault,
          ...(once === true ? { once: true } : {}),
          ...(ends === true ? { sessions: 'end' } : {}),
          ...(near === true ? { from: [`${this.addresses[0]}/32`, `${this.addresses[2]}/128`], require_source: true } : {}),
        };
      });
    const line = { name: 'somebody', key: formatPublicLine(somebody.publicKey, 'somebody') };
    this.#postern.writeRules({ name: 'people', clients: [...clients, line], allow });
  }

  async reload(): Promise<void> {
    await this.#control({ command: 'reload' }, ReloadReport);
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

  async grant(who: string, from: string | null, service: ServiceName, ttlS: number, once: boolean): Promise<void> {
    await this.#control({ command: 'grant', who, from, services: [service], ttlSeconds: ttlS === 0 ? null : ttlS, once }, GrantReport);
  }

  async status(): Promise<StatusReport> {
    return this.#control({ command: 'status' }, StatusReport);
  }

  kernel(): Promise<KernelView | undefined> {
    return readKernel(this.#server);
  }

  /** Somebody else on the server, with all rights but not the daemon's socket. */
  async nft(words: string): Promise<number> {
    return (await this.#server.exec(['nft', words], { mayFail: true })).code;
  }

  tagOf({ person, window, slot }: Packet): bigint {
    return BigInt(`0x${Buffer.from(tagOf(this.#secrets(person).pairing, window, slot)).toString('hex')}`);
  }

  #seal({ person, window, slot, sentAtMs, boundTo, wish }: Packet): Uint8Array {
    const address = boundTo === undefined ? undefined : parseAddress(boundTo);
    if (address?.ok === false) throw new Error(address.why);
    const requests = wish.service === undefined ? [] : [{ kind: 'service', name: wish.service } as const];
    return sealKnock({
      ...this.#secrets(person),
      window,
      slot,
      body: {
        action: wish.kind === 'close' ? { kind: 'close' } : { kind: 'open', lifetimeSeconds: wish.ttlS, once: wish.once },
        sentAtMs: unixMs(sentAtMs),
        source: address === undefined ? { kind: 'unbound' } : { kind: 'bound', address: address.value },
        sourcePort: wish.kind === 'open' && wish.hasPort ? SOURCE_PORT : 0,
        requests,
      },
      random: (count) => new Uint8Array(randomBytes(count)),
    });
  }

  /** Sends copies of a packet and waits until each was counted, by the sieve and, where it passed, by the daemon. */
  async deliver(packet: Packet, from: string, copies: number): Promise<Span> {
    const to = this.#serverFor(from);
    const [kernel, status] = [await this.kernel(), this.isUp ? await this.status() : undefined];
    const started = performance.now();
    const bytes = this.#bytes.get(packet) ?? this.#seal(packet);
    this.#bytes.set(packet, bytes);
    const payloads = Array.from({ length: copies }, () => Buffer.from(bytes).toString('base64'));
    await this.#ask('send', { from, to, port: KNOCK_PORT, payloads });
    const deadline = { deadlineMs: DEADLINE_MS, what: `${copies} copies of packet ${packet.number} to be counted` };
    if (status !== undefined) {
      const [heard, passed, decided] = [heardBy(status), status.kernel?.knocks ?? 0, decidedBy(status)];
      await waitFor(async () => {
        const now = await this.status();
        return heardBy(now) >= heard + copies && decidedBy(now) - decided >= (now.kernel?.knocks ?? 0) - passed;
      }, deadline);
    } else if (kernel !== undefined) await waitFor(async () => ((await this.kernel())?.heard ?? 0) >= kernel.heard + copies, deadline);
    return { from: started, to: performance.now() };
  }

  async probe(doors: readonly Omit<Door, 'to'>[]): Promise<readonly Outcome[]> {
    return this.#ask('probe', { doors: doors.map((door) => ({ ...door, to: this.#serverFor(door.from) })), patienceMs: PATIENCE_MS });
  }

  #serverFor(from: string): string {
    return from.includes(':') ? this.#server.ipv6() : this.#server.ipv4();
  }

  #secrets(person: Person): Secrets {
    const found = this.#people.get(person);
    if (found === undefined) throw new Error(`${person} has no key yet`);
    return found;
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
