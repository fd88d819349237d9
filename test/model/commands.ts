// What can happen in a history: each command does it to the world, tells the model, and holds the two against each other. Choices are numbers, so
// that what is left of a history when it is made shorter still means something.
import assert from 'node:assert/strict';
import { setTimeout as moment } from 'node:timers/promises';
import fc, { type AsyncCommand } from 'fast-check';
import { waitFor } from '../lab/wait.ts';
import { LONG_S, PEOPLE, type Person, type Rules, type ServiceName, SHORT_S, serviceOf, TOO_LONG_S } from './cast.ts';
import { compare } from './compare.ts';
import type { Model, Packet, Verdict, Wish } from './model.ts';
import type { World } from './world.ts';

const WINDOW_MS = 60_000;
const SLOTS = 32;
/** A delivery takes its time on a busy machine: whether a window is accepted must not change meanwhile. */
const EDGE_MS = 3_000;
const HOUR_S = 3600;
const TO_2099_S = 72 * 365 * 24 * HOUR_S;

/** How often what happened in all histories of this process: a run that shows nothing must not pass for one that does. */
export const tally = new Map<string, number>();

function count(what: string): void {
  tally.set(what, (tally.get(what) ?? 0) + 1);
}

abstract class Happening implements AsyncCommand<Model, World, true> {
  protected abstract readonly name: string;
  protected said = '';

  /** Whether it means anything now; a history leaves out what does not. */
  protected isPossible(_model: Readonly<Model>): boolean {
    return true;
  }

  async check(model: Readonly<Model>): Promise<boolean> {
    return this.isPossible(model);
  }

  async run(model: Model, world: World): Promise<void> {
    count(this.name);
    await this.happen(model, world);
    try {
      await compare(model, world);
    } catch (error) {
      throw new Error(
        `after ${this.toString()}: ${String((error as Error).message)}\nthe daemon's last lines:\n${world.log.split('\n').slice(-12).join('\n')}`,
        { cause: error },
      );
    }
  }

  protected abstract happen(model: Model, world: World): Promise<void>;

  toString(): string {
    return this.said === '' ? this.name : `${this.name} ${this.said}`;
  }
}

type Where = { readonly from: number; readonly copies: number };
type Making = {
  readonly person: number;
  readonly service: number;
  readonly ttlS: number;
  readonly once: boolean;
  readonly hasPort: boolean;
  readonly isClose: boolean;
  /** -1: not bound; else to that address. */
  readonly boundTo: number;
  readonly skewMs: number;
};

function one<T>(of: readonly T[], at: number): T {
  const found = of[at % of.length];
  if (found === undefined) throw new Error('nothing to choose from');
  return found;
}

function wishOf(model: Model, { service, ttlS, once, hasPort, isClose }: Making): Wish {
  const name = service === 0 ? undefined : one(model.services, service - 1);
  if (isClose) return { kind: 'close', service: name };
  const isTcpByName = name !== undefined && serviceOf(name).protocol === 'tcp' && serviceOf(name).ports.length === 1;
  // A one-shot for one source port, for UDP or for several ports is left to other tests.
  const canBeOnce = isTcpByName && model.services.includes('single');
  const isOnce = once && canBeOnce;
  return { kind: 'open', service: name, ttlS, once: isOnce, hasPort: hasPort && isTcpByName && !isOnce && serviceOf(name).once !== true };
}

function make(model: Model, world: World, making: Making): Packet | undefined {
  const person = one(PEOPLE, making.person);
  const last = model.packets.at(-1)?.sentAtMs ?? 0;
  const sentAtMs = world.wall() + making.skewMs === last ? last + 1 : world.wall() + making.skewMs;
  const window = Math.floor(sentAtMs / WINDOW_MS);
  const taken = new Set(model.packets.filter((packet) => packet.person === person && packet.window === window).map(({ slot }) => slot));
  const slot = Array.from({ length: SLOTS }, (_, at) => at).find((at) => !taken.has(at));
  if (slot === undefined) return undefined;
  const boundTo = making.boundTo < 0 ? undefined : one(model.addresses, making.boundTo);
  const packet = { number: model.packets.length, person, window, slot, sentAtMs, boundTo, wish: wishOf(model, making) };
  model.packets.push(packet);
  return packet;
}

function textOf({ number, person, boundTo, wish }: Packet): string {
  const what =
    wish.kind === 'close'
      ? `close ${wish.service ?? 'all'}`
      : `${wish.service ?? 'default'} for ${wish.ttlS} s${wish.once ? ' once' : ''}${wish.hasPort ? ' from one port' : ''}`;
  return `#${number} (${person}: ${what}${boundTo === undefined ? '' : `, bound to ${boundTo}`})`;
}

async function deliver(model: Model, world: World, packet: Packet, { from, copies }: Where): Promise<Verdict> {
  const address = one(model.addresses, from);
  const around = () => ({ from: world.wall() - EDGE_MS, to: world.wall() + EDGE_MS });
  while (model.isOnTheEdge(packet, around())) await moment(200);
  const isWelcome = () => model.isUp && model.isKnown(packet, around()) && !model.isUsed(packet);
  if (isWelcome()) {
    const tag = world.tagOf(packet);
    await waitFor(async () => (await world.kernel())?.tags.has(tag), { what: `the tag of ${textOf(packet)} to be armed` });
  }
  const wallFrom = world.wall();
  const now = await world.deliver(packet, address, copies);
  const verdict = model.deliver(packet, address, { from: wallFrom, to: world.wall() }, now);
  count(`knock ${verdict}`);
  // Further copies are replays.
  return verdict;
}

class Knock extends Happening {
  protected readonly name = 'knock';
  readonly #making: Making;
  readonly #where: Where;

  constructor(making: Making, where: Where) {
    super();
    this.#making = making;
    this.#where = where;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const packet = make(model, world, this.#making);
    if (packet === undefined) return;
    const verdict = await deliver(model, world, packet, this.#where);
    this.said = `${textOf(packet)} from ${one(model.addresses, this.#where.from)}, ${this.#where.copies} times: ${verdict}`;
  }
}

/** The network holds it back. */
class Hold extends Happening {
  protected readonly name = 'hold back';
  readonly #making: Making;

  constructor(making: Making) {
    super();
    this.#making = making;
  }

  override async run(model: Model, world: World): Promise<void> {
    count(this.name);
    await this.happen(model, world);
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const packet = make(model, world, this.#making);
    if (packet !== undefined) this.said = textOf(packet);
  }
}

/** A packet of before: one that was held back, or one that arrived already. */
class Deliver extends Happening {
  protected readonly name = 'deliver';
  readonly #pick: number;
  readonly #where: Where;

  constructor(pick: number, where: Where) {
    super();
    this.#pick = pick;
    this.#where = where;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    return model.packets.length > 0;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const packet = one(model.packets, this.#pick);
    const verdict = await deliver(model, world, packet, this.#where);
    this.said = `${textOf(packet)} from ${one(model.addresses, this.#where.from)}, ${this.#where.copies} times: ${verdict}`;
  }
}

class GrantByHand extends Happening {
  protected readonly name = 'grant by hand';
  readonly #who: number;
  readonly #from: number;
  readonly #service: number;
  readonly #ttlS: number;
  readonly #once: boolean;

  constructor(who: number, from: number, service: number, ttlS: number, once: boolean) {
    super();
    this.#who = who;
    this.#from = from;
    this.#service = service;
    this.#ttlS = ttlS;
    this.#once = once;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    const who = this.#whom();
    return model.isUp && (who === 'hand' || model.rules.people[who] === 'in');
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const [who, address, service] = [this.#whom(), one(model.addresses, this.#from), one(model.services, this.#service)];
    const once = this.#once && model.services.includes('single') && serviceOf(service).protocol === 'tcp';
    this.said = `${service} to ${who} at ${address} for ${this.#ttlS} s${once ? ' once' : ''}`;
    const from = performance.now();
    await world.grant(who === 'hand' ? address : who, who === 'hand' ? null : address, service, this.#ttlS, once);
    model.grantByHand(who, address, service, this.#ttlS, once, { from, to: performance.now() });
  }

  #whom(): Person | 'hand' {
    return one<Person | 'hand'>([...PEOPLE, 'hand'], this.#who);
  }
}

class Revoke extends Happening {
  protected readonly name = 'revoke';
  readonly #who: number;
  readonly #keepsSessions: boolean;

  constructor(who: number, keepsSessions: boolean) {
    super();
    this.#who = who;
    this.#keepsSessions = keepsSessions;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    return model.isUp;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const who = one([...PEOPLE, ...model.addresses], this.#who);
    this.said = who;
    const now = performance.now();
    const isThere = model.grants(now).some(({ owner, address, end }) => (owner === who || address === who) && end.from > now + 2000);
    const found = await world.revoke(who, this.#keepsSessions);
    assert.ok(found || !isThere, `${who} has a grant by the model, and nothing was there to be revoked`);
    model.revoke(who);
  }
}

class Step extends Happening {
  protected readonly name = 'set the clock by';
  readonly #seconds: number;

  constructor(seconds: number) {
    super();
    this.#seconds = seconds;
    this.said = `${seconds} s`;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    // A signed 32-bit number of minutes is not where this ends, a year of five digits is.
    const years = (model.clockMs / 1000 + this.#seconds) / (365 * 24 * HOUR_S);
    return years > -30 && years < 150;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    await world.step(this.#seconds);
    model.clockMs += this.#seconds * 1000;
  }
}

/** Writes rules; a running daemon is told, another one reads them when it starts. */
class Rewrite extends Happening {
  protected readonly name = 'write rules';
  readonly #rules: Rules;

  constructor(rules: Rules) {
    super();
    this.#rules = rules;
    this.said = JSON.stringify(rules);
  }

  protected async happen(model: Model, world: World): Promise<void> {
    model.written = this.#rules;
    world.writeRules(this.#rules);
    if (!model.isUp) return;
    await world.reload();
    model.readRules();
  }
}

class End extends Happening {
  protected readonly name: string;
  readonly #how: 'kill' | 'stop';

  constructor(how: 'kill' | 'stop') {
    super();
    this.#how = how;
    this.name = how === 'kill' ? 'kill -9' : 'stop';
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    return model.isUp;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    await world[this.#how]();
    model.isUp = false;
  }
}

class Start extends Happening {
  protected readonly name = 'start';

  protected override isPossible(model: Readonly<Model>): boolean {
    return !model.isUp;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const from = performance.now();
    await world.start();
    model.start({ from, to: performance.now() });
  }
}

const TAMPERING = [
  'flush ruleset',
  'delete table inet postern',
  'flush set inet postern grants4',
  'add element inet postern grants4 { 10.77.1.2 . tcp . 8022 timeout 1h }',
  'flush chain inet postern gate',
  'insert rule inet postern gate accept',
] as const;

/** Another process lays hands on the table. It is not theirs; while nobody is there who owns it, it can be deleted (docs/faults.md). */
class Tamper extends Happening {
  protected readonly name = 'nft';
  readonly #words: (typeof TAMPERING)[number];

  constructor(words: (typeof TAMPERING)[number]) {
    super();
    this.#words = words;
    this.said = words;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    return model.isUp || this.#words === 'flush ruleset';
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const code = await world.nft(this.#words);
    if (model.isUp) assert.equal(code === 0, this.#words === 'flush ruleset', `${this.toString()}: exit ${code}`);
    else model.loseGate();
  }
}

/** Waits until everything that ends soon has ended. */
class LetEnd extends Happening {
  protected readonly name = 'let end';

  protected override isPossible(model: Readonly<Model>): boolean {
    return model.grants(0).some(isShort);
  }

  protected async happen(model: Model): Promise<void> {
    const last = Math.max(
      0,
      ...model
        .grants(performance.now())
        .filter(isShort)
        .map(({ end }) => end.to),
    );
    await moment(Math.max(0, last + 50 - performance.now()));
  }
}

function isShort({ end }: { readonly end: { readonly to: number } }): boolean {
  return end.to - performance.now() < SHORT_S * 1000 + 500;
}

/** Connects where a one-shot lets in: exactly once. */
class Spend extends Happening {
  protected readonly name = 'spend a one-shot';
  readonly #pick: number;

  constructor(pick: number) {
    super();
    this.#pick = pick;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    return !model.isGateGone && this.#candidates(model).length > 0;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const candidates = this.#candidates(model);
    if (candidates.length === 0) return;
    const { address, service } = one(candidates, this.#pick);
    const [port = 0] = serviceOf(service).ports;
    this.said = `${address} to ${service}`;
    const door = { protocol: 'tcp', from: address, port, sourcePort: 0 } as const;
    const outcomes = [...(await world.probe([door])), ...(await world.probe([door]))];
    assert.deepEqual(outcomes, ['open', 'shut'], this.said);
    model.spend(address, service);
  }

  /** Not where something else lets in as well, and not in its last moments. */
  #candidates(model: Readonly<Model>) {
    const now = performance.now();
    const all = model.grants(now);
    return all.filter(
      ({ once, address, service, end }) =>
        once &&
        end.from > now + 1000 &&
        serviceOf(service).ports.length === 1 &&
        !all.some((other) => !other.once && other.address === address && other.service === service),
    );
  }
}

const index = fc.nat(11);
const ttl = fc.constantFrom(0, SHORT_S, SHORT_S, LONG_S, TOO_LONG_S);
const where: fc.Arbitrary<Where> = fc.record({ from: fc.nat(3), copies: fc.constantFrom(1, 1, 1, 3) });
const making: fc.Arbitrary<Making> = fc
  .record({
    person: fc.nat(1),
    service: fc.nat(6),
    ttlS: ttl,
    once: fc.constantFrom(false, false, false, true),
    hasPort: fc.constantFrom(false, false, false, true),
    isClose: fc.constantFrom(false, false, false, true),
    boundTo: fc.constantFrom(-1, -1, 0, 1, 2, 3),
    skewMs: fc.constantFrom(...Array.from({ length: 16 }, () => 0), -40_000, 40_000, -900_000, 900_000),
  })
  .map((drawn) => (drawn.isClose ? { ...drawn, ttlS: 0, once: false, hasPort: false } : drawn));
/** Most knocks come from where they are bound to. */
const knock = fc.tuple(making, where, fc.nat(3)).map(([made, { from, copies }, chance]) => {
  const there = made.boundTo >= 0 && chance > 0 ? made.boundTo : from;
  return new Knock(made, { from: there, copies });
});
const rules: fc.Arbitrary<Rules> = fc.record({
  people: fc.record({
    alice: fc.constantFrom('in' as const, 'in' as const, 'in' as const, 'in' as const, 'disabled' as const, 'out' as const),
    bob: fc.constantFrom('in' as const, 'in' as const, 'in' as const, 'in' as const, 'disabled' as const, 'out' as const),
  }),
  missing: fc.subarray(['shell', 'names', 'panel', 'pool', 'single'] satisfies ServiceName[], { maxLength: 2 }),
  isStingy: fc.constantFrom(false, false, true),
});

/** Any history of these. */
export function histories(maxCommands: number, replayPath: string | undefined) {
  const often = (times: number, of: fc.Arbitrary<Happening>) => Array.from({ length: times }, () => of);
  return fc.commands<Model, World, true>(
    [
      ...often(10, knock),
      ...often(
        2,
        making.map((made) => new Hold(made)),
      ),
      ...often(
        4,
        fc.tuple(fc.nat(), where).map(([pick, at]) => new Deliver(pick, at)),
      ),
      ...often(
        2,
        fc
          .tuple(
            fc.nat(2),
            fc.nat(3),
            index,
            ttl.filter((seconds) => seconds !== TOO_LONG_S),
            fc.boolean(),
          )
          .map((drawn) => new GrantByHand(...drawn)),
      ),
      ...often(
        2,
        fc.tuple(fc.nat(5), fc.boolean()).map((drawn) => new Revoke(...drawn)),
      ),
      ...often(
        2,
        fc.constantFrom(HOUR_S, -HOUR_S, 600, -600, TO_2099_S, -TO_2099_S).map((seconds) => new Step(seconds)),
      ),
      ...often(
        2,
        rules.map((drawn) => new Rewrite(drawn)),
      ),
      ...often(
        1,
        fc.constantFrom('kill' as const, 'stop' as const).map((how) => new End(how)),
      ),
      ...often(
        5,
        fc.constant(null).map(() => new Start()),
      ),
      ...often(
        1,
        fc.constantFrom(...TAMPERING).map((words) => new Tamper(words)),
      ),
      ...often(
        1,
        fc.constant(null).map(() => new LetEnd()),
      ),
      ...often(
        2,
        fc.nat().map((pick) => new Spend(pick)),
      ),
    ],
    { maxCommands, size: 'max', ...(replayPath === undefined ? {} : { replayPath }) },
  );
}
