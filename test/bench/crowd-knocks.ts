// Knocks of the crowd, sealed as the client seals them: each takes the next slot of its person in this minute.
import { randomBytes } from 'node:crypto';
import { unixMs } from '../../protocol/brand.ts';
import { checkPublicKey, type PublicKey, type SecretKey } from '../../protocol/identity.ts';
import type { KnockBody, KnockSource } from '../../protocol/knock.ts';
import { sealKnock } from '../../protocol/packet.ts';
import { type Pairing, pairAsClient } from '../../protocol/pairing.ts';
import { windowOf } from '../../protocol/tags.ts';
import { personKey, SLOTS, TIMED_PORT } from './crowd.ts';

export type CrowdKnock = {
  readonly requests: KnockBody['requests'];
  readonly lifetimeSeconds: number;
  readonly source?: KnockSource;
};

type Person = { readonly secret: SecretKey; readonly pairing: Pairing };

/** The one service that is asked for by name. */
export const TIMED_REQUEST: KnockBody['requests'] = [{ kind: 'ports', ports: { protocol: 'tcp', first: TIMED_PORT, last: TIMED_PORT } }];

export class CrowdKnocks {
  readonly #serverKey: PublicKey;
  readonly #slots: number;
  readonly #people = new Map<number, Person>();
  readonly #usedSlots = new Map<number, { readonly window: number; readonly used: number }>();

  /** `serverKey` in base64; `slots`: knocks of one person in a minute. */
  constructor(serverKey: string, slots = SLOTS) {
    this.#slots = slots;
    const key = checkPublicKey(Buffer.from(serverKey, 'base64'));
    if (!key.ok) throw new Error(key.why);
    this.#serverKey = key.value;
  }

  /** What this person needs for every knock; computed once. */
  person(number: number): Person {
    const known = this.#people.get(number);
    if (known !== undefined) return known;
    const secret = personKey(number);
    const made = { secret, pairing: pairAsClient(secret, this.#serverKey) };
    this.#people.set(number, made);
    return made;
  }

  /** How many knocks this person has left in this minute. */
  slotsLeft(number: number): number {
    const last = this.#usedSlots.get(number);
    return last?.window === windowOf(unixMs(Date.now())) ? this.#slots - last.used : this.#slots;
  }

  seal(number: number, { requests, lifetimeSeconds, source = { kind: 'unbound' } }: CrowdKnock): Uint8Array {
    const sentAtMs = unixMs(Date.now());
    const window = windowOf(sentAtMs);
    const last = this.#usedSlots.get(number);
    const slot = last?.window === window ? last.used : 0;
    if (slot >= this.#slots) throw new Error(`person ${number} has no slot left in this minute`);
    this.#usedSlots.set(number, { window, used: slot + 1 });
    const action = { kind: 'open', lifetimeSeconds, once: false } as const;
    const body: KnockBody = { action, sentAtMs, source, sourcePort: 0, requests };
    return sealKnock({ ...this.person(number), window, slot, body, random: (count) => new Uint8Array(randomBytes(count)) });
  }
}
