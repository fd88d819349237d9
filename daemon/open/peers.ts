// Every pair of a client key and a server key that may knock, with its pairing. Computing one is costly, so a reload reuses them.
import { createHash } from 'node:crypto';
import { keyId, type PublicKey, type SecretKey } from '../../protocol/identity.ts';
import { type Pairing, pairAsServer } from '../../protocol/pairing.ts';
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

/**
 * Pairs everybody in the rules with every server key. Disabled and expired clients stay in: their knocks are
 * refused by policy and logged by name, which tells an administrator more than silence.
 * With pre-shared keys a pairing without one is never made (SPEC "Pairing keys").
 */
export function pairPeers(
  book: RuleBook,
  serverSecrets: readonly SecretKey[],
  known: ReadonlyMap<string, Peer>,
): ReadonlyMap<string, Peer> {
  const peers = new Map<string, Peer>();
  for (const client of book.clients) {
    const presharedKeys: readonly (Uint8Array | undefined)[] = client.presharedKeys.length === 0 ? [undefined] : client.presharedKeys;
    for (const key of client.keys) {
      for (const secret of serverSecrets) {
        for (const presharedKey of presharedKeys) {
          const id = peerId(key.publicKey, secret.publicKey, presharedKey);
          const pairing = known.get(id)?.pairing ?? pairAsServer(secret, key.publicKey, presharedKey);
          peers.set(id, { id, client, key, server: secret.publicKey, pairing });
        }
      }
    }
  }
  return peers;
}

/** A pre-shared key enters an identifier only as its hash. */
function peerId(client: PublicKey, server: PublicKey, presharedKey: Uint8Array | undefined): string {
  const psk = presharedKey === undefined ? '-' : createHash('sha256').update(presharedKey).digest('base64');
  return `${keyId(client)} ${keyId(server)} ${psk}`;
}
