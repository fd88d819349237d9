// Where the soak takes place: a posternd that tells what it weighs, people who knock from four addresses, a stranger, a clock. Decides nothing.
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';
import { askDaemon } from '../../daemon/control/ask.ts';
import { type Request, StatusReport } from '../../daemon/control/messages.ts';
import { unixMs } from '../../protocol/brand.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { formatPublicLine, parsePublicLine } from '../../protocol/openssh.ts';
import { sealKnock } from '../../protocol/packet.ts';
import { pairAsClient } from '../../protocol/pairing.ts';
import { asking } from '../bench/asking.ts';
import { FakeClock } from '../lab/fake-clock.ts';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import { type KernelView, readKernel } from '../model/kernel-view.ts';
import type { ProberCalls } from '../model/prober.ts';

export const KNOCK_PORT = 62201;
export const FIRST_PORT = 20_000;
export const PORTS = 200;
export const PEOPLE = 12;
const SLOTS = 16;
const WINDOW_MS = 60_000;
const PROBER = fileURLToPath(new URL(`../model/prober${extname(import.meta.url)}`, import.meta.url));

/** For `node --import`: writes down what the process holds after a full collection, every few seconds. */
const SCALES = `data:text/javascript,${encodeURIComponent(`
  import { renameSync, writeFileSync } from 'node:fs';
  import { isMainThread } from 'node:worker_threads';
  const file = process.env.SOAK_SCALES;
  if (isMainThread) setInterval(() => {
    gc();
    const { heapUsed, external } = process.memoryUsage();
    writeFileSync(file + '.new', JSON.stringify({ pid: process.pid, heapUsed, external }));
    renameSync(file + '.new', file);
  }, 2000).unref();
`)}`;

export type Weight = {
  readonly heap: number;
  readonly rss: number;
  readonly descriptors: number;
  readonly openings: number;
  readonly tags: number;
  readonly ledger: number;
  readonly journal: number;
};

export class Ground {
  readonly lab: Lab;
  readonly server: Host;
  readonly postern: Installation;
  readonly addresses: readonly string[];
  readonly strangers: readonly string[];
  readonly #clock = new FakeClock();
  readonly #secrets = Array.from({ length: PEOPLE + 1 }, (_, at) => secretFromSeed(createHash('sha256').update(`soak ${at}`).digest()));
  readonly #pairings: readonly ReturnType<typeof pairAsClient>[];
  readonly #lastSlot = new Map<string, number>();
  /** At the people's side, and at the stranger's. */
  readonly ask: ReturnType<typeof asking<ProberCalls>>;
  readonly askStranger: ReturnType<typeof asking<ProberCalls>>;
  #clockMs = 0;
  #rotations = 0;

  private constructor(lab: Lab, server: Host, client: Host, stranger: Host, postern: Installation, addresses: readonly string[]) {
    this.lab = lab;
    this.server = server;
    this.postern = postern;
    this.addresses = addresses;
    this.strangers = stranger.addresses();
    const line = parsePublicLine(postern.publicLine);
    if (!line.ok) throw new Error(line.why);
    this.#pairings = this.#secrets.map((secret) => pairAsClient(secret, line.value.publicKey));
    this.ask = asking<ProberCalls>(client.start([process.execPath, PROBER], { ipc: true }));
    this.askStranger = asking<ProberCalls>(stranger.start([process.execPath, PROBER], { ipc: true }));
  }

  static async create(deadlineMs: number): Promise<Ground> {
    const lab = await createLab({ label: 'soak', deadlineMs });
    try {
      const [server, client, stranger] = [await lab.host('server'), await lab.host('client'), await lab.host('stranger')];
      await lab.lan(server, client, stranger);
      const more = ['10.77.1.12', 'fd00:77:1::c'];
      for (const address of more) await lab.addAddress(client, address);
      const config = { protect: [`tcp/${FIRST_PORT}-${FIRST_PORT + PORTS - 1}`], port: KNOCK_PORT, refuse: 'reject', max_grants: 500 };
      const postern = await Installation.create(server, config, { name: 'nobody', clients: [], allow: [] });
      await server.listen({ tcp: Array.from({ length: PORTS }, (_, at) => FIRST_PORT + at) });
      const ground = new Ground(lab, server, client, stranger, postern, [...client.addresses(), ...more]);
      ground.writeRules(0);
      return ground;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async start(): Promise<void> {
    const env = { ...this.#clock.env, SOAK_SCALES: this.#scales };
    await this.postern.start({ env, node: ['--expose-gc', '--import', SCALES] });
  }

  async close(): Promise<void> {
    await this.postern.close();
    await this.lab.close();
    this.#clock.close();
  }

  /** Each version differs in one more client, who never knocks. */
  writeRules(version: number): void {
    const named = this.#secrets.slice(0, PEOPLE + (version % 2)).map(({ publicKey }, at) => ({
      name: `person-${at}`,
      key: formatPublicLine(publicKey, `person-${at}`),
    }));
    const allow = [{ services: [`tcp/${FIRST_PORT}-${FIRST_PORT + PORTS - 1}`], ttl: '5s', max_ttl: '1m', default: false }];
    this.postern.writeRules({ name: 'people', clients: named, allow });
  }

  /** Sets the clock so that the next minute begins a second from now; comes back when the daemon has noticed. */
  async nextMinute(): Promise<void> {
    const restMs = WINDOW_MS - (this.wall() % WINDOW_MS);
    const seconds = Math.max(0, Math.floor(restMs / 1000) - 1);
    // The daemon takes less for no step at all.
    if (seconds < 2) return;
    const { daemon } = this.postern;
    const noticed = () => daemon.stdout.split('the clock moved by').length;
    const before = noticed();
    this.#clockMs += seconds * 1000;
    this.#clock.step(seconds);
    await waitFor(() => daemon.ended || noticed() > before, { deadlineMs: 15_000, intervalMs: 100, what: 'the daemon to notice the step' });
  }

  wall(): number {
    return Date.now() + this.#clockMs;
  }

  serverFor(address: string): string {
    return address.includes(':') ? this.server.ipv6() : this.server.ipv4();
  }

  /** A packet of one of the people with a tag that was never used; undefined when all of this minute are. */
  seal(person: number, action: KnockBody['action'], port: number): Uint8Array | undefined {
    const [secret, pairing] = [this.#secrets[person], this.#pairings[person]];
    if (secret === undefined || pairing === undefined) throw new RangeError(`no person ${person}`);
    const sentAtMs = unixMs(this.wall());
    const window = Math.floor(sentAtMs / WINDOW_MS);
    const slot = (this.#lastSlot.get(`${person} ${window}`) ?? -1) + 1;
    if (slot >= SLOTS) return undefined;
    this.#lastSlot.set(`${person} ${window}`, slot);
    const requests: KnockBody['requests'] = [{ kind: 'ports', ports: { protocol: 'tcp', first: port, last: port } }];
    const body: KnockBody = { action, sentAtMs, source: { kind: 'unbound' }, sourcePort: 0, requests };
    return sealKnock({ secret, pairing, window, slot, body, random: (count) => new Uint8Array(randomBytes(count)) });
  }

  kernel(): Promise<KernelView | undefined> {
    return readKernel(this.server);
  }

  control<T>(request: Request, shape: z.ZodType<T>): Promise<T> {
    return askDaemon(join(this.postern.folder, 'run', 'control.sock'), request, shape);
  }

  status(): Promise<StatusReport> {
    return this.control({ command: 'status' }, StatusReport);
  }

  rotate(): void {
    this.#rotations += 1;
    if (existsSync(this.postern.auditFile)) renameSync(this.postern.auditFile, `${this.postern.auditFile}.${this.#rotations}`);
  }

  /** Undefined: the process is too young to have been weighed. */
  weigh(kernel: KernelView): Weight | undefined {
    const { pid } = this.postern.daemon;
    const scales = existsSync(this.#scales)
      ? (JSON.parse(readFileSync(this.#scales, 'utf8')) as { pid: number; heapUsed: number; external: number })
      : undefined;
    if (scales?.pid !== pid) return undefined;
    const rss = Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
    const size = (...names: readonly string[]) => {
      const path = join(this.postern.folder, ...names);
      return existsSync(path) ? statSync(path).size : 0;
    };
    return {
      heap: scales.heapUsed + scales.external,
      rss,
      descriptors: readdirSync(`/proc/${pid}/fd`).length,
      openings: kernel.openings.size,
      tags: kernel.tags.size,
      ledger: size('state', 'ledger'),
      journal: size('run', 'grants.jsonl'),
    };
  }

  get #scales(): string {
    return join(this.postern.folder, 'scales.json');
  }
}
