// The keys of all who knock in a history, new ones for each, and what they seal with them.
import { createHash, randomBytes } from 'node:crypto';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { type PublicKey, type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import { parsePublicLine } from '../../protocol/openssh.ts';
import { sealKnock } from '../../protocol/packet.ts';
import { type Pairing, pairAsClient } from '../../protocol/pairing.ts';
import { tagOf } from '../../protocol/tags.ts';
import { PEOPLE, type Person, SOURCE_PORT } from './cast.ts';
import type { Packet } from './model.ts';

export type Knocker = Person | 'somebody';
/** What somebody says as well. */
export type Sealed = Omit<Packet, 'number' | 'person'> & { readonly person: Knocker };

export class Keys {
  readonly #secrets: Readonly<Record<Knocker, { readonly secret: SecretKey; readonly pairing: Pairing }>>;

  constructor(serverLine: string, history: number) {
    const server = parsePublicLine(serverLine);
    if (!server.ok) throw new Error(server.why);
    const { publicKey } = server.value;
    const of = (who: Knocker) => {
      const secret = secretFromSeed(createHash('sha256').update(`${process.pid} ${history} ${who}`).digest());
      return { secret, pairing: pairAsClient(secret, publicKey) };
    };
    const [alice, bob] = PEOPLE;
    this.#secrets = { alice: of(alice), bob: of(bob), somebody: of('somebody') };
  }

  publicKeys(): Readonly<Record<Knocker, PublicKey>> {
    const { alice, bob, somebody } = this.#secrets;
    return { alice: alice.secret.publicKey, bob: bob.secret.publicKey, somebody: somebody.secret.publicKey };
  }

  tagOf({ person, window, slot }: Packet): bigint {
    return BigInt(`0x${Buffer.from(tagOf(this.#secrets[person].pairing, window, slot)).toString('hex')}`);
  }

  seal({ person, window, slot, sentAtMs, boundTo, wish }: Sealed): Uint8Array {
    const address = boundTo === undefined ? undefined : parseAddress(boundTo);
    if (address?.ok === false) throw new Error(address.why);
    const requests = wish.service === undefined ? [] : [{ kind: 'service', name: wish.service } as const];
    return sealKnock({
      ...this.#secrets[person],
      window,
      slot,
      body: {
        action: wish.kind === 'close' ? { kind: 'close' } : { kind: 'open', lifetimeSeconds: wish.ttlS, once: wish.once },
        sentAtMs: unixMs(sentAtMs),
        source: address === undefined ? { kind: 'unbound' } : { kind: 'bound', address: address.value },
        sourcePort: wish.kind === 'open' && wish.hasPort ? SOURCE_PORT : 0,
        requests,
      },
      random: (count) => new Uint8Array(randomBytes(count)),
    });
  }
}
