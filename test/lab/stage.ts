// The usual cast of an end-to-end test: a server with posternd, a client and a stranger on one switch, alice and bob with keys.
// What a test wants different it passes; nothing here asserts.
import { countGrants, readCounter, readRemaining } from './backend.ts';
import type { Capture } from './capture.ts';
import type { Host } from './host.ts';
import { Installation, Knocker } from './installation.ts';
import { createLab, type Lab } from './lab.ts';
import type { RunOptions } from './process.ts';
import { waitFor } from './wait.ts';

/** The protected TCP port on which an echo service waits, and one that no rule gives anybody. */
export const PORT = 8022;
export const FORBIDDEN_PORT = 8023;
export const UDP_PORT = 8053;
export const KNOCK_PORT = 62201;
export const REQUEST = `tcp/${PORT}`;

/** Which of `host.addresses()` a family is. */
export const FAMILIES = [
  { family: 'IPv4', at: 0, flag: '-4' },
  { family: 'IPv6', at: 1, flag: '-6' },
] as const;

export type StageOptions = {
  /** Added to `protect`, `default_ttl`. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Instead of one entry that gives PORT and UDP_PORT to both for 30 s, at most 1 h. */
  readonly allow?: readonly Readonly<Record<string, unknown>>[];
  readonly label?: string;
  /** Whether posternd runs when the stage is handed over; default true. */
  readonly start?: boolean;
};

export class Stage {
  readonly lab: Lab;
  readonly server: Host;
  readonly client: Host;
  readonly stranger: Host;
  readonly postern: Installation;
  readonly alice: Knocker;
  readonly bob: Knocker;
  readonly #closing: { close: () => unknown }[] = [];

  private constructor(parts: Pick<Stage, 'lab' | 'server' | 'client' | 'stranger' | 'postern' | 'alice' | 'bob'>) {
    this.lab = parts.lab;
    this.server = parts.server;
    this.client = parts.client;
    this.stranger = parts.stranger;
    this.postern = parts.postern;
    this.alice = parts.alice;
    this.bob = parts.bob;
    this.#closing.push(parts.lab, parts.alice, parts.bob, parts.postern);
  }

  static async create(options: StageOptions = {}): Promise<Stage> {
    const lab = await createLab({ label: options.label ?? 'stage' });
    try {
      const [server, client, stranger] = [await lab.host('server'), await lab.host('client'), await lab.host('stranger')];
      await lab.lan(server, client, stranger);
      const [alice, bob] = [await Knocker.create(client, 'alice'), await Knocker.create(client, 'bob')];
      const postern = await Installation.create(server, configWith(options.config), rulesFor([alice, bob], options.allow));
      for (const person of [alice, bob]) person.trust(postern);
      await server.listen({ tcp: [PORT, FORBIDDEN_PORT], udp: [UDP_PORT] });
      const stage = new Stage({ lab, server, client, stranger, postern, alice, bob });
      if (options.start !== false) await postern.start();
      return stage;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** A test that failed halfway must not take the next ones along. */
  async ensureRunning(): Promise<void> {
    if (this.postern.daemon.ended) await this.postern.start();
  }

  async close(): Promise<void> {
    for (const each of this.#closing.toReversed()) await each.close();
  }

  /** A knock by alice that must work; gives what it said. */
  async knock(address: string, ...args: readonly string[]): Promise<string> {
    return knockBy(this.alice, address, ...args);
  }

  /** Knocks while somebody on the client's side of the way records it. The capture holds exactly the knock's packets. */
  async recordedKnock(address: string, ...args: readonly string[]): Promise<Capture> {
    const capture = await this.client.capture({ filter: `udp dst port ${KNOCK_PORT}`, direction: 'out' });
    this.#closing.push(capture);
    await this.knock(address, ...args);
    await capture.waitForFrames(1);
    await capture.stop();
    return capture;
  }

  /** A knock that the network swallowed: recorded on the client's side, dropped before the server's gate saw it. */
  async lostKnock(address: string, ...args: readonly string[]): Promise<Capture> {
    return this.lost([profileOf(address), REQUEST, '--no-verify', '--retries', '0', ...args]);
  }

  /** The same for any command of `knock` that sends one packet. */
  async lost(args: readonly string[]): Promise<Capture> {
    const rule = `type filter hook ingress device "eth0" priority -500; udp dport ${KNOCK_PORT} drop;`;
    await this.server.nft(`table netdev lost { chain c { ${rule} }\n}`);
    try {
      const capture = await this.client.capture({ filter: `udp dst port ${KNOCK_PORT}`, direction: 'out' });
      this.#closing.push(capture);
      await this.alice.knock(args, { mayFail: true });
      await capture.waitForFrames(1);
      await capture.stop();
      return capture;
    } finally {
      await this.server.nft('delete table netdev lost');
    }
  }

  /** Sends recorded frames again, from a host of this stage, as they are; comes back when the server counted them. */
  async replay(from: Host, capture: Capture, options: { readonly loop?: number } = {}): Promise<void> {
    const before = await this.heard();
    await from.exec(['tcpreplay', '-q', '--topspeed', `--loop=${options.loop ?? 1}`, '-i', from.interfaces[0]?.name ?? '', capture.file]);
    const sent = capture.frames().length * (options.loop ?? 1);
    await waitFor(async () => (await this.heard()) >= before + sent, { what: 'the server to count the replay' });
  }

  /** Sends the recorded payloads from another socket, perhaps another host, to some address; waits for the count. */
  async resend(from: Host, capture: Capture, to: string): Promise<void> {
    const payloads = capture.payloads(KNOCK_PORT);
    const before = await this.heard();
    await from.sendUdp(to, KNOCK_PORT, payloads);
    await waitFor(async () => (await this.heard()) >= before + payloads.length, { what: 'the server to count the packet' });
  }

  /** How many datagrams the sieve has seen: tags that matched and junk. */
  async heard(): Promise<number> {
    return (await this.counter('knocks')) + (await this.counter('junk'));
  }

  /** A counter of the gate, as the firewall's own tool reads it. */
  async counter(name: 'knocks' | 'junk' | 'refused' | 'ended'): Promise<number> {
    return readCounter((argv, options) => this.server.exec(argv, options), name);
  }

  /** What a client's connection does now: `open`, `timeout` (dropped), `refused`. */
  async door(address: string, from: Host = this.client, port = PORT): Promise<string> {
    return (await from.connect(address, port, { timeoutMs: 400 })).outcome;
  }

  /**
   * Knocks until the daemon lists a grant of this person: where somebody else's opens the same door already, `knock` cannot know whether its own was
   * heard, and does not try again by itself.
   */
  async untilGranted(person: Knocker, address: string, args: readonly string[] = [], options: RunOptions = {}): Promise<void> {
    const isGranted = async () => {
      await person.knock([profileOf(address), REQUEST, ...args], { ...options, mayFail: true });
      return (await this.postern.status()).grants.some(({ client }) => client === person.name);
    };
    await waitFor(isGranted, { intervalMs: 200, what: `a grant of ${person.name}` });
  }

  /** Waits until so many grants stand in the kernel; says what the daemon thought when they do not. */
  async waitForGrants(count: number, deadlineMs = 5_000): Promise<void> {
    try {
      await waitFor(async () => (await this.kernelGrants()) === count, { deadlineMs, what: `${count} grants` });
    } catch (error) {
      const [status, log] = [await this.postern.status(), this.postern.daemon.stdout.trim().split('\n').slice(-10).join('\n')];
      throw new Error(`${await this.kernelGrants()} grants instead of ${count}\n${JSON.stringify(status)}\n${log}`, { cause: error });
    }
  }

  /** Waits until the door is shut for `from`; the time since the call. */
  async untilShut(address: string, deadlineMs: number, from: Host = this.client): Promise<number> {
    const started = performance.now();
    await waitFor(async () => (await from.connect(address, PORT, { timeoutMs: 150 })).outcome !== 'open', {
      deadlineMs,
      intervalMs: 50,
      what: 'the door to shut',
    });
    return performance.now() - started;
  }

  /** How many seconds the kernel leaves to each grant of one family. */
  async kernelRemaining(family: 'IPv4' | 'IPv6'): Promise<readonly number[]> {
    return readRemaining((argv, options) => this.server.exec(argv, options), family === 'IPv4' ? 4 : 6);
  }

  /** The grants that stand in the kernel, as the firewall's own tools list them. */
  async kernelGrants(): Promise<number> {
    return countGrants((argv, options) => this.server.exec(argv, options));
  }
}

function configWith(more: Readonly<Record<string, unknown>> | undefined) {
  return { protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`, `udp/${UDP_PORT}`], port: KNOCK_PORT, default_ttl: '30s', ...more };
}

/** A rule file for these people; by default they may open PORT and UDP_PORT. */
export function rulesFor(people: readonly Knocker[], allow?: readonly Readonly<Record<string, unknown>>[]) {
  return {
    name: 'people',
    // Many knocks a minute: a test is in more of a hurry than a person.
    clients: people.map((person) => ({ name: person.name, key: person.publicLine, slots: 64 })),
    allow: allow ?? [{ services: [REQUEST, `udp/${UDP_PORT}`], ttl: '30s', max_ttl: '1h' }],
  };
}

/** A knock for PORT at the stage's server that must work; by the profile, which has more slots than a person needs. */
export async function knockBy(person: Knocker, address: string, ...args: readonly string[]): Promise<string> {
  const { stdout, stderr } = await person.knock([profileOf(address), REQUEST, ...args]);
  return stdout + stderr;
}

export function profileOf(address: string): string {
  return address.includes(':') ? 'server6' : 'server4';
}
