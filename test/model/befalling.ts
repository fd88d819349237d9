// What befalls the daemon and the gate in a history: clocks, crashes, others at the table, ends of grants, one-shots that are used.
import assert from 'node:assert/strict';
import { setTimeout as moment } from 'node:timers/promises';
import { SHORT_S, serviceOf } from './cast.ts';
import { count, Happening, one } from './happening.ts';
import type { Model } from './model.ts';
import type { World } from './world.ts';

const YEAR_S = 365 * 24 * 3600;
/** A kill or a stop is over by then, on a busy machine. */
const KILL_MS = 1500;
/** A few connections are made by then. */
const ENDS_SOON_MS = 1500;

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
    count(`${this.name}: ${this.#seconds < 0 ? 'back' : 'forward'}${model.isUp ? '' : ', while nobody runs'}`);
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
    await this.#untilNothingEnds(model);
    await world[this.#how]();
    model.isUp = false;
    if (model.grants(performance.now()).length > 0) count(`${this.name}: with something open`);
  }

  /** What the daemon has to take out: whether it still did must be certain. */
  async #untilNothingEnds(model: Model): Promise<void> {
    for (;;) {
      const now = performance.now();
      const last = Math.max(
        0,
        ...model
          .grants(now)
          .filter((grant) => model.isSwept(grant) && grant.end.from < now + KILL_MS)
          .map(({ end }) => end.to),
      );
      if (last === 0) return;
      await moment(last - now);
    }
  }
}

export class Start extends Happening {
  protected readonly name = 'start';

  protected override isPossible(model: Readonly<Model>): boolean {
    return !model.isUp;
  }

  protected async happen(model: Model, world: World): Promise<void> {
    if (!model.isTaken(model.written)) {
      assert.equal(await world.startInVain(), 2, 'rules that cannot be taken');
      count('start refused');
      return;
    }
    const from = performance.now();
    await world.start();
    model.start({ from, to: performance.now() });
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

/** Connects where a one-shot lets in: exactly once, or once for each kind where there is one that keeps sessions and one that ends them. */
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
    const there = model.grants(performance.now()).filter((grant) => grant.address === address && grant.service === service);
    const meant = [...[...new Set(there.map(({ ends }) => ends))].map(() => 'open'), 'shut'];
    const outcomes: string[] = [];
    while (outcomes.length < meant.length) outcomes.push(...(await world.probe([door])));
    assert.deepEqual(outcomes, meant, this.said);
    model.spend(address, service);
  }

  /** Not where something else lets in as well, and not in its last moments. */
  #candidates(model: Readonly<Model>) {
    const now = performance.now();
    const all = model.grants(now);
    return all.filter(
      ({ once, address, service }) =>
        once &&
        serviceOf(service).ports.length === 1 &&
        !all.some(
          (other) => other.address === address && other.service === service && !(other.once && other.end.from > now + ENDS_SOON_MS),
        ),
    );
  }
}
