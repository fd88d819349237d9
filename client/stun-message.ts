// The one STUN message that `knock` sends and the one that it reads (RFC 8489): bytes only, no socket, no clock.
import { addressFromBytes, type IpAddress } from '../protocol/address.ts';

// Fixed by RFC 8489 sections 5, 14.2, 14.8 and 18.
export const TRANSACTION_BYTES = 12;
const HEADER_BYTES = 20;
const MAGIC_COOKIE = 0x2112a442;
const BINDING = { request: 0x0001, success: 0x0101, error: 0x0111 } as const;
const HEADER = { type: 0, length: 2, cookie: 4, transaction: 8 } as const;
const ATTRIBUTE = { type: 0, length: 2, value: 4 } as const;
const TYPE = { errorCode: 0x0009, xorMappedAddress: 0x0020 } as const;
/** Those below 0x8000 that a reader may pass over: MAPPED-ADDRESS, what belongs to credentials, and RFC 3489's address attributes. */
const HARMLESS: ReadonlySet<number> = new Set([0x0001, 0x0004, 0x0005, 0x0006, 0x0008, 0x000a, 0x0014, 0x0015, 0x001c, 0x001d, 0x001e]);
const FIRST_OPTIONAL = 0x8000;
/** XOR-MAPPED-ADDRESS: u8 zero ‖ u8 family ‖ u16 port ‖ address, port and address XORed with cookie and transaction. */
const MAPPED = { family: 1, address: 4 } as const;
const FAMILIES: Readonly<Record<number, number>> = { 1: 4, 2: 16 };

/** What a datagram is to the one who asked. `foreign`: no answer to this question; the wait goes on. */
export type StunAnswer =
  | { readonly kind: 'address'; readonly address: IpAddress }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'foreign' };

/** A binding request without attributes. */
export function encodeBindingRequest(transaction: Uint8Array): Uint8Array {
  if (transaction.length !== TRANSACTION_BYTES) throw new RangeError(`encodeBindingRequest: ${transaction.length} bytes`);
  const out = new Uint8Array(HEADER_BYTES);
  const view = new DataView(out.buffer);
  view.setUint16(HEADER.type, BINDING.request);
  view.setUint32(HEADER.cookie, MAGIC_COOKIE);
  out.set(transaction, HEADER.transaction);
  return out;
}

/** Reads the answer to the request with this transaction. Strict: what does not add up is nobody's answer. */
export function readBindingAnswer(bytes: Uint8Array, transaction: Uint8Array): StunAnswer {
  const foreign = { kind: 'foreign' } as const;
  if (bytes.length < HEADER_BYTES) return foreign;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const type = view.getUint16(HEADER.type);
  if (type !== BINDING.success && type !== BINDING.error) return foreign;
  if (view.getUint32(HEADER.cookie) !== MAGIC_COOKIE) return foreign;
  // RFC 8489 6.3: whoever does not see the request cannot guess these 96 bits.
  if (!transaction.every((byte, at) => bytes[HEADER.transaction + at] === byte)) return foreign;
  if (view.getUint16(HEADER.length) !== bytes.length - HEADER_BYTES) return foreign;
  const attributes = readAttributes(bytes.subarray(HEADER_BYTES));
  if (attributes === undefined) return foreign;
  if (type === BINDING.error) return { kind: 'refused', why: errorText(attributes.get(TYPE.errorCode)) };
  // RFC 8489 6.3.3: an answer that demands to be understood, and is not, is none.
  const unknown = [...attributes.keys()].find((each) => each < FIRST_OPTIONAL && each !== TYPE.xorMappedAddress && !HARMLESS.has(each));
  if (unknown !== undefined) return { kind: 'refused', why: `an attribute 0x${unknown.toString(16)} that knock does not know` };
  const address = mappedAddress(attributes.get(TYPE.xorMappedAddress), bytes.subarray(HEADER.cookie, HEADER_BYTES));
  return address === undefined ? { kind: 'refused', why: 'no address of this machine' } : { kind: 'address', address };
}

/** The first of each type counts (RFC 8489 section 14). Undefined when the lengths do not add up. */
function readAttributes(bytes: Uint8Array): ReadonlyMap<number, Uint8Array> | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found = new Map<number, Uint8Array>();
  let at = 0;
  while (at < bytes.length) {
    if (at + ATTRIBUTE.value > bytes.length) return undefined;
    const length = view.getUint16(at + ATTRIBUTE.length);
    const start = at + ATTRIBUTE.value;
    const next = start + Math.ceil(length / 4) * 4;
    if (next > bytes.length) return undefined;
    const type = view.getUint16(at + ATTRIBUTE.type);
    if (!found.has(type)) found.set(type, bytes.subarray(start, start + length));
    at = next;
  }
  return found;
}

/** `pad`: the cookie and the transaction, with which the address was XORed so that no translator on the way rewrites it. */
function mappedAddress(value: Uint8Array | undefined, pad: Uint8Array): IpAddress | undefined {
  const width = FAMILIES[value?.[MAPPED.family] ?? 0];
  if (value === undefined || width === undefined || value.length !== MAPPED.address + width || value[0] !== 0) return undefined;
  return addressFromBytes(value.subarray(MAPPED.address).map((byte, at) => byte ^ (pad[at] ?? 0)));
}

/** Class and number only: the reason phrase is somebody else's text. */
function errorText(value: Uint8Array | undefined): string {
  const [, , group = 0, number = 0] = value ?? [];
  return value === undefined || value.length < 4 ? 'an error' : `error ${(group & 7) * 100 + number}`;
}
