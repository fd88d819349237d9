// What stands in the kernel: the table, its fingerprint, elements, counters. Reads only, one set at a time, never the tags (P30g: never
// through libnftables, which foreign tables can crash).
import { createHash } from 'node:crypto';
import {
  type Attribute,
  decodeAttributes,
  findAttribute,
  type Message,
  NFGENMSG_BYTES,
  readText,
  readU32,
  readU64,
} from '../../netlink/message.ts';
import type { GateCounters, Opening, TimedOpening } from '../firewall.ts';
import type { Conversation } from './conversation.ts';
import type { Element } from './element-list.ts';
import {
  NFT_TABLE_F_OWNER,
  NFT_TABLE_F_PERSIST,
  NFTA_CHAIN,
  NFTA_COUNTER,
  NFTA_DATA,
  NFTA_OBJ,
  NFTA_SET,
  NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
} from './kernel.ts';
import { dumpElements, dumpOf, getTable } from './requests.ts';
import { decodeOpening, OPENING_KINDS, openingSet, PROTECTED_SET, VERSIONS } from './sets.ts';

export type TableState = {
  readonly handle: bigint;
  readonly flags: number;
  /** Netlink port of the process that owns it. */
  readonly owner: number | undefined;
  readonly persistent: boolean;
};

/** The table as it stands, or undefined. */
export function readTable(conversation: Conversation, table: string): TableState | undefined {
  const answer = conversation.ask(getTable(table));
  if (answer === undefined) return undefined;
  const attributes = attributesOf(answer);
  const flags = readU32(findAttribute(attributes, NFTA_TABLE.FLAGS) ?? new Uint8Array(4));
  const owner = findAttribute(attributes, NFTA_TABLE.OWNER);
  return {
    handle: readU64(findAttribute(attributes, NFTA_TABLE.HANDLE) ?? new Uint8Array(8)),
    flags,
    owner: (flags & NFT_TABLE_F_OWNER) !== 0 && owner !== undefined ? readU32(owner) : undefined,
    persistent: (flags & NFT_TABLE_F_PERSIST) !== 0,
  };
}

/** The same text as long as nobody changes table, chains, rules, sets or protected ports; elements that come and go do not count. */
export function fingerprint(conversation: Conversation, table: string): string | undefined {
  const state = readTable(conversation, table);
  if (state === undefined) return undefined;
  const hash = createHash('sha256').update(`${state.handle} ${state.flags}`);
  const absorb = (messages: readonly Message[], types: readonly number[] | undefined): void => {
    for (const message of messages) {
      const attributes = attributesOf(message);
      // Each dump names its table first; kernels that do not filter list others too.
      if (readText(findAttribute(attributes, 1) ?? new Uint8Array()) !== table) continue;
      for (const { type, payload } of attributes) {
        if (types === undefined || types.includes(type)) hash.update(`${type} ${payload.length} `).update(payload);
      }
    }
  };
  absorb(conversation.dump(dumpOf('chains', table)), [NFTA_CHAIN.NAME, NFTA_CHAIN.HANDLE, NFTA_CHAIN.HOOK, NFTA_CHAIN.POLICY]);
  absorb(conversation.dump(dumpOf('rules', table)), undefined);
  absorb(conversation.dump(dumpOf('sets', table)), [NFTA_SET.NAME, NFTA_SET.FLAGS, NFTA_SET.KEY_LEN, NFTA_SET.TIMEOUT]);
  const ports = readElements(conversation, table, PROTECTED_SET).map(({ key }) => Buffer.from(key).toString('hex'));
  return hash.update(ports.sort().join(' ')).digest('hex');
}

/** The elements of one set with what remains of each; none when the set is not there. */
export function readElements(conversation: Conversation, table: string, set: string): readonly Element[] {
  return conversation.dump(dumpElements(table, set)).flatMap((message) => {
    const list = findAttribute(attributesOf(message), NFTA_SET_ELEM_LIST.ELEMENTS);
    return list === undefined ? [] : decodeAttributes(list).flatMap(decodeElement);
  });
}

function decodeElement({ payload }: Attribute): readonly Element[] {
  const attributes = decodeAttributes(payload);
  const data = findAttribute(attributes, NFTA_SET_ELEM.KEY);
  const key = data === undefined ? undefined : findAttribute(decodeAttributes(data), NFTA_DATA.VALUE);
  if (key === undefined) return [];
  const remaining = findAttribute(attributes, NFTA_SET_ELEM.EXPIRATION);
  return [{ key, timeoutMs: remaining === undefined ? undefined : Number(readU64(remaining)) }];
}

/** The openings that stand now. */
export function readOpenings(
  conversation: Conversation,
  table: string,
  kinds: readonly Opening['kind'][] = OPENING_KINDS,
): readonly TimedOpening[] {
  return kinds.flatMap((kind) =>
    VERSIONS.flatMap((version) =>
      readElements(conversation, table, openingSet(kind, version)).flatMap(({ key, timeoutMs }) => {
        const opening = decodeOpening(kind, version, key);
        return opening === undefined || timeoutMs === undefined ? [] : [{ opening, remainingMs: timeoutMs }];
      }),
    ),
  );
}

export function readCounters(conversation: Conversation, table: string): GateCounters {
  const packets = new Map<string, number>();
  for (const message of conversation.dump(dumpOf('counters', table))) {
    const attributes = attributesOf(message);
    if (readText(findAttribute(attributes, NFTA_OBJ.TABLE) ?? new Uint8Array()) !== table) continue;
    const data = findAttribute(attributes, NFTA_OBJ.DATA);
    const count = data === undefined ? undefined : findAttribute(decodeAttributes(data), NFTA_COUNTER.PACKETS);
    if (count !== undefined) packets.set(readText(findAttribute(attributes, NFTA_OBJ.NAME) ?? new Uint8Array()), Number(readU64(count)));
  }
  const of = (name: keyof GateCounters): number => packets.get(name) ?? 0;
  return { knocks: of('knocks'), junk: of('junk'), refused: of('refused'), ended: of('ended') };
}

function attributesOf(message: Message): readonly Attribute[] {
  return decodeAttributes(message.payload.subarray(NFGENMSG_BYTES));
}
