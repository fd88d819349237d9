// IPv4 and IPv6 packets with a UDP datagram, built by hand, with every field to spoil. Independent of the parser they test.

type Extension = { readonly type: number; readonly body: readonly number[] };
export type Shape = {
  readonly version: 4 | 6;
  readonly payload: Uint8Array;
  readonly options: readonly number[];
  readonly extensions: readonly Extension[];
  readonly udpLength: number | undefined;
  readonly ipLength: number | undefined;
  readonly checksum: 'good' | 'none' | 'wrong' | 'partial';
  readonly fragmentField: number;
  readonly protocol: number;
  readonly source: readonly number[];
  readonly target: readonly number[];
  readonly port: number;
};

export const SOURCE4 = [192, 0, 2, 7];
const SOURCE6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const TARGET4 = [198, 51, 100, 1];
const TARGET6 = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
export const PAYLOAD = Uint8Array.from({ length: 193 }, (_, at) => at);

export const plain = (version: 4 | 6): Shape => ({
  version,
  payload: PAYLOAD,
  options: [],
  extensions: [],
  udpLength: undefined,
  ipLength: undefined,
  checksum: 'good',
  fragmentField: 0x4000,
  protocol: 17,
  source: version === 4 ? SOURCE4 : SOURCE6,
  target: version === 4 ? TARGET4 : TARGET6,
  port: 62_201,
});

/** The checksum of RFC 1071, written another way than the parser's: byte pairs through a running carry. */
function onesComplement(bytes: readonly number[]): number {
  let sum = 0;
  const even = bytes.length % 2 === 0 ? bytes : [...bytes, 0];
  for (let at = 0; at < even.length; at += 2) {
    sum += (even[at] ?? 0) * 256 + (even[at + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return sum;
}

const word = (value: number): readonly number[] => [(value >> 8) & 0xff, value & 0xff];

export function build(shape: Shape): Uint8Array {
  const length = shape.payload.length + 8;
  const udpLength = shape.udpLength ?? length;
  const { target } = shape;
  const pseudo = [...shape.source, ...target, 0, 17, ...word(length)];
  const head = [...word(40_000), ...word(shape.port), ...word(udpLength)];
  const complete = 0xffff - onesComplement([...pseudo, ...head, 0, 0, ...shape.payload]);
  const checksum = { good: complete === 0 ? 0xffff : complete, none: 0, wrong: complete ^ 0x0101, partial: onesComplement(pseudo) }[
    shape.checksum
  ];
  const udp = [...head, ...word(checksum), ...shape.payload];
  if (shape.version === 4) {
    const total = shape.ipLength ?? 20 + shape.options.length + udp.length;
    const words = 5 + shape.options.length / 4;
    const ip = (sum: number) => {
      const start = [0x40 | words, 0, ...word(total), 0x12, 0x34, ...word(shape.fragmentField), 64, shape.protocol];
      return [...start, ...word(sum), ...shape.source, ...target, ...shape.options];
    };
    return Uint8Array.from([...ip(0xffff - onesComplement(ip(0))), ...udp]);
  }
  const chain = shape.extensions.flatMap((extension, at) => {
    const next = shape.extensions[at + 1]?.type ?? shape.protocol;
    return [next, (extension.body.length + 2) / 8 - 1, ...extension.body];
  });
  const first = shape.extensions[0]?.type ?? shape.protocol;
  const ip = [0x60, 0, 0, 0, ...word(shape.ipLength ?? chain.length + udp.length), first, 64];
  return Uint8Array.from([...ip, ...shape.source, ...target, ...chain, ...udp]);
}

export const PAD6 = [1, 4, 0, 0, 0, 0];
export const hop = { type: 0, body: PAD6 };
export const destination = { type: 60, body: [1, 12, ...new Array<number>(12).fill(0)] };
export const routing = (segmentsLeft: number) => ({ type: 43, body: [4, segmentsLeft, 0, 0, 0, 0] });

/** Two IPv4 fragments of one packet without options, cut after `firstBytes` (a multiple of eight) of the IP payload. */
export function fragments(shape: Shape, firstBytes: number): readonly [Uint8Array, Uint8Array] {
  const packet = build(shape);
  const part = (from: number, to: number, field: number) => {
    const header = [...packet.subarray(0, 2), ...word(20 + to - from), ...packet.subarray(4, 6), ...word(field), ...packet.subarray(8, 10)];
    const complete = (sum: number) => [...header, ...word(sum), ...packet.subarray(12, 20)];
    return Uint8Array.from([...complete(0xffff - onesComplement(complete(0))), ...packet.subarray(20 + from, 20 + to)]);
  };
  return [part(0, firstBytes, 0x2000), part(firstBytes, packet.length - 20, firstBytes / 8)];
}

/** A capture file (pcap, Ethernet) for tcpreplay. */
export function pcap(frames: readonly Uint8Array[]): Uint8Array {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(65_535, 16);
  header.writeUInt32LE(1, 20);
  const records = frames.flatMap((frame, at) => {
    const record = Buffer.alloc(16);
    record.writeUInt32LE(at, 4);
    record.writeUInt32LE(frame.length, 8);
    record.writeUInt32LE(frame.length, 12);
    return [record, Buffer.from(frame)];
  });
  return Buffer.concat([header, ...records]);
}

/** The packet in an Ethernet frame. */
export function frame(packet: Uint8Array, fromMac: string, toMac: string): Uint8Array {
  const mac = (text: string) => text.split(':').map((byte) => Number.parseInt(byte, 16));
  const type = (packet[0] ?? 0) >> 4 === 6 ? [0x86, 0xdd] : [0x08, 0x00];
  return Uint8Array.from([...mac(toMac), ...mac(fromMac), ...type, ...packet]);
}
