// Encodes and strictly decodes what a knock says (SPEC 5.3). No cryptography, no clocks, no policy: a body is bytes or it is malformed.
import { addressFromBytes, mappedBytes } from './address.ts';
import { assertNever, unixMs } from './brand.ts';
import { type Action, type KnockBody, type KnockSource, type Request, SERVICE_NAME } from './knock.ts';
import { PROTOCOL_NUMBER, type Protocol } from './ports.ts';
import { quoted } from './quoted.ts';

// Fixed by SPEC 5.3. Offsets and lengths in bytes.
export const VERSION = 1;
export const MAX_REQUESTS = 16;
export const MAX_BODY_BYTES = 328;
const LAYOUT = {
  version: 0,
  flags: 1,
  sentAtMs: 2,
  lifetimeSeconds: 10,
  source: 14,
  sourcePort: 30,
  requestCount: 32,
  requests: 33,
} as const;
const SOURCE_BYTES = 16;
const FLAG = { bound: 1, once: 2, close: 4 } as const;
const KNOWN_FLAGS = FLAG.bound | FLAG.once | FLAG.close;
const KIND = { ports: 0, service: 1 } as const;
/** u8 kind ‖ u8 protocol ‖ u16 first ‖ u16 last */
const PORTS = { protocol: 1, first: 2, last: 4, bytes: 6 } as const;
/** u8 kind ‖ u8 length ‖ name */
const SERVICE = { length: 1, name: 2, maxNameBytes: 32 } as const;
const MAX_LIFETIME_SECONDS = 0xffff_ffff;

export type DecodedBody =
  | { readonly ok: true; readonly body: KnockBody /** Without the padding. */; readonly byteLength: number }
  | { readonly ok: false; readonly why: string };

/** One sentence about why requests do not fit into a knock, or undefined when they do. For those who have no whole body yet. */
export function requestsProblem(requests: readonly Request[]): string | undefined {
  if (requests.length > MAX_REQUESTS) return `a knock holds at most ${MAX_REQUESTS} services, not ${requests.length}`;
  for (const request of requests) {
    const problem = requestProblem(request);
    if (problem !== undefined) return problem;
  }
  const [taken, room] = [bodyBytes(requests) - LAYOUT.requests, MAX_BODY_BYTES - LAYOUT.requests];
  if (taken > room)
    return `these services take ${taken} bytes and a knock has room for ${room}: knock for fewer at once, or for ports by number`;
  return undefined;
}

/** One sentence about why a knock cannot be encoded, or undefined when it can. */
export function bodyProblem(body: KnockBody): string | undefined {
  if (!isUint(body.sourcePort, 0xffff)) return `not a source port: ${body.sourcePort}`;
  if (body.action.kind === 'open' && !isUint(body.action.lifetimeSeconds, MAX_LIFETIME_SECONDS)) {
    return `a knock cannot ask for ${body.action.lifetimeSeconds} seconds (0 to ${MAX_LIFETIME_SECONDS})`;
  }
  if (body.source.kind === 'bound' && isZero(mappedBytes(body.source.address))) return 'a knock cannot be bound to the address ::';
  return requestsProblem(body.requests);
}

/** The bytes of a knock, without padding. Throws a RangeError with the sentence of `bodyProblem`: ask that first about user input. */
export function encodeBody(body: KnockBody): Uint8Array {
  const problem = bodyProblem(body);
  if (problem !== undefined) throw new RangeError(problem);
  const out = new Uint8Array(bodyBytes(body.requests));
  const view = new DataView(out.buffer);
  view.setUint8(LAYOUT.version, VERSION);
  view.setUint8(LAYOUT.flags, flagsOf(body));
  view.setBigUint64(LAYOUT.sentAtMs, BigInt(body.sentAtMs));
  view.setUint32(LAYOUT.lifetimeSeconds, body.action.kind === 'open' ? body.action.lifetimeSeconds : 0);
  if (body.source.kind === 'bound') out.set(mappedBytes(body.source.address), LAYOUT.source);
  view.setUint16(LAYOUT.sourcePort, body.sourcePort);
  view.setUint8(LAYOUT.requestCount, body.requests.length);
  let at: number = LAYOUT.requests;
  for (const request of body.requests) at += writeRequest(view, at, request);
  return out;
}

/** SPEC 5.4: reads a body with its padding. Whatever is not exactly what an encoder writes is malformed, with the first reason found. */
export function decodeBody(bytes: Uint8Array): DecodedBody {
  if (bytes.length < LAYOUT.requests || bytes.length > MAX_BODY_BYTES) return malformed(`body of ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const version = view.getUint8(LAYOUT.version);
  if (version !== VERSION) return malformed(`version ${version}`);
  const flags = view.getUint8(LAYOUT.flags);
  if ((flags & ~KNOWN_FLAGS) !== 0) return malformed(`unknown flags ${flags}`);
  const sentAt = view.getBigUint64(LAYOUT.sentAtMs);
  if (sentAt > BigInt(Number.MAX_SAFE_INTEGER)) return malformed('sent at is no time');
  const action = decodeAction(flags, view.getUint32(LAYOUT.lifetimeSeconds));
  if (action === undefined) return malformed('close with a lifetime or the one-shot bit');
  const source = decodeSource(flags, bytes.subarray(LAYOUT.source, LAYOUT.source + SOURCE_BYTES));
  if (source === undefined) return malformed('source address and the bound bit disagree');
  const requests = decodeRequests(view);
  if (typeof requests === 'string') return malformed(requests);
  if (!isZero(bytes.subarray(requests.end))) return malformed('padding that is not zero');
  const sourcePort = view.getUint16(LAYOUT.sourcePort);
  return {
    ok: true,
    body: { action, sentAtMs: unixMs(Number(sentAt)), source, sourcePort, requests: requests.list },
    byteLength: requests.end,
  };
}

function flagsOf(body: KnockBody): number {
  const bound = body.source.kind === 'bound' ? FLAG.bound : 0;
  if (body.action.kind === 'close') return bound | FLAG.close;
  return body.action.once ? bound | FLAG.once : bound;
}

function bodyBytes(requests: readonly Request[]): number {
  return requests.reduce<number>((sum, request) => sum + requestBytes(request), LAYOUT.requests);
}

function requestBytes(request: Request): number {
  return request.kind === 'ports' ? PORTS.bytes : SERVICE.name + request.name.length;
}

function requestProblem(request: Request): string | undefined {
  switch (request.kind) {
    case 'ports': {
      const { first, last } = request.ports;
      const sound = isUint(first, 0xffff) && isUint(last, 0xffff) && first > 0 && first <= last;
      return sound ? undefined : `not a range of ports: ${first}-${last}`;
    }
    case 'service':
      return SERVICE_NAME.test(request.name) ? undefined : `not a service name: ${quoted(request.name)} (1 to 32 of a-z, 0-9, -)`;
    default:
      return assertNever(request);
  }
}

function writeRequest(view: DataView, at: number, request: Request): number {
  if (request.kind === 'ports') {
    view.setUint8(at, KIND.ports);
    view.setUint8(at + PORTS.protocol, PROTOCOL_NUMBER[request.ports.protocol]);
    view.setUint16(at + PORTS.first, request.ports.first);
    view.setUint16(at + PORTS.last, request.ports.last);
  } else {
    view.setUint8(at, KIND.service);
    view.setUint8(at + SERVICE.length, request.name.length);
    [...request.name].forEach((letter, index) => {
      view.setUint8(at + SERVICE.name + index, letter.charCodeAt(0));
    });
  }
  return requestBytes(request);
}

function decodeAction(flags: number, lifetimeSeconds: number): Action | undefined {
  const once = (flags & FLAG.once) !== 0;
  if ((flags & FLAG.close) === 0) return { kind: 'open', lifetimeSeconds, once };
  return once || lifetimeSeconds !== 0 ? undefined : { kind: 'close' };
}

/** SPEC 5.3: zero if and only if the bound bit is clear. */
function decodeSource(flags: number, bytes: Uint8Array): KnockSource | undefined {
  const bound = (flags & FLAG.bound) !== 0;
  if (bound === isZero(bytes)) return undefined;
  return bound ? { kind: 'bound', address: addressFromBytes(bytes) } : { kind: 'unbound' };
}

/** The requests and where they end, or what is wrong with them. */
function decodeRequests(view: DataView): { readonly list: readonly Request[]; readonly end: number } | string {
  const count = view.getUint8(LAYOUT.requestCount);
  if (count > MAX_REQUESTS) return `${count} requests`;
  const list: Request[] = [];
  let at: number = LAYOUT.requests;
  for (let index = 0; index < count; index += 1) {
    const request = decodeRequest(view, at);
    if (typeof request === 'string') return request;
    list.push(request);
    at += requestBytes(request);
  }
  return { list, end: at };
}

function decodeRequest(view: DataView, at: number): Request | string {
  // Both kinds have two bytes in front: kind, then protocol or length.
  if (at + SERVICE.name > view.byteLength) return 'a request that is cut off';
  const kind = view.getUint8(at);
  if (kind === KIND.ports) return decodePorts(view, at);
  if (kind === KIND.service) return decodeService(view, at);
  return `unknown kind of request ${kind}`;
}

function decodePorts(view: DataView, at: number): Request | string {
  if (at + PORTS.bytes > view.byteLength) return 'a request that is cut off';
  const number = view.getUint8(at + PORTS.protocol);
  const protocol = protocolOf(number);
  if (protocol === undefined) return `unknown protocol ${number}`;
  const first = view.getUint16(at + PORTS.first);
  const last = view.getUint16(at + PORTS.last);
  if (first === 0 || last === 0) return 'port 0';
  if (last < first) return 'a range that runs backwards';
  return { kind: 'ports', ports: { protocol, first, last } };
}

function decodeService(view: DataView, at: number): Request | string {
  const length = view.getUint8(at + SERVICE.length);
  if (length === 0 || length > SERVICE.maxNameBytes) return `a service name of ${length} bytes`;
  if (at + SERVICE.name + length > view.byteLength) return 'a request that is cut off';
  const name = String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at + SERVICE.name, length));
  return SERVICE_NAME.test(name) ? { kind: 'service', name } : 'a service name with other characters than a-z, 0-9, -';
}

function protocolOf(number: number): Protocol | undefined {
  if (number === PROTOCOL_NUMBER.tcp) return 'tcp';
  return number === PROTOCOL_NUMBER.udp ? 'udp' : undefined;
}

function isUint(value: number, max: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= max;
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

function malformed(why: string): { readonly ok: false; readonly why: string } {
  return { ok: false, why };
}
