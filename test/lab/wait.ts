// Waiting for something to become true, with a deadline. Never a bare sleep: a test says what it waits for.
import { setTimeout as delay } from 'node:timers/promises';

export type WaitOptions = { readonly deadlineMs?: number; readonly intervalMs?: number; readonly what?: string };

/**
 * Calls `probe` until it gives something other than `false`, `undefined` or `null`, and gives that back.
 * A probe that throws counts as "not yet"; its last error is the cause of the failure at the deadline.
 */
export async function waitFor<T>(probe: () => T | Promise<T>, options: WaitOptions = {}): Promise<Exclude<T, false | undefined | null>> {
  const { deadlineMs = 10_000, intervalMs = 10, what = 'a condition' } = options;
  const end = performance.now() + deadlineMs;
  let cause: unknown;
  for (;;) {
    try {
      const value = await probe();
      cause = undefined;
      if (value !== false && value !== undefined && value !== null) return value as Exclude<T, false | undefined | null>;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= end) throw new Error(`waited ${deadlineMs} ms for ${what} in vain`, cause === undefined ? {} : { cause });
    await delay(intervalMs);
  }
}
