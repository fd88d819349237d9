// Whatever comes in whatever order (knocks, closes, revocations, reloads, flushes, a kernel that is slow, refuses, or will not shut): in the end the
// kernel holds what the book holds, no more and for no longer, and nobody who is out. Histories by chance, each from its number.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CommandError } from '../../daemon/command-error.ts';
import { FirewallError, openingKey } from '../../daemon/firewall/firewall.ts';
import { openingsOf } from '../../daemon/grants/openings.ts';
import type { Postern } from '../../daemon/postern.ts';
import { type PortRange, parsePortRange } from '../../protocol/ports.ts';
import { ALICE, BOB, CLOSE, HostUnderTest, rulesText } from '../fakes/daemon-host.ts';

const HISTORIES = 50;
/** Number 165: a gate that was loaded anew took in an opening that the kernel then refused. */
const FIRST = 130;
const STEPS = 60;
const PEOPLE = { alice: ALICE, bob: BOB } as const;
type Name = keyof typeof PEOPLE;
const NAMES: readonly Name[] = ['alice', 'bob'];
const ADDRESSES = ['198.18.0.7', '198.18.0.8'];
const ALLOW = [
  '  - { services: [ssh], ttl: 20s, max_ttl: 1h }',
  '  - { services: [tcp/8443], ttl: 10s, default: false, once: true }',
  '  - { services: [tcp/22-30], ttl: 15s, default: false, sessions: end }',
].join('\n');
function ports(text: string): PortRange {
  const range = parsePortRange(text);
  assert.ok(range.ok);
  return range.value;
}

const WISHES = [[], [{ kind: 'ports', ports: ports('tcp/8443') }], [{ kind: 'ports', ports: ports('tcp/22-30') }]] as const;

/** Numbers in [0, 1) that depend on the seed alone (xorshift). */
function chance(seed: number): () => number {
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  return () => {
    state = (state ^ (state << 13)) >>> 0;
    state = (state ^ (state >>> 17)) >>> 0;
    state = (state ^ (state << 5)) >>> 0;
    return state / 2 ** 32;
  };
}

async function turnsOf(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await nextTurn();
}

class History {
  readonly host: HostUnderTest;
  readonly #postern: Postern;
  readonly #random: () => number;
  readonly #underWay: Promise<unknown>[] = [];
  #inRules: readonly Name[] = NAMES;
  #knocks = 0;

  constructor(host: HostUnderTest, postern: Postern, random: () => number) {
    this.host = host;
    this.#postern = postern;
    this.#random = random;
  }

  async step(): Promise<void> {
    const { host } = this;
    const { kernel } = host;
    const [who, from] = [this.#one(NAMES), this.#one(ADDRESSES)];
    const acts: readonly (readonly [weight: number, act: () => unknown])[] = [
      [35, () => this.#begin(this.#knock(who, from, { requests: this.#one(WISHES) }))],
      [10, () => this.#begin(this.#knock(who, from, { action: CLOSE }))],
      [7, () => this.#begin(this.#postern.revoke(who, this.#random() < 0.5))],
      [5, () => this.#begin(this.#grantByHand(who, from))],
      [6, () => this.#reload(this.#one([NAMES, ['alice'], ['bob']]))],
      [4, () => this.#flush()],
      [4, () => Object.assign(kernel, { failing: true })],
      [2, () => Object.assign(kernel, { stuck: true })],
      [5, () => Object.assign(kernel, { failing: false, stuck: false })],
      [6, () => this.#slow('slowness')],
      [4, () => [this.#slow('loading'), this.#begin(this.#postern.gate.up())]],
      [12, () => this.#pass(Math.floor(this.#random() * 4000))],
    ];
    let at = this.#random() * acts.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, act] of acts) {
      at -= weight;
      if (at >= 0) continue;
      await act();
      break;
    }
    if (this.#random() < 0.4) await nextTurn();
    if (this.#random() < 0.2) await this.#settled();
  }

  /** Everything works again, and two seconds go by. What is wrong then, as text. */
  async outcome(): Promise<readonly string[]> {
    const { kernel, time } = this.host;
    Object.assign(kernel, { failing: false, stuck: false, slowness: undefined, loading: undefined });
    await this.#settled();
    this.#reload(this.#inRules);
    await this.#settled();
    await this.#postern.gate.verify();
    await this.#pass(1000);
    await this.#pass(1000);
    await this.#settled();
    const now = time.clock().monotonic();
    const meant = new Map<string, number>();
    const wrong: string[] = [];
    for (const grant of this.#postern.grants.all()) {
      if (grant.key !== 'administrator' && !this.#inRules.includes(grant.client as Name))
        wrong.push(`${grant.client} is out, and has a grant`);
      for (const key of openingsOf(grant).map(openingKey)) meant.set(key, Math.max(meant.get(key) ?? 0, grant.deadlineMs - now));
    }
    for (const [key, { remainingMs }] of kernel.openings) {
      const leftMs = meant.get(key);
      if (leftMs === undefined) wrong.push(`the kernel holds ${key}, the book does not`);
      else if (remainingMs > leftMs + 1) wrong.push(`${key} stands for ${remainingMs} ms instead of ${leftMs}`);
    }
    // One-shots do not come back after a flush, and what has under a second to go is not set anew.
    for (const [key, leftMs] of meant)
      if (!kernel.openings.has(key) && !key.startsWith('once') && leftMs > 3000) wrong.push(`the book holds ${key}, the kernel does not`);
    return wrong;
  }

  #knock(who: Name, from: string, more: Parameters<HostUnderTest['knock']>[2]): Promise<unknown> {
    this.#knocks += 1;
    return this.host.deliver(this.#postern, this.host.knock(PEOPLE[who], this.#knocks % 16, more), from);
  }

  #grantByHand(who: Name, from: string): Promise<unknown> {
    const ttlSeconds = Math.ceil(this.#random() * 20);
    return this.#postern.grantByHand({ who, from, services: ['ssh'], ttlSeconds, once: this.#random() < 0.3 });
  }

  #reload(names: readonly Name[]): void {
    const clients = names.map((name) => [name, PEOPLE[name]] as const);
    this.host.rules(rulesText(clients, ALLOW));
    this.#inRules = names;
    this.#begin(this.#postern.reload());
  }

  #flush(): void {
    const { kernel } = this.host;
    kernel.present = false;
    kernel.openings.clear();
    kernel.armed.clear();
    this.#begin(this.#postern.gate.verify());
  }

  /** The kernel takes a few turns of the event loop for what comes next. */
  #slow(what: 'slowness' | 'loading'): void {
    const waiting = turnsOf(Math.floor(this.#random() * 6));
    this.host.kernel[what] = waiting;
    this.#underWay.push(
      waiting.then(() => {
        if (this.host.kernel[what] === waiting) this.host.kernel[what] = undefined;
      }),
    );
  }

  /** Time passes for the kernel's timeouts too, when nothing is on its way. */
  async #pass(ms: number): Promise<void> {
    await this.#settled();
    const { openings } = this.host.kernel;
    this.host.time.advance(ms);
    for (const [key, { opening, remainingMs }] of [...openings]) {
      if (remainingMs <= ms) openings.delete(key);
      else openings.set(key, { opening, remainingMs: remainingMs - ms });
    }
    this.#begin(this.#postern.tick());
  }

  #one<T>(of: readonly T[]): T {
    return of[Math.floor(this.#random() * of.length)] as T;
  }

  #begin(work: Promise<unknown>): void {
    // What is refused is said to whoever asked; anything else is a mistake of ours.
    const expected = (error: unknown): void => {
      if (!(error instanceof CommandError || error instanceof FirewallError)) throw error;
    };
    const handled = work.catch(expected);
    // Looked at when all is settled.
    handled.catch(() => undefined);
    this.#underWay.push(handled);
  }

  async #settled(): Promise<void> {
    await Promise.all(this.#underWay.splice(0));
  }
}

async function live(context: TestContext, seed: number): Promise<readonly string[]> {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  host.config('', '[ssh, tcp/8443, tcp/23-30]');
  host.rules(rulesText(Object.entries(PEOPLE), ALLOW));
  const history = new History(host, await host.start(), chance(seed));
  try {
    for (let step = 0; step < STEPS; step += 1) await history.step();
    return await history.outcome();
  } finally {
    await host.stop();
  }
}

test(`after ${HISTORIES} histories by chance the kernel holds what the book holds`, async (context) => {
  for (let seed = FIRST; seed < FIRST + HISTORIES; seed += 1) {
    assert.deepEqual(await live(context, seed), [], `history ${seed}`);
  }
});
