// iptables in its form for nf_tables makes tables and base chains when they are first used, and leaves them when the last rule is gone. What was not there
// before the gate goes with it. The kernel refuses to delete what is in use, so nobody's rule can be lost. Where netlink cannot be spoken, they stay.
import type { Family } from '../../../protocol/address.ts';
import { decodeAttributes, findAttribute, NFGENMSG_BYTES, NLM_F_DUMP, nfgenmsg, readText, text } from '../../netlink/message.ts';
import { type Conversation, converse } from '../nftables/conversation.ts';
import { MSG, NFPROTO_IPV4, NFPROTO_IPV6, NFTA_CHAIN, NFTA_TABLE } from '../nftables/kernel.ts';
import type { Request } from '../nftables/requests.ts';

const PROTOCOL = { 4: NFPROTO_IPV4, 6: NFPROTO_IPV6 } as const;
/** Refuse to delete what holds something (nf_tables: EBUSY). */
const NLM_F_NONREC = 0x100;

/** A table (`mangle`) or a chain in one (`mangle/PREROUTING`). */
export type Place = string;

/** Those of `places` that are not there. Empty when it cannot be told: then nothing is ever deleted. */
export async function absent(family: Family, places: readonly Place[]): Promise<readonly Place[]> {
  return (
    (await conversing((conversation) => {
      const there = new Set([
        ...names(conversation, family, MSG.getTable, ([name]) => name ?? '', [NFTA_TABLE.NAME]),
        ...names(conversation, family, MSG.getChain, (parts) => parts.join('/'), [NFTA_CHAIN.TABLE, NFTA_CHAIN.NAME]),
      ]);
      return places.filter((place) => !there.has(place));
    })) ?? []
  );
}

/** Chains before tables; what is in use, or gone already, is left. */
export async function removeEmpty(family: Family, places: readonly Place[]): Promise<void> {
  await conversing((conversation) => {
    for (const place of [...places].sort((a, b) => b.split('/').length - a.split('/').length)) {
      try {
        conversation.transact([deletion(family, place)]);
      } catch {
        // In use by somebody else: then it is not ours any more.
      }
    }
  });
}

function deletion(family: Family, place: Place): Request {
  const [table = '', chain] = place.split('/');
  const parts = chain === undefined ? [text(NFTA_TABLE.NAME, table)] : [text(NFTA_CHAIN.TABLE, table), text(NFTA_CHAIN.NAME, chain)];
  const payload = Buffer.concat([nfgenmsg(PROTOCOL[family], 0), ...parts]);
  return { type: chain === undefined ? MSG.delTable : MSG.delChain, flags: NLM_F_NONREC, payload };
}

function names(
  conversation: Conversation,
  family: Family,
  type: number,
  join: (parts: readonly string[]) => Place,
  attributes: readonly number[],
): readonly Place[] {
  return conversation.dump({ type, flags: NLM_F_DUMP, payload: nfgenmsg(PROTOCOL[family], 0) }).map(({ payload }) => {
    const decoded = decodeAttributes(payload.subarray(NFGENMSG_BYTES));
    return join(attributes.map((attribute) => readText(findAttribute(decoded, attribute) ?? new Uint8Array())));
  });
}

async function conversing<T>(work: (conversation: Conversation) => T): Promise<T | undefined> {
  let conversation: Conversation | undefined;
  try {
    conversation = converse();
    return work(conversation);
  } catch {
    return undefined;
  } finally {
    await conversation?.close();
  }
}
