// Decides whether a packet, seen from its network header on, is one whole UDP datagram. Never looks into the payload.
// What the kernel has already checked when it hands over a packet (the IPv4 header's own checksum) is not checked again.
import { addressFromBytes, type IpAddress } from '../../protocol/address.ts';
import type { Datagram } from './capture.ts';

/** Why a packet is not a datagram of ours. */
export type DatagramFault =
  | 'not-ip' // neither version 4 nor version 6
  | 'header' // a header that is cut off or contradicts itself
  | 'length' // IP and UDP lengths and the bytes at hand do not agree exactly
  | 'fragment' // a part of a datagram; the kernel reassembles before our hook where conntrack is in use
  | 'extension' // IPv6: a chain that is out of order, too long, not at its destination, or holds what we do not know
  | 'not-udp'
  | 'checksum'; // present, finished and wrong

export type ParsedDatagram = { readonly ok: true; readonly datagram: Datagram } | { readonly ok: false; readonly fault: DatagramFault };

// Fixed by RFC 791, RFC 8200, RFC 768.
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;
const UDP_HEADER_BYTES = 8;
const UDP = 17;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;
// Tunable. RFC 8200 recommends at most four in a row (hop-by-hop, destination, routing, destination).
const MAX_EXTENSION_HEADERS = 4;

/** What remains when the IP header is read: where UDP starts, and what its checksum covers besides itself. */
type Transport = { readonly source: Uint8Array; readonly destination: Uint8Array; readonly segment: Uint8Array };
type IpReading = { readonly ok: true; readonly transport: Transport } | { readonly ok: false; readonly fault: DatagramFault };

/** Reads a packet from its network header. The payload is copied: `packet` may be used again. */
export function parseDatagram(packet: Uint8Array): ParsedDatagram {
  const version = (packet[0] ?? 0) >> 4;
  if (version !== 4 && version !== 6) return fault('not-ip');
  const network = version === 4 ? readIpv4(packet) : readIpv6(packet);
  return network.ok ? readUdp(network.transport, version) : network;
}

/**
 * Reads what a raw IPv6 socket delivers: from the UDP header on, the network header gone, and with it the destination that the checksum
 * covers: it is not verified. That check finds accidents; the seal finds them too.
 */
export function parseSegment(segment: Uint8Array, source: IpAddress): ParsedDatagram {
  if (segment.length < UDP_HEADER_BYTES || viewOf(segment).getUint16(4) !== segment.length) return fault('length');
  if (viewOf(segment).getUint16(6) === 0) return fault('checksum');
  return datagramOf(segment, source);
}

/** The port that a UDP segment goes to; undefined when it has none. */
export function destinationPort(segment: Uint8Array): number | undefined {
  return segment.length < UDP_HEADER_BYTES ? undefined : viewOf(segment).getUint16(2);
}

function readIpv4(packet: Uint8Array): IpReading {
  if (packet.length < IPV4_HEADER_BYTES) return fault('header');
  const view = viewOf(packet);
  const headerBytes = (view.getUint8(0) & 0x0f) * 4;
  if (headerBytes < IPV4_HEADER_BYTES || headerBytes > packet.length) return fault('header');
  if (view.getUint16(2) !== packet.length) return fault('length');
  // More fragments, or an offset. "Don't fragment" and the reserved bit say nothing about this packet.
  if ((view.getUint16(6) & 0x3fff) !== 0) return fault('fragment');
  if (view.getUint8(9) !== UDP) return fault('not-udp');
  return transport(packet, 12, 4, headerBytes);
}

function readIpv6(packet: Uint8Array): IpReading {
  if (packet.length < IPV6_HEADER_BYTES) return fault('header');
  const view = viewOf(packet);
  // A payload length of 0 would announce a jumbogram; no knock is one, and then the lengths disagree too.
  if (view.getUint16(4) + IPV6_HEADER_BYTES !== packet.length) return fault('length');
  let next = view.getUint8(6);
  let offset = IPV6_HEADER_BYTES;
  for (let count = 0; next !== UDP; count += 1) {
    if (next === FRAGMENT) return fault('fragment');
    if (next !== HOP_BY_HOP && next !== ROUTING && next !== DESTINATION_OPTIONS) return fault(isExtension(next) ? 'extension' : 'not-udp');
    if (count === MAX_EXTENSION_HEADERS) return fault('extension');
    // RFC 8200 4.1: hop-by-hop options stand directly after the IPv6 header or nowhere.
    if (next === HOP_BY_HOP && count > 0) return fault('extension');
    if (offset + 8 > packet.length) return fault('header');
    // RFC 8200 4.4: with segments left, the address in the header is not where the packet is going.
    if (next === ROUTING && view.getUint8(offset + 3) !== 0) return fault('extension');
    next = view.getUint8(offset);
    // Each header is at least eight bytes long, so this ends.
    offset += (view.getUint8(offset + 1) + 1) * 8;
    if (offset > packet.length) return fault('header');
  }
  return transport(packet, 8, 16, offset);
}

/** IANA: authentication, mobility, HIP, shim6, ESP, no next header: extensions that an honest knock does not carry. */
function isExtension(next: number): boolean {
  return [50, 51, 59, 135, 139, 140, 253, 254].includes(next);
}

function transport(packet: Uint8Array, addressAt: number, addressBytes: number, segmentAt: number): IpReading {
  const source = packet.subarray(addressAt, addressAt + addressBytes);
  const destination = packet.subarray(addressAt + addressBytes, addressAt + 2 * addressBytes);
  return { ok: true, transport: { source, destination, segment: packet.subarray(segmentAt) } };
}

function readUdp({ source, destination, segment }: Transport, version: 4 | 6): ParsedDatagram {
  if (segment.length < UDP_HEADER_BYTES) return fault('length');
  const view = viewOf(segment);
  // A UDP length shorter than the IP payload is legal for a socket; here the two must agree, so that there is one reading.
  if (view.getUint16(4) !== segment.length) return fault('length');
  const checksum = view.getUint16(6);
  // RFC 768: zero means "none"; RFC 8200 8.1 forbids that for IPv6 outside of tunnels.
  if (checksum === 0 && version === 6) return fault('checksum');
  if (checksum !== 0 && !checksumHolds(source, destination, segment, checksum)) return fault('checksum');
  return datagramOf(segment, addressFromBytes(new Uint8Array(source)));
}

function datagramOf(segment: Uint8Array, source: IpAddress): ParsedDatagram {
  // `new Uint8Array` copies, where a Buffer's own `slice` would not.
  const payload = new Uint8Array(segment.subarray(UDP_HEADER_BYTES));
  return { ok: true, datagram: { payload, source, sourcePort: viewOf(segment).getUint16(0) } };
}

/**
 * A packet from this host, from a container or from another guest of the same machine never met a wire: its checksum is
 * unfinished (CHECKSUM_PARTIAL), holds the sum of the pseudo header only, and cannot be judged. NFLOG shows it as it is.
 * Taking it costs nothing: this check finds accidents, the seal finds forgers.
 */
function checksumHolds(source: Uint8Array, destination: Uint8Array, segment: Uint8Array, checksum: number): boolean {
  const pseudo = sumWords(source) + sumWords(destination) + UDP + segment.length;
  return fold(pseudo + sumWords(segment)) === 0xffff || fold(pseudo) === checksum;
}

/** RFC 1071: 16-bit words, an odd last byte counts as a high byte. At most 65,535 bytes: the sum stays far below 2^53. */
function sumWords(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return sum;
}

function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function fault(reason: DatagramFault): { readonly ok: false; readonly fault: DatagramFault } {
  return { ok: false, fault: reason };
}
