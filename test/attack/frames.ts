// Ethernet frames made byte by byte, with what an honest stack never sends: wrong checksums, odd headers, overlapping fragments. Pure.
import { mappedBytes, parseAddress } from '../../protocol/address.ts';

export const TCP = 6;
export const UDP = 17;
export const HOP_BY_HOP = 0;
export const ROUTING = 43;
export const FRAGMENT = 44;
export const DESTINATION_OPTIONS = 60;
export const FLAG = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const;

/** Where a packet claims to come from and where it goes. */
export type Path = {
  readonly fromMac: string;
  readonly toMac: string;
  readonly from: string;
  readonly to: string;
};

export type Checksum = 'right' | 'wrong' | 'none';

/** A UDP header and its payload; `length` is what the header says. */
export function udp(
  path: Path,
  ports: { readonly from: number; readonly to: number },
  payload: Uint8Array,
  options: { readonly checksum?: Checksum; readonly length?: number } = {},
): Uint8Array {
  const segment = Buffer.alloc(8 + payload.length);
  segment.writeUInt16BE(ports.from, 0);
  segment.writeUInt16BE(ports.to, 2);
  segment.writeUInt16BE(options.length ?? segment.length, 4);
  segment.set(payload, 8);
  const { checksum = 'right' } = options;
  // RFC 768: a sum that comes out as zero is sent as all ones, as zero says "none".
  const right = transportChecksum(path, UDP, segment) || 0xffff;
  segment.writeUInt16BE(checksum === 'none' ? 0 : checksum === 'right' ? right : right ^ 0x5555, 6);
  return segment;
}

/** A TCP header without options, and data. */
export function tcp(
  path: Path,
  ports: { readonly from: number; readonly to: number },
  fields: { readonly flags: number; readonly sequence?: number; readonly acknowledges?: number; readonly checksum?: Checksum },
  data: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const segment = Buffer.alloc(20 + data.length);
  segment.writeUInt16BE(ports.from, 0);
  segment.writeUInt16BE(ports.to, 2);
  segment.writeUInt32BE(fields.sequence ?? 1_000_000, 4);
  segment.writeUInt32BE(fields.acknowledges ?? 0, 8);
  segment[12] = 5 << 4;
  segment[13] = fields.flags;
  segment.writeUInt16BE(0xffff, 14);
  segment.set(data, 20);
  const right = transportChecksum(path, TCP, segment);
  segment.writeUInt16BE(fields.checksum === 'wrong' ? right ^ 0x5555 : right, 16);
  return segment;
}

export type IpOptions = {
  /** IPv4: options, padded to words by the caller. */
  readonly ipOptions?: Uint8Array;
  readonly tos?: number;
  readonly ttl?: number;
  readonly id?: number;
  /** IPv4: wrong sum of the header itself. */
  readonly headerChecksum?: Checksum;
  /** What the header says of the length, instead of the truth. */
  readonly length?: number;
};

/** One whole packet of either family, from its network header on. */
export function packet(path: Path, protocol: number, payload: Uint8Array, options: IpOptions = {}): Uint8Array {
  return path.from.includes(':') ? ipv6(path, protocol, payload, options) : ipv4(path, protocol, payload, options, 0);
}

/** An extension header of IPv6 with its length in units of eight bytes; `body` is what follows the first two bytes. */
export function extension(next: number, body: Uint8Array): Uint8Array {
  const length = Math.ceil((body.length + 2) / 8) * 8;
  const header = Buffer.alloc(length);
  header[0] = next;
  header[1] = length / 8 - 1;
  header.set(body, 2);
  // What is left of an options header is padding (PadN), which RFC 8200 wants to be said.
  const left = length - 2 - body.length;
  if (body.length === 0) header.set([1, left - 2], 2);
  return header;
}

/** RFC 8200 4.5: a fragment header; an offset in bytes. */
export function fragmentHeader(next: number, offset: number, more: boolean, id: number): Uint8Array {
  const header = Buffer.alloc(8);
  header[0] = next;
  header.writeUInt16BE(offset | (more ? 1 : 0), 2);
  header.writeUInt32BE(id, 4);
  return header;
}

export type Piece = { readonly from: number; readonly to: number; readonly more: boolean; readonly bytes?: Uint8Array };

/** Fragments of what an IP packet carries: each piece says which bytes it brings (offsets divisible by eight), or brings others in their place. */
export function fragments(path: Path, protocol: number, payload: Uint8Array, pieces: readonly Piece[], id: number): readonly Uint8Array[] {
  return pieces.map(({ from, to, more, bytes }) => {
    const part = bytes ?? payload.subarray(from, to);
    if (!path.from.includes(':')) return ipv4(path, protocol, part, { id }, (from / 8) | (more ? 0x2000 : 0));
    return ipv6(path, FRAGMENT, Buffer.concat([fragmentHeader(protocol, from, more, id), part]), {});
  });
}

/** The whole frame; `vlans` are the identifiers of 802.1Q tags from the outside in. */
export function frame(path: Path, ip: Uint8Array, vlans: readonly number[] = []): Uint8Array {
  const tags = vlans.flatMap((vlan) => [0x81, 0x00, vlan >> 8, vlan & 0xff]);
  const type = path.from.includes(':') ? [0x86, 0xdd] : [0x08, 0x00];
  return Buffer.concat([mac(path.toMac), mac(path.fromMac), Uint8Array.from(tags), Uint8Array.from(type), ip]);
}

/** The Ethernet address to which a group address of IP goes. */
export function groupMac(address: string): string {
  const bytes = addressBytes(address);
  if (bytes.length === 4 && (bytes[0] ?? 0) < 0xf0 && bytes[3] !== 255)
    return ['01', '00', '5e', ...hex([(bytes[1] ?? 0) & 0x7f, bytes[2] ?? 0, bytes[3] ?? 0])].join(':');
  if (bytes.length === 4) return 'ff:ff:ff:ff:ff:ff';
  return ['33', '33', ...hex([...bytes.subarray(12)])].join(':');
}

function ipv4(path: Path, protocol: number, payload: Uint8Array, options: IpOptions, fragment: number): Uint8Array {
  const { ipOptions = new Uint8Array(0) } = options;
  const header = Buffer.alloc(20 + ipOptions.length);
  header[0] = 0x40 | (header.length / 4);
  header[1] = options.tos ?? 0;
  header.writeUInt16BE(options.length ?? header.length + payload.length, 2);
  header.writeUInt16BE(options.id ?? 1, 4);
  header.writeUInt16BE(fragment, 6);
  header[8] = options.ttl ?? 64;
  header[9] = protocol;
  header.set(addressBytes(path.from), 12);
  header.set(addressBytes(path.to), 16);
  header.set(ipOptions, 20);
  header.writeUInt16BE(checksumOf(header) ^ (options.headerChecksum === 'wrong' ? 0x5555 : 0), 10);
  return Buffer.concat([header, payload]);
}

function ipv6(path: Path, next: number, payload: Uint8Array, options: IpOptions): Uint8Array {
  const header = Buffer.alloc(40);
  header.writeUInt32BE((0x60000000 | ((options.tos ?? 0) << 20)) >>> 0, 0);
  header.writeUInt16BE(options.length ?? payload.length, 4);
  header[6] = next;
  header[7] = options.ttl ?? 64;
  header.set(addressBytes(path.from), 8);
  header.set(addressBytes(path.to), 24);
  return Buffer.concat([header, payload]);
}

function transportChecksum(path: Path, protocol: number, segment: Uint8Array): number {
  const length = segment.length;
  const pseudo = [protocol >> 8, protocol & 0xff, length >> 8, length & 0xff];
  return checksumOf(Buffer.concat([addressBytes(path.from), addressBytes(path.to), Uint8Array.from(pseudo), segment]));
}

/** RFC 1071 */
function checksumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function addressBytes(text: string): Uint8Array {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(`${text} is no address`);
  // ::ffff:10.0.0.1 stays an address of IPv6 here: an attacker may put it on the wire.
  return text.includes(':') ? mappedBytes(parsed.value) : parsed.value.bytes;
}

function mac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16));
}

function hex(bytes: readonly number[]): readonly string[] {
  return bytes.map((byte) => byte.toString(16).padStart(2, '0'));
}
