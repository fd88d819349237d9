// What an invitation says, and its bytes (SPEC 12.2). Strict: whatever the encoder would not write is refused.
import { parseAddress } from './address.ts';
import { type Parsed, parsed, unparsed } from './brand.ts';
import { checkPublicKey, type PublicKey } from './identity.ts';
import { SERVICE_NAME } from './knock.ts';
import { formatPortRange, type PortRange, PROTOCOL_NUMBER } from './ports.ts';
import { quoted } from './quoted.ts';
import { RAW_KEY_BYTES } from './raw-keys.ts';
import { WireError, WireReader } from './ssh-wire.ts';
import { MAX_SLOTS } from './tags.ts';

/** One thing that the client may ask for. Without a name it is asked for by its one range of ports. */
export type InvitedService = {
  readonly name: string | undefined;
  /** What the door opens, so that a client can try whether it did. */
  readonly ports: readonly PortRange[];
  /** Each grant admits one connection: never probe it. */
  readonly once: boolean;
  /** Given when a knock names nothing. */
  readonly byDefault: boolean;
};

/** `bound`: the rule refuses knocks that are not bound to their source address. */
export type InvitedSource = 'auto' | 'bound' | 'none';

export type Invitation = {
  /** A host name in lower case, or an address in its canonical form. */
  readonly host: string;
  readonly port: number;
  readonly serverKey: PublicKey;
  /** Knocks a minute. */
  readonly slots: number;
  readonly source: InvitedSource;
  /** The rule has a pre-shared key, which never travels in an invitation. */
  readonly needsPsk: boolean;
  readonly services: readonly InvitedService[];
  /** The client's secret key, when the server made it: then the whole line is a secret. */
  readonly seed: Uint8Array | undefined;
};

// Fixed by SPEC 12.2.
export const MAX_SERVICES = 32;
export const MAX_RANGES = 16;
const MAX_HOST_LETTERS = 253;
const FLAG = { seed: 1, psk: 2 } as const;
const KNOWN_FLAGS = FLAG.seed | FLAG.psk;
const SERVICE_FLAG = { once: 1, byDefault: 2 } as const;
const KNOWN_SERVICE_FLAGS = SERVICE_FLAG.once | SERVICE_FLAG.byDefault;
const SOURCES: readonly InvitedSource[] = ['auto', 'bound', 'none'];
/** u8 IP protocol ‖ u16 first ‖ u16 last */
const RANGE_BYTES = 5;

// A label neither begins nor ends with "-", and the last one is no number, which would be half an address (RFC 1123, WHATWG URL).
const HOST_NAME = /^(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*$/;
const NUMBER_AT_THE_END = /(?:^|\.)\d+$/;

/** One sentence about why this cannot stand in an invitation, or undefined when it can. */
export function bodyProblem(invitation: Invitation): string | undefined {
  const { host, port, slots, seed, services } = invitation;
  if (!isHost(host)) return `not a host name or address: ${quoted(host)} (a name such as web1.example.org in lower case, or an address)`;
  if (!isWithin(port, 1, 0xffff)) return `not a port to knock at: ${port}`;
  if (!isWithin(slots, 1, MAX_SLOTS)) return `${slots} knocks a minute (1 to ${MAX_SLOTS})`;
  if (seed !== undefined && seed.length !== RAW_KEY_BYTES) return `a client key of ${seed.length} bytes`;
  return servicesProblem(services);
}

/** The bytes between length and checksum. The caller has asked `bodyProblem`. */
export function encodeInvitationBody(invitation: Invitation): Uint8Array {
  const { host, port, serverKey, slots, source, needsPsk, services, seed } = invitation;
  const flags = (seed === undefined ? 0 : FLAG.seed) | (needsPsk ? FLAG.psk : 0);
  return Buffer.concat([
    Uint8Array.of(flags, SOURCES.indexOf(source), slots),
    u16(port),
    serverKey,
    seed ?? new Uint8Array(0),
    Uint8Array.of(host.length),
    Buffer.from(host, 'latin1'),
    Uint8Array.of(services.length),
    ...services.map(serviceBytes),
  ]);
}

/** SPEC 12.3: the invitation that these bytes are, or the first reason why they are none. */
export function decodeInvitationBody(bytes: Uint8Array): Parsed<Invitation> {
  const reader = new WireReader(bytes);
  try {
    const invitation = read(reader);
    if (!invitation.ok) return invitation;
    if (reader.remaining > 0) return unparsed('bytes behind its last field');
    const problem = bodyProblem(invitation.value);
    return problem === undefined ? invitation : unparsed(problem);
  } catch (error) {
    if (error instanceof WireError) return unparsed('a field that is longer than the invitation');
    throw error;
  }
}

function read(reader: WireReader): Parsed<Invitation> {
  const flags = u8Of(reader);
  if ((flags & ~KNOWN_FLAGS) !== 0) return unparsed(`unknown flags ${flags}`);
  const sourceNumber = u8Of(reader);
  const source = SOURCES[sourceNumber];
  if (source === undefined) return unparsed(`unknown source binding ${sourceNumber}`);
  const slots = u8Of(reader);
  const port = u16Of(reader);
  const serverKey = checkPublicKey(reader.take(RAW_KEY_BYTES));
  if (!serverKey.ok) return serverKey;
  const seed = (flags & FLAG.seed) === 0 ? undefined : reader.take(RAW_KEY_BYTES);
  const host = textOf(reader);
  const services: InvitedService[] = [];
  const count = u8Of(reader);
  if (count > MAX_SERVICES) return unparsed(`${count} services`);
  for (let index = 0; index < count; index += 1) {
    const service = readService(reader);
    if (!service.ok) return service;
    services.push(service.value);
  }
  const needsPsk = (flags & FLAG.psk) !== 0;
  return parsed({ host, port, serverKey: serverKey.value, slots, source, needsPsk, services, seed });
}

function readService(reader: WireReader): Parsed<InvitedService> {
  const flags = u8Of(reader);
  if ((flags & ~KNOWN_SERVICE_FLAGS) !== 0) return unparsed(`unknown flags ${flags} of a service`);
  const name = textOf(reader);
  const count = u8Of(reader);
  const ports: PortRange[] = [];
  for (let index = 0; index < count; index += 1) {
    const number = u8Of(reader);
    const protocol = number === PROTOCOL_NUMBER.tcp ? 'tcp' : number === PROTOCOL_NUMBER.udp ? 'udp' : undefined;
    if (protocol === undefined) return unparsed(`unknown protocol ${number}`);
    ports.push({ protocol, first: u16Of(reader), last: u16Of(reader) });
  }
  const [once, byDefault] = [(flags & SERVICE_FLAG.once) !== 0, (flags & SERVICE_FLAG.byDefault) !== 0];
  return parsed({ name: name === '' ? undefined : name, ports, once, byDefault });
}

function servicesProblem(services: readonly InvitedService[]): string | undefined {
  if (services.length > MAX_SERVICES) return `${services.length} services (at most ${MAX_SERVICES})`;
  const seen = new Set<string>();
  for (const service of services) {
    const problem = serviceProblem(service);
    if (problem !== undefined) return problem;
    const label = service.name ?? service.ports.map(formatPortRange).join();
    if (seen.has(label)) return `${label} stands twice`;
    seen.add(label);
  }
  return undefined;
}

function serviceProblem({ name, ports }: InvitedService): string | undefined {
  if (name !== undefined && !SERVICE_NAME.test(name)) return `not a service name: ${quoted(name)} (1 to 32 of a-z, 0-9, -)`;
  const label = name ?? 'a service without a name';
  if (ports.length === 0 || ports.length > MAX_RANGES) return `${label} has ${ports.length} ranges of ports (1 to ${MAX_RANGES})`;
  if (name === undefined && ports.length > 1) return `${label} has ${ports.length} ranges of ports, not one`;
  for (const { first, last } of ports) {
    if (!isWithin(first, 1, 0xffff) || !isWithin(last, first, 0xffff)) return `not a range of ports: ${first}-${last}`;
  }
  return undefined;
}

function serviceBytes({ name, ports, once, byDefault }: InvitedService): Uint8Array {
  const flags = (once ? SERVICE_FLAG.once : 0) | (byDefault ? SERVICE_FLAG.byDefault : 0);
  const ranges = Buffer.alloc(ports.length * RANGE_BYTES);
  ports.forEach(({ protocol, first, last }, index) => {
    ranges.writeUInt8(PROTOCOL_NUMBER[protocol], index * RANGE_BYTES);
    ranges.writeUInt16BE(first, index * RANGE_BYTES + 1);
    ranges.writeUInt16BE(last, index * RANGE_BYTES + 3);
  });
  return Buffer.concat([Uint8Array.of(flags, name?.length ?? 0), Buffer.from(name ?? '', 'latin1'), Uint8Array.of(ports.length), ranges]);
}

/** SPEC 12.2: an address in its canonical form, or a name in lower case. */
export function isHost(text: string): boolean {
  const address = parseAddress(text);
  if (address.ok) return address.value.text === text;
  return text.length <= MAX_HOST_LETTERS && HOST_NAME.test(text) && !NUMBER_AT_THE_END.test(text);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

function u8Of(reader: WireReader): number {
  return reader.take(1)[0] ?? 0;
}

function u16Of(reader: WireReader): number {
  const [high = 0, low = 0] = reader.take(2);
  return high * 256 + low;
}

function textOf(reader: WireReader): string {
  return Buffer.from(reader.take(u8Of(reader))).toString('latin1');
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most;
}
