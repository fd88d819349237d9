// What the administrator does in a history: opens and shuts by hand, changes the rules.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { PEOPLE, type Person, type Rules, type ServiceName, serviceOf } from './cast.ts';
import { Happening, one } from './happening.ts';
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
    const who = one([...PEOPLE, ...model.addresses], this.#who);
    this.said = who;
    const now = performance.now();
    const isThere = model.grants(now).some(({ owner, address, end }) => (owner === who || address === who) && end.from > now + 2000);
    const found = await world.revoke(who, this.#keepsSessions);
    assert.ok(found || !isThere, `${who} has a grant by the model, and nothing was there to be revoked`);
    model.revoke(who);
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
    if (!model.isUp) return;
    await world.reload();
    model.readRules();
  }
}

export const rules: fc.Arbitrary<Rules> = fc.record({
  people: fc.record({
    alice: fc.constantFrom('in' as const, 'in' as const, 'in' as const, 'in' as const, 'disabled' as const, 'out' as const),
    bob: fc.constantFrom('in' as const, 'in' as const, 'in' as const, 'in' as const, 'disabled' as const, 'out' as const),
  }),
  missing: fc.subarray(['shell', 'names', 'panel', 'pool', 'single'] satisfies ServiceName[], { maxLength: 2 }),
  isStingy: fc.constantFrom(false, false, true),
});
