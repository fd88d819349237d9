// The shape of netlink messages: headers and attributes, to bytes and back. Strict and pure; what the numbers mean is the callers' business.
// Layout: include/uapi/linux/netlink.h. Headers are in host byte order, nf_tables' numbers in network order.
import { endianness } from 'node:os';

const LITTLE = endianness() === 'LE';
const HEADER_BYTES = 16;
const ATTRIBUTE_HEADER_BYTES = 4;
const NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
/** In an answer: the dump was changed underneath while it was read. */
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_CREATE = 0x400;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

export const NLMSG_ERROR = 0x2;
export const NLMSG_DONE = 0x3;
export const NLMSG_OVERRUN = 0x4;

const NLMSGERR_ATTR_MSG = 1;

export type Message = {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly port: number;
  /** Everything after the header, padding left out. */
  readonly payload: Uint8Array;
};

export type Attribute = { readonly type: number; readonly payload: Uint8Array };

/** A message that is shorter than it says, or an attribute that leaves its message: the kernel never sends one. */
export class MalformedMessageError extends Error {
  constructor(what: string) {
    super(`malformed netlink message: ${what}`);
    this.name = 'MalformedMessageError';
  }
}

export function encodeMessage(message: Omit<Message, 'port'>): Uint8Array {
  return encodeMessages([message]);
}

/** One after the other, written once: a gate with a hundred thousand openings has six megabytes. */
export function encodeMessages(messages: readonly Omit<Message, 'port'>[]): Uint8Array {
  const out = new Uint8Array(messages.reduce((sum, { payload }) => sum + align(HEADER_BYTES + payload.length), 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const { type, flags, sequence, payload } of messages) {
    const length = HEADER_BYTES + payload.length;
    view.setUint32(at, length, LITTLE);
    view.setUint16(at + 4, type, LITTLE);
    view.setUint16(at + 6, flags, LITTLE);
    view.setUint32(at + 8, sequence, LITTLE);
    out.set(payload, at + HEADER_BYTES);
    at += align(length);
  }
  return out;
}

/** All messages of one datagram, in order. */
export function decodeMessages(bytes: Uint8Array): readonly Message[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const messages: Message[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < HEADER_BYTES) throw new MalformedMessageError(`${bytes.length - at} bytes where a header should be`);
    const length = view.getUint32(at, LITTLE);
    if (length < HEADER_BYTES || length > bytes.length - at)
      throw new MalformedMessageError(`length ${length} of ${bytes.length - at} bytes`);
    messages.push({
      type: view.getUint16(at + 4, LITTLE),
      flags: view.getUint16(at + 6, LITTLE),
      sequence: view.getUint32(at + 8, LITTLE),
      port: view.getUint32(at + 12, LITTLE),
      payload: bytes.subarray(at + HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** struct nfgenmsg: what stands before the attributes of every nfnetlink message. */
export function nfgenmsg(family: number, resourceId: number): Uint8Array {
  return new Uint8Array([family, 0, resourceId >> 8, resourceId & 0xff]);
}

export const NFGENMSG_BYTES = 4;

export function attribute(type: number, payload: Uint8Array): Uint8Array {
  const length = ATTRIBUTE_HEADER_BYTES + payload.length;
  const out = new Uint8Array(align(length));
  attributeHeader(out, length, type);
  out.set(payload, ATTRIBUTE_HEADER_BYTES);
  return out;
}

function attributeHeader(out: Uint8Array, length: number, type: number): DataView {
  const view = new DataView(out.buffer);
  view.setUint16(0, length, LITTLE);
  view.setUint16(2, type, LITTLE);
  return view;
}

export function nested(type: number, parts: readonly Uint8Array[]): Uint8Array {
  return attribute(type | NESTED, concatBytes(parts));
}

/** A number as nf_tables and nfnetlink_log write it: big-endian. */
export function u32(type: number, value: number): Uint8Array {
  const out = new Uint8Array(8);
  const view = attributeHeader(out, 8, type);
  view.setUint32(4, value);
  return out;
}

export function u64(type: number, value: bigint): Uint8Array {
  const out = new Uint8Array(12);
  const view = attributeHeader(out, 12, type);
  view.setBigUint64(4, value);
  return out;
}

const utf8 = new TextEncoder();

/** NUL-terminated. */
export function text(type: number, value: string): Uint8Array {
  return attribute(type, utf8.encode(`${value}\0`));
}

/** The attributes in a payload (skip nfgenmsg first), the flags of nesting and byte order removed from their types. */
export function decodeAttributes(bytes: Uint8Array): readonly Attribute[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const attributes: Attribute[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < ATTRIBUTE_HEADER_BYTES)
      throw new MalformedMessageError(`${bytes.length - at} bytes where an attribute should be`);
    const length = view.getUint16(at, LITTLE);
    if (length < ATTRIBUTE_HEADER_BYTES || length > bytes.length - at)
      throw new MalformedMessageError(`attribute length ${length} of ${bytes.length - at} bytes`);
    attributes.push({
      type: view.getUint16(at + 2, LITTLE) & TYPE_MASK,
      payload: bytes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length),
    });
    at += align(length);
  }
  return attributes;
}

export function findAttribute(attributes: readonly Attribute[], type: number): Uint8Array | undefined {
  return attributes.find((attribute_) => attribute_.type === type)?.payload;
}

export function readU32(payload: Uint8Array): number {
  if (payload.length !== 4) throw new MalformedMessageError(`${payload.length} bytes for a 32-bit number`);
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0);
}

export function readU64(payload: Uint8Array): bigint {
  if (payload.length !== 8) throw new MalformedMessageError(`${payload.length} bytes for a 64-bit number`);
  return new DataView(payload.buffer, payload.byteOffset).getBigUint64(0);
}

export function readText(payload: Uint8Array): string {
  const end = payload.indexOf(0);
  return new TextDecoder().decode(end < 0 ? payload : payload.subarray(0, end));
}

/** What an NLMSG_ERROR says: 0 is an acknowledgment, else an errno, with the kernel's sentence if it has one. */
export type Verdict = { readonly errno: number; readonly sentence: string };

export function decodeVerdict(message: Message): Verdict {
  const { payload } = message;
  if (payload.length < 4 + HEADER_BYTES) throw new MalformedMessageError('an error message without the header it is about');
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const errno = Math.abs(view.getInt32(0, LITTLE));
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno, sentence: '' };
  // Without CAPPED the whole refused message is repeated before the attributes.
  const repeated = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER_BYTES : align(view.getUint32(4, LITTLE));
  const sentence = findAttribute(decodeAttributes(payload.subarray(4 + repeated)), NLMSGERR_ATTR_MSG);
  return { errno, sentence: sentence === undefined ? '' : readText(sentence) };
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function align(length: number): number {
  return (length + 3) & ~3;
}
