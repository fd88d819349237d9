// The instructions of nf_tables' packet machine that the gate is made of, encoded. Pure; knows no rule of ours.
// Each does what `nft --debug=netlink` prints for the same words.
import { endianness } from 'node:os';
import { attribute, nested, text, u32, u64 } from '../../netlink/message.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6, NFT_OBJECT_COUNTER, NFTA_DATA, NFTA_LIST_ELEM } from './kernel.ts';

/** One or more encoded instructions; the kernel runs them in order until one does not match. */
export type Expressions = readonly Uint8Array[];

type Direction = 'eq' | 'neq' | 'gte' | 'lte';
const CMP_OP: Record<Direction, number> = { eq: 0, neq: 1, lte: 3, gte: 5 };

const LITTLE = endianness() === 'LE';
/** The first 32-bit register. Keys of several parts fill the ones after it. */
const FIRST_REGISTER = 8;
const VERDICT_REGISTER = 0;
const META = { iifname: 6, nfproto: 15, l4proto: 16, pkttype: 19 } as const;
const CT = { state: 0, direction: 1, labels: 13 } as const;
const NETWORK_HEADER = 1;
const TRANSPORT_HEADER = 2;
const IFNAMSIZ = 16;
const RTN_UNICAST = 1;
const PACKET_OTHERHOST = 3;
const IPPROTO_TCP = 6;
// The flags of the TCP header, octet 13 (RFC 9293, 3.1).
const FIN_SYN_RST_ACK = 0x17;
const SYN = 0x02;
const SECONDS_IN_WEEK = 604_800n;

function expression(name: string, parts: readonly Uint8Array[]): Uint8Array {
  return nested(NFTA_LIST_ELEM, expressionParts(name, parts));
}

function expressionParts(name: string, parts: readonly Uint8Array[]): readonly Uint8Array[] {
  return [text(1, name), nested(2, parts)];
}

function value(type: number, bytes: Uint8Array): Uint8Array {
  return nested(type, [attribute(NFTA_DATA.VALUE, bytes)]);
}

/** Parts of a packet that a set key can consist of. */
export type KeyPart = 'saddr4' | 'daddr4' | 'saddr6' | 'daddr6' | 'l4proto' | 'sport' | 'dport' | 'tag';

const PAYLOAD: Record<Exclude<KeyPart, 'l4proto'>, readonly [base: number, offset: number, length: number]> = {
  saddr4: [NETWORK_HEADER, 12, 4],
  daddr4: [NETWORK_HEADER, 16, 4],
  saddr6: [NETWORK_HEADER, 8, 16],
  daddr6: [NETWORK_HEADER, 24, 16],
  sport: [TRANSPORT_HEADER, 0, 2],
  dport: [TRANSPORT_HEADER, 2, 2],
  tag: [TRANSPORT_HEADER, 8, 16],
};

/** Loads the parts into consecutive registers, each part padded to 32 bits: how a concatenated key lies in a set. */
function loadKey(parts: readonly KeyPart[]): Expressions {
  let register = FIRST_REGISTER;
  return parts.map((part) => {
    const at = register;
    if (part === 'l4proto') {
      register += 1;
      return meta('l4proto', at);
    }
    const [base, offset, length] = PAYLOAD[part];
    register += Math.ceil(length / 4);
    return payload(base, offset, length, at);
  });
}

function payload(base: number, offset: number, length: number, register = FIRST_REGISTER): Uint8Array {
  return expression('payload', [u32(1, register), u32(2, base), u32(3, offset), u32(4, length)]);
}

function meta(key: keyof typeof META, register = FIRST_REGISTER): Uint8Array {
  return expression('meta', [u32(1, register), u32(2, META[key])]);
}

function loadCt(key: keyof typeof CT): Uint8Array {
  return expression('ct', [u32(1, FIRST_REGISTER), u32(2, CT[key])]);
}

function compare(direction: Direction, bytes: Uint8Array): Uint8Array {
  return expression('cmp', [u32(1, FIRST_REGISTER), u32(2, CMP_OP[direction]), value(3, bytes)]);
}

function mask(bytes: Uint8Array): Uint8Array {
  const zeros = new Uint8Array(bytes.length);
  return expression('bitwise', [u32(1, FIRST_REGISTER), u32(2, FIRST_REGISTER), u32(3, bytes.length), value(4, bytes), value(5, zeros)]);
}

/** `ip`/`ip6` is implied: what follows reads that header. */
export function family(version: 4 | 6): Expressions {
  return [meta('nfproto'), compare('eq', new Uint8Array([version === 4 ? NFPROTO_IPV4 : NFPROTO_IPV6]))];
}

export function protocolIs(protocol: number): Expressions {
  return [meta('l4proto'), compare('eq', new Uint8Array([protocol]))];
}

/** `tcp flags syn / fin,syn,rst,ack`: the packet that begins a connection. */
export function isFirstOfTcp(): Expressions {
  return [
    ...protocolIs(IPPROTO_TCP),
    payload(TRANSPORT_HEADER, 13, 1),
    mask(new Uint8Array([FIN_SYN_RST_ACK])),
    compare('eq', new Uint8Array([SYN])),
  ];
}

/** `iifname "eth0"` */
export function arrivesOn(name: string): Expressions {
  const bytes = new Uint8Array(IFNAMSIZ);
  bytes.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
  return [meta('iifname'), compare('eq', bytes)];
}

/** `th dport first-last`; say the protocol first. */
export function portIn(first: number, last: number): Expressions {
  const load = payload(...PAYLOAD.dport);
  if (first === last) return [load, compare('eq', bigEndian16(first))];
  return [load, compare('gte', bigEndian16(first)), compare('lte', bigEndian16(last))];
}

/** `udp length 200-456`; say the protocol first. Fixed by SPEC.md "Packet": 192 to 448 bytes, behind the UDP header of eight. */
export function asLongAsAKnock(): Expressions {
  return [payload(TRANSPORT_HEADER, 4, 2), compare('gte', bigEndian16(192 + 8)), compare('lte', bigEndian16(448 + 8))];
}

/** `ip saddr network`; say the family first. `bytes` is the network's base address. */
export function addressIn(side: 'saddr' | 'daddr', bytes: Uint8Array, prefix: number): Expressions {
  const part: 'saddr4' | 'daddr4' | 'saddr6' | 'daddr6' = bytes.length === 4 ? `${side}4` : `${side}6`;
  const [base, offset] = PAYLOAD[part];
  if (prefix === 0) return [];
  // Whole bytes are compared as they are, as nft does it; it reads these back as a prefix too.
  if (prefix % 8 === 0) return [payload(base, offset, prefix / 8), compare('eq', bytes.slice(0, prefix / 8))];
  const bits = bytes.map((_, at) => 0xff00 >> Math.min(8, Math.max(0, prefix - at * 8)));
  return [payload(base, offset, bytes.length), mask(bits), compare('eq', bytes)];
}

/**
 * `fib daddr type != unicast`: all that this host takes in itself: its own addresses, and those that it shares with others (broadcast, multicast,
 * anycast), by which a UDP service is reached as well. Only what is surely another host's is not ours.
 */
export function forThisHost(): Expressions {
  const NFTA_FIB_F_DADDR = 2;
  const NFT_FIB_RESULT_ADDRTYPE = 3;
  return [
    expression('fib', [u32(1, FIRST_REGISTER), u32(2, NFT_FIB_RESULT_ADDRTYPE), u32(3, NFTA_FIB_F_DADDR)]),
    compare('neq', host32(RTN_UNICAST)),
  ];
}

/** The key is an element of the set. Sets with a limit for each element match as often as that allows. */
export function inSet(name: string, key: readonly KeyPart[]): Expressions {
  return [...loadKey(key), expression('lookup', [text(1, name), u32(2, FIRST_REGISTER)])];
}

export function changeSet(operation: 'add' | 'delete', name: string, key: readonly KeyPart[]): Expressions {
  return [...loadKey(key), expression('dynset', [text(1, name), u32(3, operation === 'add' ? 0 : 2), u32(4, FIRST_REGISTER)])];
}

export function connectionState(state: 'established' | 'new'): Expressions {
  return [loadCt('state'), mask(host32(state === 'established' ? 0x2 : 0x8)), compare('neq', host32(0))];
}

export function replyDirection(): Expressions {
  return [loadCt('direction'), compare('eq', new Uint8Array([1]))];
}

export function hasLabel(bit: number): Expressions {
  return [loadCt('labels'), mask(labelBits(bit)), compare('neq', labelBits(undefined))];
}

export function setLabel(bit: number): Expressions {
  return [
    expression('immediate', [u32(1, FIRST_REGISTER), value(2, labelBits(bit))]),
    expression('ct', [u32(2, CT.labels), u32(4, FIRST_REGISTER)]),
  ];
}

export function count(counterName: string): Expressions {
  return [expression('objref', [u32(1, NFT_OBJECT_COUNTER), text(2, counterName)])];
}

/**
 * `meta pkttype set other`: the packet goes on to the host's raw sockets, which can tell it by this, and the kernel sends no ICMP error about
 * it, whatever its options and extension headers. Works at prerouting only. See docs/decisions/070-raw-capture.md.
 */
export function forNobody(): Expressions {
  return [
    expression('immediate', [u32(1, FIRST_REGISTER), value(2, new Uint8Array([PACKET_OTHERHOST]))]),
    expression('meta', [u32(2, META.pkttype), u32(3, FIRST_REGISTER)]),
  ];
}

/** Hands the packet to an NFLOG group, each one at once. */
export function logTo(group: number, prefix: string): Expressions {
  return [expression('log', [attribute(1, bigEndian16(group)), text(2, prefix), attribute(4, bigEndian16(1))])];
}

export function rejectWith(kind: 'tcp-reset' | 'port-unreachable'): Expressions {
  const NFT_REJECT_TCP_RST = 1;
  const NFT_REJECT_ICMPX_UNREACH = 2;
  const NFT_REJECT_ICMPX_PORT_UNREACH = 1;
  if (kind === 'tcp-reset') return [expression('reject', [u32(1, NFT_REJECT_TCP_RST), attribute(2, new Uint8Array([0]))])];
  return [expression('reject', [u32(1, NFT_REJECT_ICMPX_UNREACH), attribute(2, new Uint8Array([NFT_REJECT_ICMPX_PORT_UNREACH]))])];
}

export function verdict(kind: 'drop' | 'return'): Expressions {
  return [verdictExpression(kind === 'drop' ? 0 : -5, undefined)];
}

export function toChain(kind: 'jump' | 'goto', chain: string): Expressions {
  return [verdictExpression(kind === 'jump' ? -3 : -4, chain)];
}

function verdictExpression(code: number, chain: string | undefined): Uint8Array {
  const parts = [u32(1, code >>> 0), ...(chain === undefined ? [] : [text(2, chain)])];
  return expression('immediate', [u32(1, VERDICT_REGISTER), nested(2, [nested(NFTA_DATA.VERDICT, parts)])]);
}

/** `limit rate 1/week burst 1 packets` of a set: each element matches once, whatever two processors do at the same instant (P30d). */
export function oncePerElement(attributeType: number): Uint8Array {
  return nested(attributeType, expressionParts('limit', [u64(1, 1n), u64(2, SECONDS_IN_WEEK), u32(3, 1), u32(4, 0), u32(5, 0)]));
}

function bigEndian16(number: number): Uint8Array {
  return new Uint8Array([number >> 8, number & 0xff]);
}

function host32(number: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, number, LITTLE);
  return bytes;
}

/** Conntrack labels are 128 bits in two unsigned longs of the host's byte order. */
function labelBits(bit: number | undefined): Uint8Array {
  const bytes = new Uint8Array(16);
  if (bit === undefined) return bytes;
  new DataView(bytes.buffer).setBigUint64(bit < 64 ? 0 : 8, 1n << BigInt(bit % 64), LITTLE);
  return bytes;
}
