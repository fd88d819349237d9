// Which other chains let nothing in that they do not name: base chains between our sieve and the host's sockets, of any family and owner
// (iptables-nft, ufw and firewalld have theirs there). Reads over netlink only: no nft, which foreign tables can crash (P30g).
import {
  concatBytes,
  decodeAttributes,
  findAttribute,
  type Message,
  NFGENMSG_BYTES,
  NLM_F_DUMP,
  nfgenmsg,
  readText,
  readU32,
  text,
} from '../../netlink/message.ts';
import type { Conversation } from './conversation.ts';
import {
  MSG,
  NF_INET_LOCAL_IN,
  NF_INET_PRE_ROUTING,
  NFPROTO_INET,
  NFPROTO_IPV4,
  NFPROTO_IPV6,
  NFT_GOTO,
  NFT_JUMP,
  NFTA_CHAIN,
  NFTA_DATA,
  NFTA_EXPR,
  NFTA_HOOK,
  NFTA_IMMEDIATE_DATA,
  NFTA_RULE,
  NFTA_TARGET_NAME,
  NFTA_VERDICT,
} from './kernel.ts';

/** `name` as in `ip filter INPUT`. */
export type ClosingChain = { readonly name: string; readonly how: 'policy' | 'last-rule' };

const FAMILY_NAMES: ReadonlyMap<number, string> = new Map([
  [NFPROTO_INET, 'inet'],
  [NFPROTO_IPV4, 'ip'],
  [NFPROTO_IPV6, 'ip6'],
]);
const NF_DROP = 0;
/** Instructions that a packet passes whatever it is. Any other may stop the rule. */
const UNCONDITIONAL = ['counter', 'log', 'objref', 'reject', 'immediate', 'target'];
/** The kernel allows no deeper jumps. */
const DEPTH = 16;

type Place = { readonly family: number; readonly table: string; readonly chain: string };

/** `ownTable` (inet) is left out. A drop that holds only for some packets is not found: that would need the packet. */
export function closingChains(conversation: Conversation, ownTable: string): readonly ClosingChain[] {
  return conversation.dump(dump(MSG.getChain, 0, [])).flatMap((message): readonly ClosingChain[] => {
    const place = placeOf(message);
    const family = FAMILY_NAMES.get(place.family);
    const attributes = attributesOf(message);
    const hook = findAttribute(attributes, NFTA_CHAIN.HOOK);
    if (family === undefined || hook === undefined || (place.family === NFPROTO_INET && place.table === ownTable)) return [];
    const number = readU32(findAttribute(decodeAttributes(hook), NFTA_HOOK.HOOKNUM) ?? new Uint8Array(4));
    if (number !== NF_INET_PRE_ROUTING && number !== NF_INET_LOCAL_IN) return [];
    const name = `${family} ${place.table} ${place.chain}`;
    const policy = findAttribute(attributes, NFTA_CHAIN.POLICY);
    if (policy !== undefined && readU32(policy) === NF_DROP) return [{ name, how: 'policy' }];
    return endsClosed(conversation, place, DEPTH) ? [{ name, how: 'last-rule' }] : [];
  });
}

/** Whether the last rule drops or rejects whatever comes to it, itself or in the chain that it goes to. */
function endsClosed(conversation: Conversation, place: Place, depth: number): boolean {
  const { family, table, chain } = place;
  const rules = conversation.dump(dump(MSG.getRule, family, [text(NFTA_RULE.TABLE, table), text(NFTA_RULE.CHAIN, chain)]));
  const last = rules.filter((message) => samePlace(placeOf(message, NFTA_RULE), place)).at(-1);
  const list = last === undefined ? undefined : findAttribute(attributesOf(last), NFTA_RULE.EXPRESSIONS);
  if (list === undefined) return false;
  for (const { payload } of decodeAttributes(list)) {
    const parts = decodeAttributes(payload);
    const name = readText(findAttribute(parts, NFTA_EXPR.NAME) ?? new Uint8Array());
    const data = decodeAttributes(findAttribute(parts, NFTA_EXPR.DATA) ?? new Uint8Array());
    if (!UNCONDITIONAL.includes(name)) return false;
    if (name === 'reject') return true;
    if (name === 'target') return ['REJECT', 'DROP'].includes(readText(findAttribute(data, NFTA_TARGET_NAME) ?? new Uint8Array()));
    if (name !== 'immediate') continue;
    const value = decodeAttributes(findAttribute(data, NFTA_IMMEDIATE_DATA) ?? new Uint8Array());
    const verdict = decodeAttributes(findAttribute(value, NFTA_DATA.VERDICT) ?? new Uint8Array());
    const code = findAttribute(verdict, NFTA_VERDICT.CODE);
    if (code === undefined) continue;
    const to = findAttribute(verdict, NFTA_VERDICT.CHAIN);
    if (to === undefined || depth === 0) return readU32(code) === NF_DROP;
    const goes = [NFT_JUMP, NFT_GOTO].includes(readU32(code) | 0);
    return goes && endsClosed(conversation, { family, table, chain: readText(to) }, depth - 1);
  }
  return false;
}

function dump(type: number, family: number, parts: readonly Uint8Array[]) {
  return { type, flags: NLM_F_DUMP, payload: concatBytes([nfgenmsg(family, 0), ...parts]) };
}

function attributesOf(message: Message) {
  return decodeAttributes(message.payload.subarray(NFGENMSG_BYTES));
}

/** Kernels that do not filter list other places too. */
function placeOf(message: Message, names: { readonly TABLE: number; readonly CHAIN: number } = CHAIN_PLACE): Place {
  const attributes = attributesOf(message);
  const named = (type: number): string => readText(findAttribute(attributes, type) ?? new Uint8Array());
  return { family: message.payload[0] ?? 0, table: named(names.TABLE), chain: named(names.CHAIN) };
}

const CHAIN_PLACE = { TABLE: NFTA_CHAIN.TABLE, CHAIN: NFTA_CHAIN.NAME } as const;

function samePlace(a: Place, b: Place): boolean {
  return a.family === b.family && a.table === b.table && a.chain === b.chain;
}
