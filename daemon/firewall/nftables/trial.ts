// Finds out whether this kernel takes the whole gate, by a transaction that it must refuse at its very last request: nothing changes.
import { FirewallError, type GateLayout } from '../firewall.ts';
import { encodeOpenings, installRequests } from './changes.ts';
import { type Conversation, converse, RefusedError } from './conversation.ts';
import { firewallError } from './errors.ts';
import { NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST } from './kernel.ts';
import { canOwn } from './nftables.ts';
import { deleteTable } from './requests.ts';

export type Trial =
  | { readonly kind: 'takes'; readonly owned: boolean }
  /** Everything but the sieve: a kernel without sets keyed by payload. */
  | { readonly kind: 'without-sieve'; readonly owned: boolean }
  | { readonly kind: 'refuses'; readonly error: FirewallError };

const NOTHING = { elements: new Map(), counters: { knocks: 0, junk: 0, refused: 0, ended: 0 } } as const;

/** For `check`. Needs CAP_NET_ADMIN, as the gate itself does. */
export async function tryGate(table: string, layout: GateLayout): Promise<Trial> {
  let conversation: Conversation | undefined;
  try {
    conversation = converse();
    const owned = await canOwn(conversation, table);
    const refusal = await attempt(conversation, table, owned, layout);
    if (refusal === undefined) return { kind: 'takes', owned };
    const without =
      layout.sieve.kind === 'none' ? refusal : await attempt(conversation, table, owned, { ...layout, sieve: { kind: 'none' } });
    return without === undefined ? { kind: 'without-sieve', owned } : { kind: 'refuses', error: firewallError(without, 'put up the gate') };
  } catch (error) {
    return { kind: 'refuses', error: firewallError(error, 'speak to nf_tables') };
  } finally {
    await conversation?.close();
  }
}

/** Undefined: refused at the last request alone, as it must be. */
async function attempt(conversation: Conversation, table: string, owned: boolean, layout: GateLayout): Promise<RefusedError | undefined> {
  const trial = `${table}-trial`;
  const flags = owned ? NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST : 0;
  const requests = [...installRequests(trial, flags, layout, encodeOpenings(trial, []), NOTHING), deleteTable(`${trial}-absent`)];
  try {
    // On a thread: the kernel waits for all its processors before it has undone what was refused.
    await conversation.transactAsync(requests);
  } catch (error) {
    if (!(error instanceof RefusedError) || error.code === 'EPERM') throw error;
    return error.at === requests.length - 1 ? undefined : error;
  }
  throw new FirewallError('KERNEL', 'the kernel accepted the deletion of a table that is not there', 'report this');
}
