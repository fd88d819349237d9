// Decides which one-time tags exist and when (SPEC 4). Does not know which were used: that is the ledger's.
import { createHmac } from 'node:crypto';
import { type UnixMs, unixMs } from './brand.ts';
import type { Pairing } from './pairing.ts';

// Fixed by SPEC 4.
export const WINDOW_MS = 60_000;
export const TAG_BYTES = 16;
export const DEFAULT_SLOTS = 16;
export const MAX_SLOTS = 64;

/** u64 window ‖ u8 slot */
const TAG_INPUT = { window: 0, slot: 8, bytes: 9 } as const;

/** The window that a moment lies in. */
export function windowOf(time: UnixMs): number {
  return Math.floor(time / WINDOW_MS);
}

/** The first millisecond of a window. */
export function windowStartMs(window: number): UnixMs {
  return unixMs(window * WINDOW_MS);
}

/** SPEC 4.2: the windows that meet [now − tolerance, now + tolerance], both ends included. */
export function acceptedWindows(now: UnixMs, toleranceMs: number): { readonly first: number; readonly last: number } {
  return { first: Math.floor(Math.max(0, now - toleranceMs) / WINDOW_MS), last: Math.floor((now + toleranceMs) / WINDOW_MS) };
}

/** SPEC 4.1: the tag of one slot in one window. */
export function tagOf(pairing: Pairing, window: number, slot: number): Uint8Array {
  if (!Number.isInteger(slot) || slot < 0 || slot >= MAX_SLOTS) throw new RangeError(`tagOf: not a slot: ${slot}`);
  if (!Number.isSafeInteger(window) || window < 0) throw new RangeError(`tagOf: not a window: ${window}`);
  const input = new DataView(new ArrayBuffer(TAG_INPUT.bytes));
  input.setBigUint64(TAG_INPUT.window, BigInt(window));
  input.setUint8(TAG_INPUT.slot, slot);
  return new Uint8Array(createHmac('sha256', pairing.tagKey).update(input).digest().subarray(0, TAG_BYTES));
}
