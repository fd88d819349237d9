// All that can happen in a history, and how often. Choices are numbers, so that what is left of a history when it is made shorter still means something.
import fc from 'fast-check';
import type { Abilities } from './abilities.ts';
import { End, LetEnd, Spend, Start, Step } from './befalling.ts';
import { TOO_LONG_S } from './cast.ts';
import type { Happening } from './happening.ts';
import { Deliver, Hold, knock, making, ttl, where } from './knocking.ts';
import type { Model } from './model.ts';
import { GrantByHand, Revoke, Rewrite, rules } from './ruling.ts';
import { Tamper } from './tampering.ts';
import type { World } from './world.ts';

const HOUR_S = 3600;
const TO_2099_S = 72 * 365 * 24 * HOUR_S;

const index = fc.nat(11);

/** Any history of these. */
export function histories(abilities: Abilities, maxCommands: number, replayPath: string | undefined) {
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
        fc.tuple(fc.nat(95), fc.boolean()).map((drawn) => new Revoke(...drawn)),
      ),
      ...often(
        2,
        fc.constantFrom(HOUR_S, -HOUR_S, 600, -600, TO_2099_S, -TO_2099_S).map((seconds) => new Step(seconds)),
      ),
      ...often(
        2,
        rules(abilities).map((drawn) => new Rewrite(drawn)),
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
        fc.nat(55).map((pick) => new Tamper(pick)),
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
