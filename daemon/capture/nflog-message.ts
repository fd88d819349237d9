// The messages of the kernel's packet log (NFLOG) as bytes: how to ask for a group, and what a logged packet says. Pure.
// Names and numbers: include/uapi/linux/netfilter/nfnetlink_log.h.
import {
  attribute,
  decodeAttributes,
  encodeMessage,
  findAttribute,
  type Message,
  NFGENMSG_BYTES,
  NLM_F_ACK,
  NLM_F_REQUEST,
  nfgenmsg,
  readU32,
  u32,
} from '../netlink/message.ts';

// Fixed by the kernel.
const SUBSYSTEM = 4 << 8;
const PACKET = SUBSYSTEM | 0;
const CONFIG = SUBSYSTEM | 1;
const COMMAND_BIND = 1;
const COMMAND_UNBIND = 2;
const CONFIG_COMMAND = 1;
const CONFIG_MODE = 2;
const CONFIG_BUFFER = 3;
const CONFIG_TIMEOUT = 4;
const CONFIG_THRESHOLD = 5;
const CONFIG_FLAGS = 6;
const COPY_PACKET = 2;
const FLAG_SEQUENCE = 1;
const PACKET_HEADER = 1;
const PAYLOAD = 9;
const PREFIX = 10;
const SEQUENCE = 12;
const HOOK_PREROUTING = 0;
const FAMILIES = new Map([
  [2, 0x0800], // AF_INET: ETH_P_IP
  [10, 0x86dd], // AF_INET6: ETH_P_IPV6
]);

// Tunable
/** A knock with every IP option or a usual chain of extension headers; what is longer arrives cut and is no datagram. */
const COPY_BYTES = 2048;
/**
 * What the kernel sets aside for each message at least; a longer packet gets what it needs. Its default is a page, of which a knock fills a sixth:
 * three times as many wait in the same queue.
 */
const MESSAGE_BYTES = 512;
/** Hundredths of a second until the kernel sends what it has gathered. It gathers one packet, so this never waits. */
const FLUSH_TIMEOUT = 1;

export const HIGHEST_GROUP = 0xffff;

/** Takes the group and says what we want of each packet. One message: no packet can come half configured. */
export function bindMessage(group: number, sequence: number): Uint8Array {
  return configMessage(group, NLM_F_REQUEST | NLM_F_ACK, sequence, [
    attribute(CONFIG_COMMAND, Uint8Array.of(COMMAND_BIND)),
    attribute(CONFIG_MODE, Uint8Array.of(0, 0, COPY_BYTES >> 8, COPY_BYTES & 0xff, COPY_PACKET, 0)),
    u32(CONFIG_TIMEOUT, FLUSH_TIMEOUT),
    u32(CONFIG_BUFFER, MESSAGE_BYTES),
    // The default of 100 packets would let a knock wait for a second.
    u32(CONFIG_THRESHOLD, 1),
    attribute(CONFIG_FLAGS, Uint8Array.of(0, FLAG_SEQUENCE)),
  ]);
}

/** Gives the group back. Not acknowledged: packets may still be queued before an answer. */
export function unbindMessage(group: number, sequence: number): Uint8Array {
  return configMessage(group, NLM_F_REQUEST, sequence, [attribute(CONFIG_COMMAND, Uint8Array.of(COMMAND_UNBIND))]);
}

/**
 * A request that changes nothing and that the kernel never grants: EPERM says that we lack the capability, anything else that we have it.
 * A taken group answers EPERM too, so the two cannot be told apart by asking for a group.
 */
export function probeMessage(sequence: number): Uint8Array {
  return encodeMessage({ type: PACKET, flags: NLM_F_REQUEST | NLM_F_ACK, sequence, payload: nfgenmsg(0, 0) });
}

function configMessage(group: number, flags: number, sequence: number, attributes: readonly Uint8Array[]): Uint8Array {
  return encodeMessage({ type: CONFIG, flags, sequence, payload: Buffer.concat([nfgenmsg(0, group), ...attributes]) });
}

/** Which packets are ours: the rule that logs them is in our table, and only its prefix tells. */
export type Origin = { readonly group: number; readonly prefix: string };

export type LogRecord =
  /** Logged by our rule; `packet` starts at the network header. */
  | { readonly kind: 'packet'; readonly sequence: number | undefined; readonly packet: Uint8Array }
  /** Logged to our group by somebody else's rule: it has a number in our sequence. */
  | { readonly kind: 'foreign'; readonly sequence: number | undefined };

/** What a message from the kernel says; undefined: not a logged packet (an acknowledgment, an end of a list). */
export function readLogMessage(message: Message, origin: Origin): LogRecord | undefined {
  if (message.type !== PACKET) return undefined;
  if (message.payload.length < NFGENMSG_BYTES) return { kind: 'foreign', sequence: undefined };
  const [family = 0, , high = 0, low = 0] = message.payload;
  if (((high << 8) | low) !== origin.group) return { kind: 'foreign', sequence: undefined };
  const attributes = decodeAttributes(message.payload.subarray(NFGENMSG_BYTES));
  const numbered = findAttribute(attributes, SEQUENCE);
  const sequence = numbered === undefined ? undefined : readU32(numbered);
  const header = findAttribute(attributes, PACKET_HEADER);
  const prefix = findAttribute(attributes, PREFIX);
  const packet = findAttribute(attributes, PAYLOAD);
  const ours =
    header !== undefined && isPrerouting(header, family) && prefix !== undefined && isText(prefix, origin.prefix) && packet !== undefined;
  return ours ? { kind: 'packet', sequence, packet } : { kind: 'foreign', sequence };
}

/** struct nfulnl_msg_packet_hdr: hw_protocol (network order), hook, padding. */
function isPrerouting(header: Uint8Array, family: number): boolean {
  if (header.length !== 4) return false;
  const [high = 0, low = 0, hook] = header;
  return hook === HOOK_PREROUTING && FAMILIES.get(family) === ((high << 8) | low);
}

/** Exactly this text and its NUL: "postern2" is not "postern". */
function isText(bytes: Uint8Array, text: string): boolean {
  return Buffer.compare(bytes, Buffer.from(`${text}\0`)) === 0;
}
