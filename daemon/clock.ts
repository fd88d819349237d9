// The three clocks of a Linux host. The only file of the daemon that reads them; everything else takes a Clock.
import { uptime } from 'node:os';
import { type Brand, type UnixMs, unixMs } from '../protocol/brand.ts';

/** CLOCK_MONOTONIC in milliseconds: does not count suspend, never steps. Kernel set timeouts run by it. */
export type MonotonicMs = Brand<number, 'MonotonicMs'>;
/** CLOCK_BOOTTIME in milliseconds: counts suspend, never steps. */
export type BootMs = Brand<number, 'BootMs'>;

export type Clock = {
  readonly wall: () => UnixMs;
  readonly monotonic: () => MonotonicMs;
  readonly boot: () => BootMs;
};

export const systemClock: Clock = {
  wall: () => unixMs(Date.now()),
  monotonic: () => monotonicMs(Number(process.hrtime.bigint() / 1_000_000n)),
  boot: () => (uptime() * 1000) as BootMs,
};

export function monotonicMs(value: number): MonotonicMs {
  return value as MonotonicMs;
}
