// What an attacker puts on the wire: Ethernet frames with one UDP datagram each, as a capture file and as trafgen's text. Pure.

/** One end of the way; `link` is the Ethernet address. */
export type End = { readonly link: string; readonly ipv4: string };

/** A datagram on its way. */
export type Way = { readonly from: End; readonly to: End; readonly port: number };

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;

export function udpFrame({ from, to, port }: Way, sourcePort: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES + payload.length);
  const view = new DataView(frame.buffer);
  frame.set(linkBytes(to.link), 0);
  frame.set(linkBytes(from.link), 6);
  view.setUint16(12, 0x0800);
  const ip = ETHERNET_BYTES;
  view.setUint16(ip, 0x4500);
  view.setUint16(ip + 2, IPV4_BYTES + UDP_BYTES + payload.length);
  view.setUint8(ip + 8, 64);
  view.setUint8(ip + 9, 17);
  frame.set(addressBytes(from.ipv4), ip + 12);
  frame.set(addressBytes(to.ipv4), ip + 16);
  view.setUint16(ip + 10, checksum(sumWords(frame.subarray(ip, ip + IPV4_BYTES))));
  const udp = ip + IPV4_BYTES;
  view.setUint16(udp, sourcePort);
  view.setUint16(udp + 2, port);
  view.setUint16(udp + 4, UDP_BYTES + payload.length);
  frame.set(payload, udp + UDP_BYTES);
  // RFC 768: over a pseudo header of both addresses, protocol and length; a sum of zero is sent as its complement.
  const sum = sumWords(frame.subarray(ip + 12, ip + IPV4_BYTES)) + 17 + (frame.length - udp) + sumWords(frame.subarray(udp));
  view.setUint16(udp + 6, checksum(sum) || 0xffff);
  return frame;
}

/** A pcap file, as tcpreplay reads it. */
export function pcapFile(frames: readonly Uint8Array[]): Uint8Array {
  const file = new Uint8Array(24 + frames.reduce((sum, frame) => sum + 16 + frame.length, 0));
  const view = new DataView(file.buffer);
  for (const [at, word] of [0xa1b2c3d4, 0x00020004, 0, 0, 65_535, 1].entries()) view.setUint32(at * 4, word);
  let at = 24;
  for (const frame of frames) {
    view.setUint32(at + 8, frame.length);
    view.setUint32(at + 12, frame.length);
    file.set(frame, at + 16);
    at += 16 + frame.length;
  }
  return file;
}

/** trafgen's configuration: the same frames, one after the other. */
export function trafgenText(frames: readonly Uint8Array[]): string {
  return frames.map((frame) => `{ ${Array.from(frame, (byte) => `0x${byte.toString(16).padStart(2, '0')}`).join(',')} }\n`).join('');
}

/** A sequence that follows from its seed: the same junk in each run (xorshift32). */
export function junkSource(seed: number): { readonly below: (limit: number) => number; readonly bytes: (length: number) => Uint8Array } {
  let state = seed >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state = (state ^ (state << 5)) >>> 0;
    return state;
  };
  return { below: (limit) => next() % limit, bytes: (length) => Uint8Array.from({ length }, () => next() >>> 24) };
}

function linkBytes(text: string): readonly number[] {
  return text.split(':').map((byte) => Number.parseInt(byte, 16));
}

function addressBytes(text: string): readonly number[] {
  return text.split('.').map(Number);
}

/** An odd last byte counts as a high byte. */
function sumWords(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return sum;
}

/** RFC 1071: the one's complement of the one's complement sum. */
function checksum(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return ~folded & 0xffff;
}
