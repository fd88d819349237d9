// What the kernel says over netlink: messages, attributes, verdicts, logged packets (NFLOG), and listings of nftables, all out of one datagram. The
// kernel is trusted; a length that is wrong must be a MalformedMessageError all the same, and nothing may be read outside of its buffer.

import { parseDatagram } from '../../../daemon/capture/datagram.ts';
import { readLogMessage } from '../../../daemon/capture/nflog-message.ts';
import type { Conversation } from '../../../daemon/firewall/nftables/conversation.ts';
import { closingChains } from '../../../daemon/firewall/nftables/input-chains.ts';
import { fingerprint, readCounters, readElements, readOpenings, readTable } from '../../../daemon/firewall/nftables/reading.ts';
import { addElements } from '../../../daemon/firewall/nftables/requests.ts';
import {
  attribute,
  decodeAttributes,
  decodeMessages,
  decodeVerdict,
  encodeMessage,
  MalformedMessageError,
  type Message,
  nested,
  nfgenmsg,
  readText,
  text,
  u32,
  u64,
} from '../../../daemon/netlink/message.ts';
import { build, plain } from '../../unit/capture-packets.ts';
import { hold, sameBytes } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const ORIGIN = { group: 5, prefix: 'postern' };
const HEADER_BYTES = 16;

/** What `work` gives, or undefined for a message that is malformed. Any other exception is a finding. */
function tried<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof MalformedMessageError) return undefined;
    throw error;
  }
}

/** Lies wholly within `outer`, which is a part of the same memory. */
function holdWithin(inner: Uint8Array, outer: Uint8Array): void {
  hold(inner.buffer === outer.buffer, 'a copy where a view should be');
  hold(inner.byteOffset >= outer.byteOffset && inner.byteOffset + inner.length <= outer.byteOffset + outer.length, 'outside of its buffer');
}

function run(input: Uint8Array): string {
  // In the middle of a larger buffer, so that whoever reads beyond the end reads something.
  const around = new Uint8Array(input.length + 128).fill(0xa5);
  around.set(input, 64);
  const bytes = around.subarray(64, 64 + input.length);
  const messages = tried(() => decodeMessages(bytes));
  if (messages === undefined) return 'not messages';
  let at = 0;
  for (const message of messages) {
    holdWithin(message.payload, bytes);
    const { port: _, ...rest } = message;
    const again = encodeMessage(rest);
    const end = at + HEADER_BYTES + message.payload.length;
    hold(
      sameBytes(again.subarray(0, 12), bytes.subarray(at, at + 12)) &&
        sameBytes(again.subarray(16, end - at), bytes.subarray(at + 16, end)),
      'encodes to something else',
    );
    at = (end + 3) & ~3;
  }
  const reached = new Set(messages.map(readOne));
  reached.add(readListings(messages));
  return ['datagram', 'logged', 'foreign', 'listed', 'verdict', 'attributes'].find((stage) => reached.has(stage)) ?? 'messages';
}

function readOne(message: Message): string {
  const attributes = tried(() => decodeAttributes(message.payload.subarray(4)));
  for (const { payload, type } of attributes ?? []) {
    holdWithin(payload, message.payload);
    hold(type >= 0 && type <= 0x3fff, `type ${type}`);
    hold(!readText(payload).includes('\0'), 'a text with NUL');
  }
  const verdict = tried(() => decodeVerdict(message));
  if (verdict !== undefined) hold(verdict.errno >= 0, `errno ${verdict.errno}`);
  const record = tried(() => readLogMessage(message, ORIGIN));
  if (record?.kind === 'packet') {
    holdWithin(record.packet, message.payload);
    return parseDatagram(record.packet).ok ? 'datagram' : 'logged';
  }
  if (record !== undefined) return 'foreign';
  return verdict !== undefined ? 'verdict' : attributes !== undefined ? 'attributes' : 'message';
}

/** All that reads a dump, given these messages whatever it asks for. */
function readListings(messages: readonly Message[]): string {
  const conversation: Conversation = {
    portId: 7,
    transact: () => undefined,
    transactAsync: async () => undefined,
    ask: () => messages[0],
    dump: () => messages,
    close: async () => undefined,
  };
  tried(() => readTable(conversation, 'postern'));
  tried(() => fingerprint(conversation, 'postern'));
  const counters = tried(() => readCounters(conversation, 'postern'));
  for (const count of Object.values(counters ?? {})) hold(count >= 0, `${count} packets`);
  tried(() => closingChains(conversation, 'postern'));
  const elements = tried(() => readElements(conversation, 'postern', 'tags')) ?? [];
  for (const { opening, remainingMs } of tried(() => readOpenings(conversation, 'postern')) ?? []) {
    hold(remainingMs >= 0 && opening.port <= 0xffff && opening.sourcePort <= 0xffff, 'an opening out of range');
  }
  return elements.length > 0 ? 'listed' : 'nothing listed';
}

const message = (type: number, parts: readonly Uint8Array[], flags = 0): Uint8Array =>
  encodeMessage({ type, flags, sequence: 1, payload: Buffer.concat(parts) });

function logged(random: Random | undefined): Uint8Array {
  const packet = build({ ...plain(random?.oneIn(2) ? 6 : 4), payload: random?.bytes(random.below(60)) ?? new Uint8Array(20) });
  const version = (packet[0] ?? 0) >> 4;
  return message(0x400, [
    Uint8Array.of(version === 4 ? 2 : 10, 0, 0, random?.oneIn(8) ? random.below(256) : 5),
    attribute(1, version === 4 ? Uint8Array.of(8, 0, 0, 0) : Uint8Array.of(0x86, 0xdd, 0, 0)),
    text(10, random?.oneIn(8) ? 'postern2' : 'postern'),
    u32(12, random?.u32() ?? 0),
    attribute(9, packet),
  ]);
}

function listed(random: Random | undefined): Uint8Array {
  const elements = Array.from({ length: 1 + (random?.below(4) ?? 1) }, () => ({
    key: random?.bytes(random.pick([12, 16, 20, 24, 28])) ?? new Uint8Array(12),
    timeoutMs: random?.oneIn(3) ? undefined : 60_000,
  }));
  return Buffer.concat(addElements('postern', 'grants4', elements).map((request) => encodeMessage({ ...request, sequence: 1 })));
}

const chain = message(0xa03, [
  nfgenmsg(2, 0),
  text(1, 'filter'),
  text(3, 'INPUT'),
  nested(4, [u32(1, 1), u32(2, 0)]),
  u32(5, 1),
  u64(2, 3n),
]);
const rule = message(0xa06, [
  nfgenmsg(2, 0),
  text(1, 'filter'),
  text(2, 'INPUT'),
  nested(4, [nested(1, [text(1, 'immediate'), nested(2, [u32(1, 0), nested(2, [nested(2, [u32(1, 0), text(2, 'to')])])])])]),
]);
const refusal = message(2, [Uint8Array.of(0xfe, 0xff, 0xff, 0xff), new Uint8Array(16), text(1, 'no such table')], 0x300);

export const target: FuzzTarget = {
  about: 'netlink messages, NFLOG records and listings of nftables',
  covers: [
    'daemon/netlink/message.ts',
    'daemon/capture/nflog-message.ts',
    'daemon/firewall/nftables/reading.ts',
    'daemon/firewall/nftables/input-chains.ts',
  ],
  kind: 'bytes',
  maxBytes: 1024,
  seeds: [logged(undefined), listed(undefined), chain, rule, Buffer.concat([chain, rule]), refusal],
  dictionary: [
    text(1, 'postern'),
    text(1, 'filter'),
    text(1, 'immediate'),
    u32(1, 0xffff_fffd),
    u32(1, 0),
    Uint8Array.of(2, 0x80),
    Uint8Array.of(0, 4),
  ],
  generate: (random) => new Uint8Array(random.oneIn(2) ? logged(random) : listed(random)),
  change: (input, random) => {
    // The length of the first message is that of the whole.
    if (input.length < HEADER_BYTES || random.oneIn(3)) return undefined;
    const out = input.slice();
    new DataView(out.buffer, out.byteOffset).setUint32(0, out.length, true);
    return out;
  },
  run,
  mustReach: ['not messages', 'messages', 'verdict', 'foreign', 'logged', 'datagram', 'listed'],
};
