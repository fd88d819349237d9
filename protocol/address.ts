// IP addresses and networks as values: one form for each address, IPv4-mapped IPv6 folded to IPv4 (P21).
import { isIPv4, isIPv6 } from 'node:net';
import { type Parsed, parsed, unparsed } from './brand.ts';
import { quoted } from './quoted.ts';

export type Family = 4 | 6;

/** An address in its one canonical form. `bytes` holds 4 or 16 bytes; `text` is unique for each address. */
export type IpAddress = { readonly family: Family; readonly bytes: Uint8Array; readonly text: string };

/** A network: an address whose host bits are zero, and the length of its prefix. */
export type Network = { readonly address: IpAddress; readonly prefix: number; readonly text: string };

const MAPPED_PREFIX = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);

/** The address that 4 or 16 bytes stand for (copied, from a Buffer too, whose slice() would be a view). ::ffff:a.b.c.d is a.b.c.d. */
export function addressFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 16 && MAPPED_PREFIX.every((byte, at) => bytes[at] === byte)) return addressFromBytes(bytes.subarray(12));
  if (bytes.length === 4) return { family: 4, bytes: new Uint8Array(bytes), text: bytes.join('.') };
  if (bytes.length === 16) return { family: 6, bytes: new Uint8Array(bytes), text: formatIpv6(bytes) };
  throw new RangeError(`addressFromBytes: ${bytes.length} bytes`);
}

/** Sixteen bytes for the wire: IPv4 as IPv4-mapped (SPEC "Body"). */
export function mappedBytes(address: IpAddress): Uint8Array {
  if (address.family === 6) return address.bytes.slice();
  const out = new Uint8Array(16);
  out.set(MAPPED_PREFIX);
  out.set(address.bytes, 12);
  return out;
}

/** Reads an address. Scopes (`%eth0`), ports and brackets are not part of an address. */
export function parseAddress(text: string): Parsed<IpAddress> {
  if (isIPv4(text)) return parsed(addressFromBytes(Uint8Array.from(text.split('.'), Number)));
  if (isIPv6(text) && !text.includes('%')) return parsed(addressFromBytes(ipv6Bytes(text)));
  return unparsed(`not an IP address: ${quoted(text)}`);
}

/** Reads `10.0.0.0/8`, `2001:db8::/32`, or an address alone (a network of one). Host bits must be zero. */
export function parseNetwork(text: string): Parsed<Network> {
  const [head = '', tail, ...more] = text.split('/');
  const address = parseAddress(head);
  if (!address.ok || more.length > 0) return unparsed(`not a network: ${quoted(text)} (expected ADDRESS/PREFIX)`);
  if (head.includes(':') && address.value.family === 4) {
    return unparsed(`write the IPv4 network itself, not its IPv6-mapped form: ${quoted(text)}`);
  }
  const width = address.value.family === 4 ? 32 : 128;
  const prefix = tail === undefined ? width : /^(0|[1-9]\d{0,2})$/.test(tail) ? Number(tail) : -1;
  if (prefix < 0 || prefix > width) return unparsed(`not a network: ${quoted(text)} (prefix 0 to ${width})`);
  const base = addressFromBytes(maskedBytes(address.value.bytes, prefix));
  if (base.text !== address.value.text) return unparsed(`${text} has host bits set: did you mean ${base.text}/${prefix}?`);
  return parsed({ address: base, prefix, text: `${base.text}/${prefix}` });
}

/** Whether the network holds the address. Families never match each other. */
export function contains(network: Network, address: IpAddress): boolean {
  if (network.address.family !== address.family) return false;
  const masked = maskedBytes(address.bytes, network.prefix);
  return masked.every((byte, at) => network.address.bytes[at] === byte);
}

function maskedBytes(bytes: Uint8Array, prefix: number): Uint8Array {
  return bytes.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - at * 8))));
}

function ipv6Bytes(text: string): Uint8Array {
  const lastColon = text.lastIndexOf(':');
  const tail = text.slice(lastColon + 1);
  // A dotted tail (::ffff:1.2.3.4) is two groups.
  const groupsText = isIPv4(tail) ? `${text.slice(0, lastColon + 1)}${dottedGroups(tail)}` : text;
  const [left = '', right] = groupsText.split('::');
  const head = left === '' ? [] : left.split(':');
  const back = right === undefined || right === '' ? [] : right.split(':');
  const fill = right === undefined ? [] : new Array<string>(8 - head.length - back.length).fill('0');
  const out = new Uint8Array(16);
  const view = new DataView(out.buffer);
  [...head, ...fill, ...back].forEach((group, at) => {
    view.setUint16(at * 2, Number.parseInt(group, 16));
  });
  return out;
}

function dottedGroups(dotted: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number);
  return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zero groups shortened, the first of equals. */
function formatIpv6(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const groups = Array.from({ length: 8 }, (_, at) => view.getUint16(at * 2));
  let best = { start: -1, length: 1 };
  for (let start = 0; start < 8; start += 1) {
    let length = 0;
    while (start + length < 8 && groups[start + length] === 0) length += 1;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':');
  if (best.start < 0) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}
