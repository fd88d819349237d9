// The same datagram or segment in every disguise that an Ethernet frame and an IP packet allow, and what the kernel makes of each. Pure.
import {
  type Checksum,
  DESTINATION_OPTIONS,
  extension,
  FRAGMENT,
  fragmentHeader,
  fragments,
  frame,
  HOP_BY_HOP,
  type IpOptions,
  type Path,
  type Piece,
  packet,
  ROUTING,
} from './frames.ts';

/** What is wrapped: a UDP or TCP segment, made for a path, with a checksum of our choice. */
export type Segment = { readonly protocol: number; readonly make: (path: Path, checksum: Checksum) => Uint8Array };

export type Shape = {
  readonly name: string;
  readonly families: readonly (0 | 1)[];
  /** Frames in the order of sending; `id` numbers the fragments of one packet. */
  readonly frames: (path: Path, segment: Segment, id: number) => readonly Uint8Array[];
  /** Whether the host's own stack takes it, and a service answers where no gate stands; where a datagram and a SYN differ, for which families a SYN. */
  readonly taken: boolean | { readonly syn: readonly (0 | 1)[] };
  /** Whether a knock in this shape opens; where a capture differs from the rest. */
  readonly knock: boolean | { readonly nflog: boolean; readonly raw: boolean; readonly udp: boolean };
};

const BOTH = [0, 1] as const;
const IPV4 = [0] as const;
const IPV6 = [1] as const;
/** Cut here, the ports stand in one fragment and the rest of the header of TCP in another: IPv6 wants headers whole (RFC 8200, 4.5). */
const CUT = 8;
const AUTHENTICATION = 51;
const EXPERIMENT = 253;
const PAD = new Uint8Array(0);

export const SHAPES: readonly Shape[] = [
  { name: 'as it should be', families: BOTH, taken: true, knock: true, frames: plain() },
  { name: 'in an Ethernet broadcast', families: BOTH, taken: { syn: [] }, knock: true, frames: plain({}, { toMac: 'ff:ff:ff:ff:ff:ff' }) },
  { name: 'with a VLAN tag of priority only', families: BOTH, taken: true, knock: true, frames: tagged(0) },
  { name: 'with a tag of a VLAN that is not ours', families: BOTH, taken: false, knock: false, frames: tagged(5) },
  { name: 'with a tag in a tag', families: BOTH, taken: false, knock: false, frames: tagged(0, 5) },
  { name: 'to another Ethernet address', families: BOTH, taken: false, knock: false, frames: plain({}, { toMac: '02:00:00:00:00:99' }) },
  { name: 'in two fragments', families: BOTH, taken: { syn: IPV4 }, knock: true, frames: cut(inTwo) },
  { name: 'in two fragments, the last one first', families: BOTH, taken: { syn: IPV4 }, knock: true, frames: cut(inTwo, 'reversed') },
  { name: 'in fragments of eight bytes', families: BOTH, taken: { syn: IPV4 }, knock: true, frames: cut(inEights) },
  { name: 'in two fragments, one of them twice', families: BOTH, taken: { syn: IPV4 }, knock: true, frames: cut(firstTwice) },
  { name: 'in overlapping fragments', families: BOTH, taken: false, knock: false, frames: cut(overlapping) },
  { name: 'without its last fragment', families: BOTH, taken: false, knock: false, frames: cut(lastMissing) },
  { name: 'with a wrong checksum', families: IPV4, taken: false, knock: false, frames: summed('wrong') },
  // A raw socket of IPv6 gets no address to check the sum with: the seal finds what was damaged.
  { name: 'with a wrong checksum', families: IPV6, taken: false, knock: { nflog: false, raw: true, udp: false }, frames: summed('wrong') },
  { name: 'with bytes behind its end', families: BOTH, taken: true, knock: true, frames: trailed() },
  { name: 'in a packet that says it is longer', families: BOTH, taken: false, knock: false, frames: claimed(64) },
  { name: 'in a packet that says it is shorter', families: BOTH, taken: false, knock: false, frames: claimed(-8) },
  { name: 'with a hop limit of one', families: BOTH, taken: true, knock: true, frames: plain({ ttl: 1 }) },
  { name: 'with every bit of the service class set', families: BOTH, taken: true, knock: true, frames: plain({ tos: 0xfc }) },
  {
    name: 'with an option that records its route',
    families: IPV4,
    taken: true,
    knock: true,
    frames: plain({ ipOptions: bytes(7, 7, 4, 0, 0, 0, 0, 0) }),
  },
  { name: 'with a router alert', families: IPV4, taken: true, knock: true, frames: plain({ ipOptions: bytes(148, 4, 0, 0) }) },
  {
    name: 'with a source route that is used up',
    families: IPV4,
    taken: false,
    knock: { nflog: true, raw: false, udp: false },
    frames: plain({ ipOptions: bytes(131, 7, 8, 10, 77, 1, 9, 0) }),
  },
  {
    name: 'with a broken option',
    families: IPV4,
    taken: false,
    knock: { nflog: true, raw: false, udp: false },
    frames: plain({ ipOptions: bytes(7, 200, 4, 0) }),
  },
  { name: 'with a wrong header checksum', families: IPV4, taken: false, knock: false, frames: plain({ headerChecksum: 'wrong' }) },
  { name: 'behind hop-by-hop options', families: IPV6, taken: true, knock: true, frames: behind(HOP_BY_HOP) },
  { name: 'behind destination options', families: IPV6, taken: true, knock: true, frames: behind(DESTINATION_OPTIONS) },
  { name: 'behind four destination options', families: IPV6, taken: true, knock: true, frames: behind(...many(DESTINATION_OPTIONS, 4)) },
  {
    name: 'behind nine destination options',
    families: IPV6,
    taken: true,
    knock: { nflog: false, raw: true, udp: true },
    frames: behind(...many(DESTINATION_OPTIONS, 9)),
  },
  {
    name: 'behind hop-by-hop options in the second place',
    families: IPV6,
    taken: false,
    knock: false,
    frames: behind(DESTINATION_OPTIONS, HOP_BY_HOP),
  },
  { name: 'behind an authentication header', families: IPV6, taken: false, knock: false, frames: behind(AUTHENTICATION) },
  { name: 'behind an unknown header', families: IPV6, taken: false, knock: false, frames: behind(EXPERIMENT) },
  {
    name: 'behind a routing header that is used up',
    families: IPV6,
    taken: true,
    knock: { nflog: true, raw: false, udp: true },
    frames: routed(0),
  },
  { name: 'behind a routing header with a station left', families: IPV6, taken: false, knock: false, frames: routed(1) },
  { name: 'as the only fragment of itself', families: IPV6, taken: true, knock: true, frames: atomic() },
];

function plain(options: IpOptions = {}, more: Partial<Path> = {}): Shape['frames'] {
  return (path, { protocol, make }) => [frame({ ...path, ...more }, packet(path, protocol, make(path, 'right'), options))];
}

function tagged(...vlans: readonly number[]): Shape['frames'] {
  return (path, { protocol, make }) => [frame(path, packet(path, protocol, make(path, 'right')), vlans)];
}

function summed(checksum: Checksum): Shape['frames'] {
  return (path, { protocol, make }) => [frame(path, packet(path, protocol, make(path, checksum)))];
}

function trailed(): Shape['frames'] {
  return (path, { protocol, make }) => [Buffer.concat([frame(path, packet(path, protocol, make(path, 'right'))), new Uint8Array(9)])];
}

/** The network header says so many bytes more or less than there are. */
function claimed(more: number): Shape['frames'] {
  return (path, { protocol, make }) => {
    const segment = make(path, 'right');
    const header = path.from.includes(':') ? 0 : 20;
    return [frame(path, packet(path, protocol, segment, { length: header + segment.length + more }))];
  };
}

function behind(...headers: readonly number[]): Shape['frames'] {
  return (path, { protocol, make }) => {
    const chain = headers.map((_, at) => extensionOf(headers[at] ?? 0, headers[at + 1] ?? protocol));
    return [frame(path, packet(path, headers[0] ?? protocol, Buffer.concat([...chain, make(path, 'right')])))];
  };
}

function extensionOf(type: number, next: number): Uint8Array {
  // RFC 4302: its length counts words of four bytes, less two.
  if (type === AUTHENTICATION) return Buffer.concat([bytes(next, 4), new Uint8Array(22)]);
  return extension(next, PAD);
}

/** RFC 6275: type 2, with room for one address. */
function routed(segmentsLeft: number): Shape['frames'] {
  return (path, { protocol, make }) => {
    const header = extension(protocol, Buffer.concat([bytes(2, segmentsLeft, 0, 0, 0, 0), new Uint8Array(16)]));
    return [frame(path, packet(path, ROUTING, Buffer.concat([header, make(path, 'right')])))];
  };
}

function atomic(): Shape['frames'] {
  return (path, { protocol, make }, id) => [
    frame(path, packet(path, FRAGMENT, Buffer.concat([fragmentHeader(protocol, 0, false, id), make(path, 'right')]))),
  ];
}

function cut(pieces: (segment: Uint8Array) => readonly Piece[], order: 'forward' | 'reversed' = 'forward'): Shape['frames'] {
  return (path, { protocol, make }, id) => {
    const segment = make(path, 'right');
    const parts = fragments(path, protocol, segment, pieces(segment), id).map((ip) => frame(path, ip));
    return order === 'forward' ? parts : parts.toReversed();
  };
}

function inTwo({ length }: Uint8Array): readonly Piece[] {
  return [
    { from: 0, to: CUT, more: true },
    { from: CUT, to: length, more: false },
  ];
}

function inEights({ length }: Uint8Array): readonly Piece[] {
  return Array.from({ length: Math.ceil(length / 8) }, (_, at) => ({
    from: at * 8,
    to: Math.min(length, at * 8 + 8),
    more: at * 8 + 8 < length,
  }));
}

function firstTwice(segment: Uint8Array): readonly Piece[] {
  const [first, last] = inTwo(segment);
  return first === undefined || last === undefined ? [] : [first, first, last];
}

/** The second fragment begins inside the first, with other bytes where they overlap: Teardrop, and a way around filters that look at the first one. */
function overlapping({ length }: Uint8Array): readonly Piece[] {
  return [
    { from: 0, to: 16, more: true },
    { from: 8, to: 16, more: true, bytes: new Uint8Array(8).fill(0xff) },
    { from: 8, to: length, more: false },
  ];
}

function lastMissing(segment: Uint8Array): readonly Piece[] {
  return inTwo(segment).slice(0, 1);
}

function many(type: number, count: number): readonly number[] {
  return new Array<number>(count).fill(type);
}

function bytes(...all: readonly number[]): Uint8Array {
  return Uint8Array.from(all);
}
