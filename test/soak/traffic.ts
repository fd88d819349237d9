// The traffic of the soak and what is expected of it: each knock opens its own door for its own address for its own time, and nothing else is open.
import { randomBytes, randomInt } from 'node:crypto';
import { setTimeout as moment } from 'node:timers/promises';
import { GrantReport, RevokeReport } from '../../daemon/control/messages.ts';
import type { KernelView } from '../model/kernel-view.ts';
import type { Faults } from './faults.ts';
import { FIRST_PORT, type Ground, KNOCK_PORT, PEOPLE, PORTS } from './ground.ts';

/** What people do with a door: leave it to its end, close it, go through it once, or have it opened by an administrator, who shuts it again. */
const KINDS = ['plain', 'plain', 'plain', 'plain', 'plain', 'plain', 'plain', 'close', 'once', 'hand'] as const;

/** So long a knock may take on a machine that is busy, before it counts as lost. */
const PATIENCE_MS = 8_000;
/** Among faults a client knocks again this often, and for this long altogether. */
const RETRY_MS = 700;
const RETRIES_MS = 3_000;
const GIVE_UP_MS = 40_000;
const POLL_MS = 25;
/** Connecting is answered at once, by the service or by a reset. */
const ANSWER_MS = 10_000;
const JIFFIES_MS = 50;
/** What is restored with less than a second to go is not set anew. */
const LAST_SECOND_MS = 1200;
const REMEMBERED = 5000;

type Asked = {
  readonly address: string;
  readonly port: number;
  readonly once: boolean;
  /** It may stand in the kernel until then at most; it must stand from `opened` to `atLeast`. */
  atMost: number;
  atLeast: number;
};

export class Traffic {
  readonly #ground: Ground;
  readonly #faults: Faults;
  readonly #asked = new Map<string, Asked>();
  readonly #packets: Uint8Array[] = [];
  readonly wrong: string[] = [];
  readonly tookMs: number[] = [];
  readonly counts = { opened: 0, retried: 0, closed: 0, once: 0, hand: 0, junk: 0, replayed: 0, tried: 0, looked: 0, noSlot: 0 };

  constructor(ground: Ground, faults: Faults) {
    this.#ground = ground;
    this.#faults = faults;
  }

  #find(what: string): void {
    this.wrong.push(`${new Date(this.#ground.wall()).toISOString()} ${what} (last: ${this.#faults.recent()})`);
  }

  /** One door, from the knock to its end or its closing. */
  async knock(): Promise<void> {
    const door = this.#freeDoor();
    if (door === undefined) return;
    const kind = KINDS[randomInt(KINDS.length)] ?? 'plain';
    const lifetimeSeconds = 3 + randomInt(8);
    const asked: Asked = { ...door, once: kind === 'once', atMost: Number.POSITIVE_INFINITY, atLeast: 0 };
    const key = keyOf(asked);
    this.#asked.set(key, asked);
    try {
      if (kind === 'hand') await this.#byHand(asked, lifetimeSeconds);
      else await this.#byKnock(asked, kind, lifetimeSeconds);
    } finally {
      // What was told to end has a moment for it; the look at the kernel knows.
      const rest = asked.atMost - performance.now();
      if (rest > 0) await moment(rest + JIFFIES_MS);
      await this.#isShut(asked, 'after its time');
      this.#asked.delete(key);
    }
  }

  async #byKnock(asked: Asked, kind: (typeof KINDS)[number], lifetimeSeconds: number): Promise<void> {
    const person = randomInt(PEOPLE);
    const began = performance.now();
    let attempt = 0;
    for (; ; attempt += 1) {
      const packet = this.#ground.seal(person, { kind: 'open', lifetimeSeconds, once: asked.once }, asked.port);
      if (packet === undefined) {
        this.counts.noSlot += 1;
        asked.atMost = Math.min(asked.atMost, performance.now() + (attempt === 0 ? 0 : lifetimeSeconds * 1000 + PATIENCE_MS));
        return;
      }
      const lastSent = performance.now();
      await this.#send(asked.address, packet);
      if (await this.#opens(asked, lastSent)) {
        if (attempt === 0) this.#remember(packet);
        break;
      }
      if (attempt === 0 && !this.#faults.excuses(lastSent - 1000, performance.now()))
        this.#find(`a knock was lost without a fault: ${keyOf(asked)} did not open within ${PATIENCE_MS} ms`);
      this.counts.retried += 1;
      if (performance.now() - began > GIVE_UP_MS) {
        this.#find(`${keyOf(asked)} did not open in ${GIVE_UP_MS} ms, with ${attempt + 1} knocks`);
        break;
      }
    }
    const opened = performance.now();
    if (!this.#faults.excuses(began - 1000, opened)) this.tookMs.push(opened - began);
    this.counts.opened += 1;
    // The first of several knocks opened it, and the last may have been decided a moment later.
    asked.atMost = opened + lifetimeSeconds * 1000 + (attempt === 0 ? 0 : RETRIES_MS);
    asked.atLeast = asked.once ? 0 : began + lifetimeSeconds * 1000 - LAST_SECOND_MS;
    if (asked.once) {
      this.counts.once += 1;
      // The look that found it open was the one connection; more knocks than one may have been granted among faults.
      if (!this.#faults.excuses(began - 1000, performance.now())) await this.#isShut(asked, 'although its one connection was made');
    }
    if (kind === 'close') await this.#close(person, asked);
  }

  async #close(person: number, asked: Asked): Promise<void> {
    await moment(randomInt(1000));
    const from = performance.now();
    const packet = this.#ground.seal(person, { kind: 'close' }, asked.port);
    if (packet === undefined) return;
    asked.atLeast = 0;
    await this.#send(asked.address, packet);
    while ((await this.#outcome(asked)) === 'open') {
      if (performance.now() > from + PATIENCE_MS) {
        if (!this.#faults.excuses(from - 1000, performance.now())) this.#find(`${keyOf(asked)} was closed and is open`);
        return;
      }
      await moment(POLL_MS);
    }
    this.counts.closed += 1;
    // Later it may have ended by itself, and the packet may still be good.
    if (performance.now() < from + 1000) this.#remember(packet);
  }

  async #byHand(asked: Asked, ttlSeconds: number): Promise<void> {
    const from = performance.now();
    try {
      const ask = { command: 'grant' as const, who: asked.address, from: null, services: [`tcp/${asked.port}`], ttlSeconds, once: false };
      const { granted } = await this.#ground.control(ask, GrantReport);
      asked.atMost = performance.now() + ttlSeconds * 1000;
      asked.atLeast = from + ttlSeconds * 1000 - LAST_SECOND_MS;
      await this.#isOpen(asked);
      await moment(randomInt(1000));
      asked.atLeast = 0;
      await this.#ground.control({ command: 'revoke', who: granted[0]?.id ?? '', keepSessions: false }, RevokeReport);
      await this.#isShut(asked, 'although it was revoked');
      this.counts.hand += 1;
    } catch (error) {
      asked.atMost = Math.min(asked.atMost, performance.now() + ttlSeconds * 1000);
      asked.atLeast = 0;
      if (!this.#faults.excuses(from - 1000, performance.now())) this.#find(`by hand ${keyOf(asked)}: ${String(error)}`);
    }
  }

  async junk(count: number): Promise<void> {
    this.counts.junk += count;
    const payloads = Array.from({ length: count }, () => randomBytes(192 + randomInt(257)).toString('base64'));
    const from = this.#ground.strangers[randomInt(2)] ?? '';
    await this.#ground.askStranger('send', { from, to: this.#ground.serverFor(from), port: KNOCK_PORT, payloads });
  }

  async replay(): Promise<void> {
    const packet = this.#packets[randomInt(Math.max(1, this.#packets.length))];
    if (packet === undefined) return;
    this.counts.replayed += 1;
    const payloads = [Buffer.from(packet).toString('base64')];
    const isThief = randomInt(2) === 0;
    const from = (isThief ? this.#ground.strangers[randomInt(2)] : this.#ground.addresses[randomInt(4)]) ?? '';
    const ask = { from, to: this.#ground.serverFor(from), port: KNOCK_PORT, payloads };
    await (isThief ? this.#ground.askStranger('send', ask) : this.#ground.ask('send', ask));
  }

  /** A stranger at twenty doors. */
  async stranger(): Promise<void> {
    const doors = Array.from({ length: 20 }, () => {
      const from = this.#ground.strangers[randomInt(2)] ?? '';
      return { protocol: 'tcp', from, to: this.#ground.serverFor(from), port: FIRST_PORT + randomInt(PORTS), sourcePort: 0 } as const;
    });
    this.counts.tried += doors.length;
    const outcomes = await this.#ground.askStranger('probe', { doors, patienceMs: ANSWER_MS });
    for (const [at, outcome] of outcomes.entries())
      if (outcome !== 'shut') this.#find(`a stranger at ${JSON.stringify(doors[at])}: ${outcome}`);
  }

  /** Every element that lets somebody in against what was asked for. */
  async look(): Promise<KernelView | undefined> {
    const expected = new Map(this.#asked);
    const from = performance.now();
    const kernel = await this.#ground.kernel();
    const to = performance.now();
    this.counts.looked += 1;
    if (kernel === undefined) {
      this.#find('there is no gate');
      return undefined;
    }
    for (const [opening, { to: leftMs }] of kernel.openings) {
      const asked = this.#asked.get(opening.slice(opening.indexOf(' ') + 1)) ?? expected.get(opening.slice(opening.indexOf(' ') + 1));
      if (asked === undefined) this.#find(`${opening} stands, and nobody asked for it`);
      else if (from + leftMs > asked.atMost + JIFFIES_MS + (to - from))
        this.#find(`${opening} stands for ${leftMs} ms, ${Math.round(asked.atMost - from)} at most`);
    }
    const missing = this.#missing(expected, kernel, to);
    // A listing of a set that grows at that moment may leave elements out: what is missing twice, and shut, is missing.
    const again = missing.length === 0 ? undefined : await this.#ground.kernel();
    if (again !== undefined) {
      for (const asked of this.#missing(expected, again, performance.now())) {
        if (missing.includes(asked) && (await this.#outcome(asked)) !== 'open' && asked.atLeast > performance.now())
          this.#find(`${keyOf(asked)} does not stand, and should for ${Math.round(asked.atLeast - to)} ms`);
      }
    }
    return kernel;
  }

  #missing(expected: ReadonlyMap<string, Asked>, kernel: KernelView, now: number): readonly Asked[] {
    const standing = new Set([...kernel.openings.keys()].map((opening) => opening.slice(opening.indexOf(' ') + 1)));
    return [...expected].flatMap(([key, asked]) =>
      asked.atLeast > now && this.#asked.get(key) === asked && !standing.has(key) ? [asked] : [],
    );
  }

  async #opens(asked: Asked, sent: number): Promise<boolean> {
    for (;;) {
      if ((await this.#outcome(asked)) === 'open') return true;
      const waited = performance.now() - sent;
      if (waited > PATIENCE_MS || (waited > RETRY_MS && this.#faults.excuses(sent - 1000, performance.now()))) return false;
      await moment(POLL_MS);
    }
  }

  async #isOpen(asked: Asked): Promise<void> {
    const outcome = await this.#outcome(asked);
    if (outcome !== 'open') throw new Error(`the door is ${outcome}`);
  }

  async #isShut(asked: Asked, why: string): Promise<void> {
    const outcome = await this.#outcome(asked);
    if (outcome !== 'shut') this.#find(`${keyOf(asked)} is ${outcome} ${why}`);
  }

  async #outcome({ address, port }: Asked) {
    const door = { protocol: 'tcp', from: address, to: this.#ground.serverFor(address), port, sourcePort: 0 } as const;
    const [outcome = 'silent'] = await this.#ground.ask('probe', { doors: [door], patienceMs: ANSWER_MS });
    return outcome;
  }

  async #send(from: string, packet: Uint8Array): Promise<void> {
    await this.#ground.ask('send', {
      from,
      to: this.#ground.serverFor(from),
      port: KNOCK_PORT,
      payloads: [Buffer.from(packet).toString('base64')],
    });
  }

  /** Only what has surely arrived: a copy of what a fault swallowed would be a first delivery. */
  #remember(packet: Uint8Array): void {
    this.#packets.push(packet);
    if (this.#packets.length > REMEMBERED) this.#packets.shift();
  }

  #freeDoor(): { readonly address: string; readonly port: number } | undefined {
    for (let attempt = 0; attempt < 100; attempt += 1) {
      const door = { address: this.#ground.addresses[randomInt(4)] ?? '', port: FIRST_PORT + randomInt(PORTS) };
      if (!this.#asked.has(keyOf(door))) return door;
    }
    return undefined;
  }
}

function keyOf({ address, port }: { readonly address: string; readonly port: number }): string {
  return `${address} tcp ${port}`;
}
