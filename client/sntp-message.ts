// The one NTP message that `knock` sends and the one that it reads (RFC 5905, as SNTP: RFC 4330 section 5): bytes only, no socket, no clock.

// Fixed by RFC 5905 section 7.3.
const MESSAGE_BYTES = 48;
export const NONCE_BYTES = 8;
const AT = { stratum: 1, rootDelay: 4, rootDispersion: 8, referenceId: 12, origin: 24, received: 32, transmitted: 40 } as const;
const VERSION = 4;
const MODE = { client: 3, server: 4 } as const;
const UNSYNCHRONIZED = 3;
const MAX_STRATUM = 15;
/** RFC 5905 MAXDISP: farther from a real clock than this is no clock. */
const MAX_ROOT_DISTANCE_MS = 16_000;
/** Seconds from 1900 to 1970, and those of an era. */
const UNIX_EPOCH_S = 2_208_988_800;
const ERA_S = 2 ** 32;

/** What a datagram is to the one who asked. `foreign`: no answer to this question; the wait goes on. Times are Unix milliseconds. */
export type SntpAnswer =
  | { readonly kind: 'time'; readonly receivedMs: number; readonly transmittedMs: number; readonly rootDistanceMs: number }
  | { readonly kind: 'refused'; readonly why: string }
  | { readonly kind: 'foreign' };

/** A client's request that tells nothing of this machine: the transmit timestamp is a nonce, and everything else is zero. */
export function encodeSntpRequest(nonce: Uint8Array): Uint8Array {
  if (nonce.length !== NONCE_BYTES) throw new RangeError(`encodeSntpRequest: ${nonce.length} bytes`);
  const out = new Uint8Array(MESSAGE_BYTES);
  out[0] = (VERSION << 3) | MODE.client;
  out.set(nonce, AT.transmitted);
  return out;
}

/** Reads the answer to the request with this nonce. What may follow the 48 bytes (extensions, a MAC) is not looked at. */
export function readSntpAnswer(bytes: Uint8Array, nonce: Uint8Array): SntpAnswer {
  const foreign = { kind: 'foreign' } as const;
  if (bytes.length < MESSAGE_BYTES) return foreign;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [leap, version, mode] = [view.getUint8(0) >> 6, (view.getUint8(0) >> 3) & 7, view.getUint8(0) & 7];
  if (mode !== MODE.server || version !== VERSION) return foreign;
  // Whoever does not see the request cannot guess these 64 bits.
  if (!nonce.every((byte, at) => bytes[AT.origin + at] === byte)) return foreign;
  const stratum = view.getUint8(AT.stratum);
  if (stratum === 0) return { kind: 'refused', why: kissText(bytes.subarray(AT.referenceId, AT.referenceId + 4)) };
  if (stratum > MAX_STRATUM || leap === UNSYNCHRONIZED) return { kind: 'refused', why: 'it is not synchronized itself' };
  const rootDistanceMs = (Math.abs(view.getInt32(AT.rootDelay)) / 2 + view.getUint32(AT.rootDispersion)) / 65.536;
  if (rootDistanceMs >= MAX_ROOT_DISTANCE_MS) return { kind: 'refused', why: 'it is too far from a real clock itself' };
  const [receivedMs, transmittedMs] = [readTimestamp(view, AT.received), readTimestamp(view, AT.transmitted)];
  if (receivedMs === undefined || transmittedMs === undefined || transmittedMs < receivedMs)
    return { kind: 'refused', why: 'its times make no sense' };
  return { kind: 'time', receivedMs, transmittedMs, rootDistanceMs };
}

/** The offset of the server's clock from ours and how wrong that may be (RFC 4330 section 5). */
export function clockOffset(
  answer: SntpAnswer & { readonly kind: 'time' },
  sentMs: number,
  heardMs: number,
): { readonly offsetMs: number; readonly uncertaintyMs: number } {
  const roundTripMs = Math.max(0, heardMs - sentMs - (answer.transmittedMs - answer.receivedMs));
  const offsetMs = (answer.receivedMs - sentMs + (answer.transmittedMs - heardMs)) / 2;
  // Our own clock is read in whole milliseconds.
  return { offsetMs, uncertaintyMs: roundTripMs / 2 + answer.rootDistanceMs + 1 };
}

/** RFC 4330 section 3: with the first bit set the years are 1968 to 2036, without it 2036 to 2104. Zero is no time. */
function readTimestamp(view: DataView, at: number): number | undefined {
  const [seconds, fraction] = [view.getUint32(at), view.getUint32(at + 4)];
  if (seconds === 0 && fraction === 0) return undefined;
  const era = seconds >= ERA_S / 2 ? 0 : ERA_S;
  const unixMs = (seconds + era - UNIX_EPOCH_S) * 1000 + (fraction * 1000) / ERA_S;
  return unixMs >= 0 ? unixMs : undefined;
}

/** RFC 5905 section 7.4: four letters. DENY and RSTR: never ask again; RATE: less often. */
function kissText(code: Uint8Array): string {
  const text = String.fromCharCode(...code);
  return /^[A-Z]{4}$/.test(text) ? `it sends us away (${text})` : 'it sends us away';
}
