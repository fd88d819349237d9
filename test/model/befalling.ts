// What befalls the daemon and the gate in a history: clocks, crashes, others at the table, ends of grants, one-shots that are used.
import assert from 'node:assert/strict';
import { setTimeout as moment } from 'node:timers/promises';
import { SHORT_S, serviceOf } from './cast.ts';
import { Happening, one } from './happening.ts';
import type { Model } from './model.ts';
import type { World } from './world.ts';

const YEAR_S = 365 * 24 * 3600;

export class Step extends Happening {
  protected readonly name = 'set the clock by';
  readonly #seconds: number;

  constructor(seconds: number) {
    super();
    this.#seconds = seconds;
    this.said = `${seconds} s`;
  }

  protected override isPossible(model: Readonly<Model>): boolean {
    // A signed 32-bit number of minutes is not where this ends, a year of five digits is.
    const years = (model.clockMs / 1000 + this.#seconds) / YEAR_S;
    return years > -30 && years < 150;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    await world.step(this.#seconds);
    model.clockMs += this.#seconds * 1000;
  }
}

export class End extends Happening {
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

export class Start extends Happening {
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

export const TAMPERING = [
  'flush ruleset',
  'delete table inet postern',
  'flush set inet postern grants4',
  'add element inet postern grants4 { 10.77.1.2 . tcp . 8022 timeout 1h }',
  'flush chain inet postern gate',
  'insert rule inet postern gate accept',
] as const;

/** Another process lays hands on the table. It is not theirs; while nobody is there who owns it, it can be deleted (docs/faults.md). */
export class Tamper extends Happening {
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
export class LetEnd extends Happening {
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
export class Spend extends Happening {
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
