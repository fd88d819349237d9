// A packet of anybody, seen from its network header on, as NFLOG and a raw IPv4 socket give it, and a segment as a raw IPv6 socket gives it.
// First byte of the input: which. What is accepted must lie in the packet where the headers say, byte for byte.
import { parseDatagram, parseSegment } from '../../../daemon/capture/datagram.ts';
import { addressFromBytes } from '../../../protocol/address.ts';
import { build, plain } from '../../unit/capture-packets.ts';
import { hold, sameBytes } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const PEER = addressFromBytes(Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9));

function run(input: Uint8Array): string {
  const isSegment = input[0] === 1;
  const packet = input.slice(1);
  const before = packet.slice();
  const parsed = isSegment ? parseSegment(packet, PEER) : parseDatagram(packet);
  hold(sameBytes(before, packet), 'the packet was changed');
  if (!parsed.ok) return `${isSegment ? 'segment' : 'packet'} ${parsed.fault}`;
  const { payload, source, sourcePort } = parsed.datagram;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const udpAt = packet.length - payload.length - 8;
  hold(udpAt >= 0 && sameBytes(payload, packet.subarray(udpAt + 8)), 'the payload is not the end of the packet');
  hold(view.getUint16(udpAt) === sourcePort && view.getUint16(udpAt + 4) === payload.length + 8, 'ports or lengths of another place');
  // Kept for longer than the packet: it must not be a view of a buffer that is used again.
  hold(payload.buffer !== packet.buffer && source.bytes.buffer !== packet.buffer, 'a view of the packet is handed on');
  if (isSegment) {
    hold(udpAt === 0, 'a segment with something before UDP');
    return 'segment';
  }
  const version = view.getUint8(0) >> 4;
  if (version === 4) {
    hold(udpAt === (view.getUint8(0) & 15) * 4 && view.getUint8(9) === 17 && view.getUint16(2) === packet.length, 'not what IPv4 says');
    hold((view.getUint16(6) & 0x3fff) === 0, 'a fragment');
    hold(sameBytes(source.bytes, packet.subarray(12, 16)), 'another source');
    return `IPv4${udpAt > 20 ? ' with options' : ''}`;
  }
  hold(version === 6 && view.getUint16(4) + 40 === packet.length, 'not what IPv6 says');
  hold(source.text === addressFromBytes(packet.subarray(8, 24)).text, 'another source');
  hold(udpAt >= 40 && udpAt % 8 === 0 && udpAt > 40 === (view.getUint8(6) !== 17), 'not where the extension headers end');
  return `IPv6${udpAt > 40 ? ' with extensions' : ''}`;
}

function generate(random: Random): Uint8Array {
  const version = random.oneIn(2) ? 4 : 6;
  const sound = plain(version);
  const extensions = Array.from({ length: version === 6 ? random.below(5) : 0 }, () => ({
    type: random.pick([0, 43, 60, 44, 50]),
    body: [...(random.oneIn(2) ? new Uint8Array(6) : random.bytes(random.oneIn(3) ? 14 : 6))],
  }));
  const shape = {
    ...sound,
    extensions,
    options: version === 4 && random.oneIn(2) ? [...random.bytes(4 * random.below(11))] : [],
    payload: random.bytes(random.below(random.oneIn(4) ? 500 : 40)),
    checksum: random.pick(['good', 'good', 'none', 'wrong', 'partial'] as const),
    fragmentField: random.oneIn(6) ? random.below(65_536) : 0x4000,
    protocol: random.oneIn(8) ? random.below(256) : 17,
    udpLength: random.oneIn(8) ? random.below(600) : undefined,
    ipLength: random.oneIn(8) ? random.below(600) : undefined,
  };
  return new Uint8Array([0, ...build(shape)]);
}

/** Sets the lengths right, so that a change of something else is looked at. */
function change(input: Uint8Array): Uint8Array | undefined {
  const out = input.slice();
  const packet = out.subarray(1);
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const version = (packet[0] ?? 0) >> 4;
  const udpAt = out[0] === 1 ? 0 : version === 4 ? ((packet[0] ?? 0) & 15) * 4 : 40;
  if (packet.length < udpAt + 8) return undefined;
  if (out[0] !== 1 && version === 4 && packet.length >= 20) view.setUint16(2, packet.length);
  if (out[0] !== 1 && version === 6 && packet.length >= 40) view.setUint16(4, packet.length - 40);
  view.setUint16(udpAt + 4, packet.length - udpAt);
  // IPv4: "no checksum".
  if (version === 4) view.setUint16(udpAt + 6, 0);
  return out;
}

const seeds = [4, 6].map((version) => new Uint8Array([0, ...build(plain(version === 4 ? 4 : 6))]));

export const target: FuzzTarget = {
  about: 'IP and UDP headers of captured packets',
  covers: ['daemon/capture/datagram.ts'],
  kind: 'bytes',
  maxBytes: 700,
  seeds: [...seeds, new Uint8Array([1, ...build(plain(6)).subarray(40)])],
  dictionary: [Uint8Array.of(17), Uint8Array.of(43, 0), Uint8Array.of(60, 0), Uint8Array.of(44, 0), Uint8Array.of(0x45, 0)],
  generate,
  change,
  run,
  mustReach: [
    'IPv4',
    'IPv4 with options',
    'IPv6',
    'IPv6 with extensions',
    'segment',
    'packet fragment',
    'packet checksum',
    'packet extension',
  ],
};
