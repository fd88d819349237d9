// Every pair of a client key and a server key that may knock, with its pairing. Computing one is costly, so a reload reuses them.
import { createHash } from 'node:crypto';
import { keyId, type PublicKey, type SecretKey } from '../../protocol/identity.ts';
import { type Pairing, pairAsServer } from '../../protocol/pairing.ts';
import { pacing } from '../pacing.ts';
import type { Client, ClientKey, RuleBook } from '../rules/rulebook.ts';

/** One way in which a knock can be sealed: a client's key, one of our keys, and the pre-shared key if the rule has one. */
export type Peer = {
  /** The same for the same keys, whatever the client is called: survives a reload. */
  readonly id: string;
  readonly client: Client;
  readonly key: ClientKey;
  readonly server: PublicKey;
  readonly pairing: Pairing;
};

/** A peer before it is paired. */
type Unpaired = Omit<Peer, 'pairing' | 'client'> & { readonly secret: SecretKey; readonly presharedKey: Uint8Array | undefined };

/**
 * The peers that a client is, in a fixed order. Disabled and expired clients are peers too: their knocks are refused by policy and logged by
 * name, which tells an administrator more than silence. With pre-shared keys a pairing without one is never made (SPEC "Pairing keys").
 */
export function peersOf(client: Pick<Client, 'keys' | 'presharedKeys'>, secrets: readonly SecretKey[]): readonly Unpaired[] {
  const presharedKeys: readonly (Uint8Array | undefined)[] = client.presharedKeys.length === 0 ? [undefined] : client.presharedKeys;
  return client.keys.flatMap((key) =>
    secrets.flatMap((secret) =>
      presharedKeys.map((presharedKey) => {
        const server = secret.publicKey;
        return { id: peerId(key.publicKey, server, presharedKey), key, server, secret, presharedKey };
      }),
    ),
  );
}

/** The pairings that are not known yet, by the peer's id. Half a millisecond each, and the event loop turns in between. */
export async function pairNew(
  book: RuleBook,
  secrets: readonly SecretKey[],
  isKnown: (id: string) => boolean,
): Promise<ReadonlyMap<string, Pairing>> {
  const pairings = new Map<string, Pairing>();
  const pace = pacing();
  for (const client of book.clients) {
    for (const { id, key, secret, presharedKey } of peersOf(client, secrets)) {
      if (!isKnown(id)) pairings.set(id, pairAsServer(secret, key.publicKey, presharedKey));
      await pace();
    }
  }
  return pairings;
}

/** Pairs everybody in the rules with every server key. */
export async function pairPeers(
  book: RuleBook,
  secrets: readonly SecretKey[],
  known: ReadonlyMap<string, Peer>,
): Promise<ReadonlyMap<string, Peer>> {
  const fresh = await pairNew(book, secrets, (id) => known.has(id));
  const peers = new Map<string, Peer>();
  for (const client of book.clients) {
    for (const { id, key, server } of peersOf(client, secrets)) {
      const pairing = fresh.get(id) ?? known.get(id)?.pairing;
      if (pairing !== undefined) peers.set(id, { id, client, key, server, pairing });
    }
  }
  return peers;
}

/** A pre-shared key enters an identifier only as its hash. */
function peerId(client: PublicKey, server: PublicKey, presharedKey: Uint8Array | undefined): string {
  const psk = presharedKey === undefined ? '-' : createHash('sha256').update(presharedKey).digest('base64');
  return `${keyId(client)} ${keyId(server)} ${psk}`;
}
