// Knocks in a history: made, held back, delivered, delivered again; from wherever, to whomever bound, with whatever wish.
import { setTimeout as moment } from 'node:timers/promises';
import fc from 'fast-check';
import { waitFor } from '../lab/wait.ts';
import { LONG_S, PEOPLE, SERVICE_NAMES, SHORT_S, serviceOf, TOO_LONG_S } from './cast.ts';
import { count, Happening, one } from './happening.ts';
import type { Model, Packet, Verdict, Wish } from './model.ts';
import type { World } from './world.ts';

const WINDOW_MS = 60_000;
const SLOTS = 32;
/** A delivery takes its time on a busy machine: whether a window is accepted must not change meanwhile. */
const EDGE_MS = 3_000;

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

function wishOf({ service, ttlS, once, hasPort, isClose }: Making): Wish {
  const name = service === 0 ? undefined : one(SERVICE_NAMES, service - 1);
  if (isClose) return { kind: 'close', service: name };
  const isTcpByName = name !== undefined && serviceOf(name).protocol === 'tcp' && serviceOf(name).ports.length === 1;
  // A one-shot for one source port, for UDP or for several ports is left to other tests.
  const isOnce = once && isTcpByName;
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
  const packet = { number: model.packets.length, person, window, slot, sentAtMs, boundTo, wish: wishOf(making) };
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
  if (world.abilities.sieve && isWelcome()) {
    const tag = world.tagOf(packet);
    await waitFor(async () => (await world.kernel())?.tags.has(tag), { what: `the tag of ${textOf(packet)} to be armed` });
  }
  const wallFrom = world.wall();
  const now = await world.deliver(packet, address, copies);
  const wasUsed = model.isUsed(packet);
  const open = model.grants(now.to).length;
  const verdict = model.deliver(packet, address, { from: wallFrom, to: world.wall() }, now);
  if (verdict === 'closed') count(`knock closed: ${model.grants(now.to).length < open ? 'something was open' : 'nothing was open'}`);
  tell(packet, address, copies, wasUsed, verdict);
  // Further copies are replays.
  return verdict;
}

/** Where each packet came from when it was used. */
const usedFrom = new WeakMap<Packet, string>();

function tell(packet: Packet, from: string, copies: number, wasUsed: boolean, verdict: Verdict): void {
  count(`knock ${verdict}`);
  if (copies > 1) count('knock in three copies');
  const first = usedFrom.get(packet);
  if (wasUsed && first !== undefined) count(`used packet again, from ${from === first ? 'the same' : 'another'} address`);
  if (!wasUsed && verdict !== 'lost' && verdict !== 'unknown') usedFrom.set(packet, from);
  const { wish } = packet;
  if (verdict !== 'granted' || wish.kind !== 'open') return;
  const { once, ends } = wish.service === undefined ? {} : serviceOf(wish.service);
  if (wish.ttlS !== 0) count('granted for a lifetime that the knock asks for');
  if (wish.hasPort) count('granted to one source port');
  if (wish.once || once === true) count('granted as a one-shot');
  count(ends === true ? 'granted with sessions: end' : 'granted with sessions: keep');
}

export class Knock extends Happening {
  protected readonly name = 'knock';
  readonly #making: Making;
  readonly #where: Where;

  constructor(making: Making, where: Where) {
    super();
    this.#making = making;
    this.#where = where;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    const [making, where] = this.#aimed(model);
    const packet = make(model, world, making);
    if (packet === undefined) return;
    const verdict = await deliver(model, world, packet, where);
    this.said = `${textOf(packet)} from ${one(model.addresses, where.from)}, ${where.copies} times: ${verdict}`;
  }

  /** Most closes that are not bound come from somebody who has something open there. */
  #aimed(model: Model): readonly [Making, Where] {
    const open = model.grants(performance.now()).filter(({ byHand }) => !byHand);
    if (!this.#making.isClose || this.#making.boundTo >= 0 || open.length === 0) return [this.#making, this.#where];
    const { owner, address } = one(open, this.#making.service);
    if (owner === 'hand') return [this.#making, this.#where];
    const person = PEOPLE.indexOf(owner);
    return [
      { ...this.#making, person },
      { ...this.#where, from: model.addresses.indexOf(address) },
    ];
  }
}

/** The network holds it back. */
export class Hold extends Happening {
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
export class Deliver extends Happening {
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
    // In turn one that nobody has used, which is late; one that was used and is still fresh; and any.
    const now = { from: world.wall(), to: world.wall() };
    const [late, fresh] = [
      model.packets.filter((packet) => !model.isUsed(packet)),
      model.packets.filter((packet) => model.isUsed(packet) && model.isKnown(packet, now)),
    ];
    const some = [late, fresh, model.packets][this.#pick % 3] ?? [];
    const packet = one(some.length > 0 ? some : model.packets, Math.floor(this.#pick / 3));
    const verdict = await deliver(model, world, packet, this.#where);
    this.said = `${textOf(packet)} from ${one(model.addresses, this.#where.from)}, ${this.#where.copies} times: ${verdict}`;
  }
}

export const ttl = fc.constantFrom(0, SHORT_S, SHORT_S, LONG_S, TOO_LONG_S);
export const where: fc.Arbitrary<Where> = fc.record({ from: fc.nat(3), copies: fc.constantFrom(1, 1, 1, 3) });
export const making: fc.Arbitrary<Making> = fc
  .record({
    person: fc.nat(1),
    service: fc.nat(6),
    ttlS: ttl,
    once: fc.constantFrom(false, false, false, true),
    hasPort: fc.constantFrom(false, false, false, true),
    isClose: fc.constantFrom(false, false, false, true),
    boundTo: fc.constantFrom(-1, -1, 0, 1, 2, 3),
    skewMs: fc.constantFrom(...Array.from({ length: 28 }, () => 0), -40_000, 40_000, -900_000, 900_000),
  })
  .map((drawn) => (drawn.isClose ? { ...drawn, ttlS: 0, once: false, hasPort: false } : drawn));
/** Most knocks come from where they are bound to. */
export const knock = fc.tuple(making, where, fc.nat(3)).map(([made, { from, copies }, chance]) => {
  const there = made.boundTo >= 0 && chance > 0 ? made.boundTo : from;
  return new Knock(made, { from: there, copies });
});
