// Preloaded into a daemon (`node --import`): measures what its event loop cannot do meanwhile, and tells it over IPC when asked.
// It changes nothing in the daemon. A stall counts without the time for which the kernel gave the processor to others.
import { closeSync, openSync, readSync } from 'node:fs';
import { PerformanceObserver, performance } from 'node:perf_hooks';
import type { StallReport } from './stall-report.ts';

const TICK_MS = 2;
const MOST_KEPT = 10;

const schedule = openSync('/proc/self/schedstat', 'r');
const line = Buffer.alloc(128);
process.on('exit', () => closeSync(schedule));

/** proc(5) schedstat of the main thread: time on the processor, time waiting for one, in nanoseconds. */
function schedstat(): { readonly ranMs: number; readonly waitedMs: number } {
  const [ran = 0, waited = 0] = line
    .toString('latin1', 0, readSync(schedule, line, 0, line.length, 0))
    .split(' ')
    .map(Number);
  return { ranMs: ran / 1e6, waitedMs: waited / 1e6 };
}

let stalls: number[] = [];
let workedMs = 0;
let ticks = 0;
let sinceMs = performance.now();
let cpuSince = process.cpuUsage();
let peakBytes = process.memoryUsage.rss();
let last = { atMs: performance.now(), ...schedstat() };

function look(): void {
  const now = { atMs: performance.now(), ...schedstat() };
  const stallMs = now.atMs - last.atMs - TICK_MS - (now.waitedMs - last.waitedMs);
  // What it does within a turn's time is no stall.
  if (stallMs > 0) workedMs = Math.max(workedMs, now.ranMs - last.ranMs);
  ticks += 1;
  last = now;
  if (ticks % 50 === 0) peakBytes = Math.max(peakBytes, process.memoryUsage.rss());
  if (stallMs < TICK_MS) return;
  stalls.push(stallMs);
  if (stalls.length > 1000) stalls = worst(MOST_KEPT);
}

function worst(count: number): number[] {
  return stalls.toSorted((a, b) => b - a).slice(0, count);
}

setInterval(look, TICK_MS).unref();

let longestCollectionMs = 0;
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) longestCollectionMs = Math.max(longestCollectionMs, duration);
}).observe({ entryTypes: ['gc'] });

process.on('message', (message: unknown) => {
  const { id } = message as { readonly id: number };
  look();
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  const cpu = process.cpuUsage(cpuSince);
  const report: StallReport = {
    stallsMs: worst(MOST_KEPT),
    workedMs,
    longestCollectionMs,
    rssMiB: rss / 2 ** 20,
    heapMiB: heapUsed / 2 ** 20,
    buffersMiB: arrayBuffers / 2 ** 20,
    peakMiB: Math.max(rss, peakBytes) / 2 ** 20,
    cpuMs: (cpu.user + cpu.system) / 1000,
    elapsedMs: performance.now() - sinceMs,
  };
  process.send?.({ id, answer: report });
  stalls = [];
  workedMs = 0;
  longestCollectionMs = 0;
  sinceMs = performance.now();
  cpuSince = process.cpuUsage();
  peakBytes = rss;
  last = { atMs: performance.now(), ...schedstat() };
});
// The channel alone must not keep a daemon alive that wants to end, nor end it when the benchmark is gone.
process.channel?.unref();
process.on('disconnect', () => undefined);
