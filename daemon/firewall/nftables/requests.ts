// The requests to nf_tables that we make, encoded: tables, sets, chains, rules, elements. Pure; decides nothing.
import { attribute, concatBytes, NLM_F_CREATE, NLM_F_DUMP, nested, nfgenmsg, text, u32, u64 } from '../../netlink/message.ts';
import { type Element, encodeElements } from './element-list.ts';
import { oncePerElement } from './expressions.ts';
import {
  MSG,
  NF_INET_PRE_ROUTING,
  NF_IP_PRI_MANGLE,
  NF_IP_PRI_RAW,
  NFPROTO_INET,
  NFT_OBJECT_COUNTER,
  NFT_SET_EVAL,
  NFT_SET_TIMEOUT,
  NFTA_CHAIN,
  NFTA_COUNTER,
  NFTA_HOOK,
  NFTA_OBJ,
  NFTA_RULE,
  NFTA_SET,
  NFTA_SET_DESC_SIZE,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
} from './kernel.ts';
import { keyBytes, PROTECTED_KEY, PROTECTED_SET, type SetSpec } from './sets.ts';
import type { Chain, Rule } from './structure.ts';

/** One message without its sequence number. */
export type Request = { readonly type: number; readonly flags: number; readonly payload: Uint8Array };

const NLM_F_APPEND = 0x800;
/** An attribute's length is 16 bits: as many elements as surely fit (the longest is under 100 bytes). */
const ELEMENTS_IN_MESSAGE = 500;

function request(type: number, flags: number, parts: readonly Uint8Array[]): Request {
  return { type, flags, payload: concatBytes([nfgenmsg(NFPROTO_INET, 0), ...parts]) };
}

/** Without flags an existing table is left as it is, whatever its flags. */
export function newTable(table: string, tableFlags?: number): Request {
  const flags = tableFlags === undefined ? [] : [u32(NFTA_TABLE.FLAGS, tableFlags)];
  return request(MSG.newTable, NLM_F_CREATE, [text(NFTA_TABLE.NAME, table), ...flags]);
}

export function deleteTable(table: string): Request {
  return request(MSG.delTable, 0, [text(NFTA_TABLE.NAME, table)]);
}

export function newCounter(table: string, name: string, packets: number): Request {
  return request(MSG.newObject, NLM_F_CREATE, [
    text(NFTA_OBJ.TABLE, table),
    text(NFTA_OBJ.NAME, name),
    u32(NFTA_OBJ.TYPE, NFT_OBJECT_COUNTER),
    nested(NFTA_OBJ.DATA, [u64(NFTA_COUNTER.BYTES, 0n), u64(NFTA_COUNTER.PACKETS, BigInt(packets))]),
  ]);
}

// nft's numbers for the types of key parts, six bits each. The kernel ignores them; nft lists a set by them.
const NFT_DATATYPE = { saddr4: 7, daddr4: 7, saddr6: 8, daddr6: 8, l4proto: 12, sport: 13, dport: 13, tag: 4 } as const;

function keyType(key: SetSpec['key']): number {
  return key.reduce((number, part) => number * 64 + NFT_DATATYPE[part], 0);
}

/**
 * nft's note to itself, "typeof @th,64,128" (set_udata.h and payload_expr_build_udata in its source): without it the set is listed as
 * "type 0", and an administrator who saves `nft list ruleset` for the next boot would save a file that nft refuses as a whole.
 */
const TAG_USERDATA = concatBytes([
  note(0, u32Host(2)), // byte order of the key: big endian
  note(
    3,
    concatBytes([
      note(0, u32Host(7)),
      note(1, concatBytes([note(0, u32Host(0)), note(1, u32Host(0)), note(2, u32Host(3)), note(3, u32Host(64)), note(4, u32Host(128))])),
    ]),
  ),
]);

function note(type: number, value: Uint8Array): Uint8Array {
  return concatBytes([new Uint8Array([type, value.length]), value]);
}

/** nft writes its notes in the host's own byte order. */
function u32Host(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer);
}

export function newSet(table: string, spec: SetSpec, id: number): Request {
  return request(MSG.newSet, NLM_F_CREATE, [
    text(NFTA_SET.TABLE, table),
    text(NFTA_SET.NAME, spec.name),
    u32(NFTA_SET.FLAGS, NFT_SET_TIMEOUT | (spec.dynamic ? NFT_SET_EVAL : 0)),
    u32(NFTA_SET.KEY_TYPE, keyType(spec.key)),
    u32(NFTA_SET.KEY_LEN, keyBytes(spec.key)),
    u32(NFTA_SET.ID, id),
    nested(NFTA_SET.DESC, [u32(NFTA_SET_DESC_SIZE, spec.size)]),
    u64(NFTA_SET.TIMEOUT, BigInt(spec.timeoutMs)),
    ...(spec.key.includes('tag') ? [attribute(NFTA_SET.USERDATA, TAG_USERDATA)] : []),
    ...(spec.once ? [oncePerElement(NFTA_SET.EXPR)] : []),
  ]);
}

/** The set of protected ports: a hash without timeouts, filled once. */
export function newProtectedSet(table: string, id: number): Request {
  return request(MSG.newSet, NLM_F_CREATE, [
    text(NFTA_SET.TABLE, table),
    text(NFTA_SET.NAME, PROTECTED_SET),
    u32(NFTA_SET.FLAGS, 0),
    u32(NFTA_SET.KEY_TYPE, keyType(PROTECTED_KEY)),
    u32(NFTA_SET.KEY_LEN, keyBytes(PROTECTED_KEY)),
    u32(NFTA_SET.ID, id),
  ]);
}

export function newChain(table: string, chain: Chain): Request {
  const base =
    chain.hook === undefined
      ? []
      : [
          nested(NFTA_CHAIN.HOOK, [
            u32(NFTA_HOOK.HOOKNUM, NF_INET_PRE_ROUTING),
            u32(NFTA_HOOK.PRIORITY, (chain.hook === 'raw' ? NF_IP_PRI_RAW : NF_IP_PRI_MANGLE) >>> 0),
          ]),
          u32(NFTA_CHAIN.POLICY, 1),
          text(NFTA_CHAIN.TYPE, 'filter'),
        ];
  return request(MSG.newChain, NLM_F_CREATE, [text(NFTA_CHAIN.TABLE, table), text(NFTA_CHAIN.NAME, chain.name), ...base]);
}

export function newRule(table: string, chain: string, rule: Rule): Request {
  return request(MSG.newRule, NLM_F_CREATE | NLM_F_APPEND, [
    text(NFTA_RULE.TABLE, table),
    text(NFTA_RULE.CHAIN, chain),
    nested(NFTA_RULE.EXPRESSIONS, rule),
  ]);
}

function elementList(type: number, table: string, set: string, elements: readonly Element[]): readonly Request[] {
  const requests: Request[] = [];
  for (let from = 0; from < elements.length; from += ELEMENTS_IN_MESSAGE) {
    requests.push(
      request(type, type === MSG.newElements ? NLM_F_CREATE : 0, [
        text(NFTA_SET_ELEM_LIST.TABLE, table),
        text(NFTA_SET_ELEM_LIST.SET, set),
        encodeElements(NFTA_SET_ELEM_LIST.ELEMENTS, elements.slice(from, from + ELEMENTS_IN_MESSAGE)),
      ]),
    );
  }
  return requests;
}

/** One that is there already is left as it is, except that newer kernels take its new timeout. */
export function addElements(table: string, set: string, elements: readonly Element[]): readonly Request[] {
  return elementList(MSG.newElements, table, set, elements);
}

/** One that is absent is refused with ENOENT. */
function deleteElements(table: string, set: string, keys: readonly Uint8Array[]): readonly Request[] {
  return elementList(
    MSG.delElements,
    table,
    set,
    keys.map((key) => ({ key, timeoutMs: undefined })),
  );
}

/** Long enough not to run out between the two steps of one transaction. */
const BETWEEN_STEPS_MS = 1000;

/** Takes elements out, there or not: an absent one is added first, which nobody sees before the transaction ends. */
export function removeElements(table: string, set: string, keys: readonly Uint8Array[]): readonly Request[] {
  return [
    ...addElements(
      table,
      set,
      keys.map((key) => ({ key, timeoutMs: BETWEEN_STEPS_MS })),
    ),
    ...deleteElements(table, set, keys),
  ];
}

/**
 * Elements with exactly the given timeout, there before or not. A plain add shortens on new kernels and does nothing on old ones; delete and
 * add fails when the element has just expired.
 */
export function replaceElements(table: string, set: string, elements: readonly Element[]): readonly Request[] {
  return [
    ...removeElements(
      table,
      set,
      elements.map(({ key }) => key),
    ),
    ...addElements(table, set, elements),
  ];
}

/** Empties a set. */
export function flushSet(table: string, set: string): Request {
  return request(MSG.delElements, 0, [text(NFTA_SET_ELEM_LIST.TABLE, table), text(NFTA_SET_ELEM_LIST.SET, set)]);
}

export function getTable(table: string): Request {
  return request(MSG.getTable, 0, [text(NFTA_TABLE.NAME, table)]);
}

/** A dump of all chains, rules, sets or counters of one table (older kernels ignore the filter for chains: check the name). */
export function dumpOf(what: 'chains' | 'rules' | 'sets' | 'counters', table: string): Request {
  const type = { chains: MSG.getChain, rules: MSG.getRule, sets: MSG.getSet, counters: MSG.getObject }[what];
  return request(type, NLM_F_DUMP, [text(1, table), ...(what === 'counters' ? [u32(NFTA_OBJ.TYPE, NFT_OBJECT_COUNTER)] : [])]);
}

export function dumpElements(table: string, set: string): Request {
  return request(MSG.getElements, NLM_F_DUMP, [text(NFTA_SET_ELEM_LIST.TABLE, table), text(NFTA_SET_ELEM_LIST.SET, set)]);
}
