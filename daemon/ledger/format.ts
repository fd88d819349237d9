// The bytes of a ledger file, as docs/ledger.md draws them: encodes and decodes. Reads no file, decides nothing.
import { createHash } from 'node:crypto';
import type { PublicKey } from '../../protocol/identity.ts';
import { crc32 } from './crc32.ts';
import type { WindowRange } from './ledger.ts';

// Fixed by docs/ledger.md. What is overwritten in place has a page of its own, so that no write can tear its neighbor.
export const RECORD_BYTES = 32;
export const HEADER_BYTES = 64;
export const SLOT_BYTES = 128;
export const COUNT_BYTES = 8;
export const HEADER_AT = 0;
export const SLOT_AT = [4096, 8192] as const;
export const COUNT_AT = 12288;
export const RECORDS_AT = 16384;
export const PAIR_BYTES = 16;
/** Windows and ages are stored as u32: enough until the year 10135. */
export const LAST_WINDOW = 0xffff_ffff;
export const LAST_SLOT = 63;

const MAGIC = Buffer.from('POSTLEDG', 'latin1');
const VERSION = 1;
/** Ranges that one status can name. */
export const EXPOSED_MAX = 9;

const RECORD = { kind: 0, slot: 1, window: 4, pair: 8, last: 8, age: 24, crc: 28 } as const;
const SLOT = { sequence: 0, state: 4, ranges: 5, bootId: 8, age: 24, durable: 28, exposed: 32 } as const;

const STATES = ['running', 'clean', 'elsewhere'] as const;
const KIND_MARK = 1;
const KIND_BAR = 2;
const KIND_PROBE = 3;

/** What the ledger knew when it last wrote to the disk and waited: enough to decide after a crash what may be missing. */
export type Status = {
  readonly sequence: number;
  /** `elsewhere`: running, and marks are in the other place's file too, which must be there. */
  readonly state: (typeof STATES)[number];
  /** SHA-256 of the kernel's boot id, cut. */
  readonly bootId: Uint8Array;
  /** Windows whose marks may be missing from the disk while this status is the newest one there: those that are open. */
  readonly exposed: readonly WindowRange[];
  /** Minutes that daemons have run with this ledger: the age of marks is counted by it, never by the wall clock (P13). */
  readonly ageMinutes: number;
  /** Records that the same fsync made durable. */
  readonly durableRecords: number;
};

export type LedgerRecord =
  | { readonly kind: 'mark'; readonly pair: string; readonly window: number; readonly slot: number; readonly ageMinutes: number }
  | { readonly kind: 'bar'; readonly range: WindowRange; readonly ageMinutes: number }
  | { readonly kind: 'probe' };

/** Who signed for whom, as the ledger names it: 16 bytes of SHA-256(C ‖ S), one byte to a character. */
export function pairOf(client: PublicKey, server: PublicKey): string {
  return createHash('sha256').update(client).update(server).digest().toString('latin1', 0, PAIR_BYTES);
}

export function bootIdBytes(bootId: string): Uint8Array {
  return createHash('sha256').update(bootId.trim()).digest().subarray(0, 16);
}

export function encodeHeader(): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUInt32BE(VERSION, 8);
  bytes.writeUInt32BE(RECORD_BYTES, 12);
  return sealed(bytes);
}

/** Undefined when the header is that of a ledger this version can read; else what is wrong with it. */
export function headerFault(bytes: Buffer): string | undefined {
  if (bytes.length < HEADER_BYTES) return 'it is shorter than a header';
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return 'it does not start like a ledger';
  if (!isSealed(bytes)) return 'the checksum of its header is wrong';
  if (bytes.readUInt32BE(8) !== VERSION) return `its format is version ${bytes.readUInt32BE(8)}, this daemon reads version ${VERSION}`;
  return bytes.readUInt32BE(12) === RECORD_BYTES ? undefined : 'its records have another length';
}

export function encodeStatus(status: Status): Buffer {
  const bytes = Buffer.alloc(SLOT_BYTES);
  bytes.writeUInt32BE(status.sequence, SLOT.sequence);
  bytes.writeUInt8(STATES.indexOf(status.state) + 1, SLOT.state);
  bytes.set(status.bootId, SLOT.bootId);
  const exposed = status.exposed.slice(-EXPOSED_MAX);
  bytes.writeUInt8(exposed.length, SLOT.ranges);
  for (const [index, range] of exposed.entries()) {
    bytes.writeUInt32BE(range.first, SLOT.exposed + index * 8);
    bytes.writeUInt32BE(range.last, SLOT.exposed + index * 8 + 4);
  }
  bytes.writeUInt32BE(status.ageMinutes, SLOT.age);
  bytes.writeUInt32BE(status.durableRecords, SLOT.durable);
  return sealed(bytes);
}

/** Undefined when the bytes are torn or damaged. */
export function decodeStatus(bytes: Buffer): Status | undefined {
  if (bytes.length < SLOT_BYTES || !isSealed(bytes)) return undefined;
  const state = STATES[bytes.readUInt8(SLOT.state) - 1];
  const ranges = bytes.readUInt8(SLOT.ranges);
  if (state === undefined || ranges > EXPOSED_MAX) return undefined;
  return {
    sequence: bytes.readUInt32BE(SLOT.sequence),
    state,
    bootId: Uint8Array.from(bytes.subarray(SLOT.bootId, SLOT.bootId + 16)),
    exposed: Array.from({ length: ranges }, (_, index) => ({
      first: bytes.readUInt32BE(SLOT.exposed + index * 8),
      last: bytes.readUInt32BE(SLOT.exposed + index * 8 + 4),
    })),
    ageMinutes: bytes.readUInt32BE(SLOT.age),
    durableRecords: bytes.readUInt32BE(SLOT.durable),
  };
}

/** The number of records, written after each: a file that was cut at the border of a record betrays itself by it. */
export function encodeCount(count: number): Buffer {
  const bytes = Buffer.allocUnsafe(COUNT_BYTES);
  bytes.writeUInt32BE(count, 0);
  bytes.writeUInt32BE(crc32(bytes, 0, 4), 4);
  return bytes;
}

export function decodeCount(bytes: Buffer): number | undefined {
  if (bytes.length < COUNT_BYTES || bytes.readUInt32BE(4) !== crc32(bytes, 0, 4)) return undefined;
  return bytes.readUInt32BE(0);
}

export function encodeRecord(record: LedgerRecord): Buffer {
  const bytes = Buffer.alloc(RECORD_BYTES);
  switch (record.kind) {
    case 'mark':
      bytes.writeUInt8(KIND_MARK, RECORD.kind);
      bytes.writeUInt8(record.slot, RECORD.slot);
      bytes.writeUInt32BE(record.window, RECORD.window);
      bytes.write(record.pair, RECORD.pair, PAIR_BYTES, 'latin1');
      bytes.writeUInt32BE(record.ageMinutes, RECORD.age);
      break;
    case 'bar':
      bytes.writeUInt8(KIND_BAR, RECORD.kind);
      bytes.writeUInt32BE(record.range.first, RECORD.window);
      bytes.writeUInt32BE(record.range.last, RECORD.last);
      bytes.writeUInt32BE(record.ageMinutes, RECORD.age);
      break;
    case 'probe':
      bytes.writeUInt8(KIND_PROBE, RECORD.kind);
      break;
  }
  bytes.writeUInt32BE(crc32(bytes, 0, RECORD.crc), RECORD.crc);
  return bytes;
}

/** Undefined when the bytes at `at` are torn, damaged or were never written. */
export function decodeRecord(bytes: Buffer, at: number): LedgerRecord | undefined {
  if (!isRecord(bytes, at)) return undefined;
  const window = bytes.readUInt32BE(at + RECORD.window);
  const ageMinutes = bytes.readUInt32BE(at + RECORD.age);
  switch (bytes.readUInt8(at + RECORD.kind)) {
    case KIND_MARK: {
      const pair = bytes.toString('latin1', at + RECORD.pair, at + RECORD.pair + PAIR_BYTES);
      return { kind: 'mark', pair, window, slot: bytes.readUInt8(at + RECORD.slot), ageMinutes };
    }
    case KIND_BAR:
      return { kind: 'bar', range: { first: window, last: bytes.readUInt32BE(at + RECORD.last) }, ageMinutes };
    case KIND_PROBE:
      return { kind: 'probe' };
    default:
      return undefined;
  }
}

/** A mark's window without decoding the rest: loading a million marks looks into few of them. Undefined: not a mark. */
export function markedWindow(bytes: Buffer, at: number): number | undefined {
  return bytes.readUInt8(at + RECORD.kind) === KIND_MARK ? bytes.readUInt32BE(at + RECORD.window) : undefined;
}

/** The age at which a mark or a bar was written. Undefined: a probe, worth nothing. */
export function recordAge(bytes: Buffer, at: number): number | undefined {
  return bytes.readUInt8(at + RECORD.kind) === KIND_PROBE ? undefined : bytes.readUInt32BE(at + RECORD.age);
}

export function isRecord(bytes: Buffer, at: number): boolean {
  return bytes.readUInt32BE(at + RECORD.crc) === crc32(bytes, at, at + RECORD.crc);
}

function sealed(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32(bytes, 0, bytes.length - 4), bytes.length - 4);
  return bytes;
}

function isSealed(bytes: Buffer): boolean {
  return bytes.readUInt32BE(bytes.length - 4) === crc32(bytes, 0, bytes.length - 4);
}
