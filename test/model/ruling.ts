// What the administrator does in a history: opens and shuts by hand, changes the rules.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Abilities } from './abilities.ts';
import { PEOPLE, type Person, type Rules, SERVICE_NAMES, type ServiceName, serviceOf } from './cast.ts';
import { count, Happening, one } from './happening.ts';
import type { Model } from './model.ts';
import type { World } from './world.ts';

export class GrantByHand extends Happening {
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
    const [who, address, service] = [this.#whom(), one(model.addresses, this.#from), one(SERVICE_NAMES, this.#service)];
    const once = this.#once && serviceOf(service).protocol === 'tcp';
    this.said = `${service} to ${who} at ${address} for ${this.#ttlS} s${once ? ' once' : ''}`;
    const from = performance.now();
    const opened = await world.grant(who === 'hand' ? address : who, who === 'hand' ? null : address, service, this.#ttlS, once);
    const verdict = model.grantByHand(who, address, service, this.#ttlS, once, { from, to: performance.now() });
    assert.equal(opened ? 'granted' : 'refused', verdict, this.said);
    count(`${this.name}: ${verdict}${once ? ', one connection' : ''}`);
  }

  #whom(): Person | 'hand' {
    return one<Person | 'hand'>([...PEOPLE, 'hand'], this.#who);
  }
}

export class Revoke extends Happening {
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
    const now = performance.now();
    const live = model.grants(now).map(({ owner, address }) => (owner === 'hand' ? address : this.#who % 2 === 0 ? owner : address));
    // Mostly somebody who has something.
    const who = one<string>(live.length > 0 && this.#who % 4 > 0 ? live : [...PEOPLE, ...model.addresses], Math.floor(this.#who / 4));
    this.said = `${who}${this.#keepsSessions ? ', sessions kept' : ''}`;
    const isThere = model.grants(now).some(({ owner, address, end }) => (owner === who || address === who) && end.from > now + 2000);
    const found = await world.revoke(who, this.#keepsSessions);
    assert.ok(found || !isThere, `${who} has a grant by the model, and nothing was there to be revoked`);
    model.revoke(who, { from: now, to: performance.now() });
    count(`${this.name}: ${found ? (this.#keepsSessions ? 'found, sessions kept' : 'found, sessions cut') : 'nothing there'}`);
  }
}

/** Writes rules; a running daemon is told, another one reads them when it starts. */
export class Rewrite extends Happening {
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
    if (!model.isUp) {
      count(`${this.name}: for the next start`);
      return;
    }
    const from = performance.now();
    const before = model.grants(from).length;
    const isTaken = await world.reload();
    assert.equal(isTaken, model.isTaken(this.#rules), `${this.toString()}: ${isTaken ? 'taken' : 'not taken'}`);
    if (isTaken) model.readRules({ from, to: performance.now() });
    const ended = before - model.grants(performance.now()).length;
    count(`${this.name}: ${isTaken ? `reload${ended > 0 ? ' that ended grants' : ''}` : 'reload refused'}`);
  }
}

const OFTEN_THERE = ['shell', 'names', 'panel', 'pool', 'single'] satisfies ServiceName[];

/** Where there are no one-shots, a rule with one comes now and then all the same. */
export const rules = ({ oneShots }: Abilities): fc.Arbitrary<Rules> =>
  fc.record({
    people: fc.record({
      alice: fc.constantFrom('in' as const, 'in' as const, 'in' as const, 'in' as const, 'disabled' as const, 'out' as const),
      bob: fc.constantFrom('in' as const, 'in' as const, 'in' as const, 'in' as const, 'disabled' as const, 'out' as const),
    }),
    missing: oneShots
      ? fc.subarray(OFTEN_THERE, { maxLength: 2 })
      : fc
          .tuple(fc.subarray(OFTEN_THERE, { maxLength: 2 }), fc.nat(5))
          .map(([some, chance]) => (chance > 0 ? [...new Set([...some, 'single' as const])] : some)),
    isStingy: fc.constantFrom(false, false, true),
    isBroken: fc.constantFrom(...Array.from({ length: 11 }, () => false), true),
  });
