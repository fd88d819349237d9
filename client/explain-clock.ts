// What is said about this machine's clock: beside a knock that worked, and among the causes of one that did not. Pure.
import { quote } from './quote.ts';
import { type Clock, correctionMs, offsetText } from './time-source.ts';

// Tunable. What a clock that nobody watches is off by; a server tolerates much more.
const WORTH_SAYING_MS = 5000;

/** A remark beside the result, or none. */
export function clockNote(clock: Clock): string | undefined {
  if (clock.kind === 'unknown') return `the clock that --time names was not to be had (${clock.why}): signed by this machine's own`;
  if (clock.kind === 'system' || Math.abs(clock.offsetMs) < WORTH_SAYING_MS) return undefined;
  return `this machine's clock is ${offsetText(clock.offsetMs)} ${clock.source}: the knock was signed with the corrected time`;
}

/** A hint after a knock in vain. `likely`: it should stand before the others. `nowText`: this machine's time. */
export function clockHint(
  clock: Clock,
  hostClock: (Clock & { readonly kind: 'measured' }) | undefined,
  host: string,
  nowText: string,
): { readonly text: string; readonly likely: boolean } {
  const unchecked = `this machine's clock is off by more than a minute: it says ${nowText}`;
  switch (clock.kind) {
    case 'unknown':
      return { text: `${unchecked} (${clock.why})`, likely: false };
    case 'measured':
      return {
        text: `the clock is not the cause, unless ${clock.source} is wrong: ${clockNote(clock) ?? "this machine's agrees with it"}`,
        likely: false,
      };
    case 'system':
      if (hostClock === undefined) return { text: `${unchecked}; compare, or name a clock with --time`, likely: false };
      if (correctionMs(hostClock) === 0 || Math.abs(hostClock.offsetMs) < WORTH_SAYING_MS)
        return { text: `hardly the clock: this machine's agrees with that of ${quote(host)} (${hostClock.source} says so)`, likely: false };
      return {
        text: `this machine's clock is ${offsetText(hostClock.offsetMs)} that of ${quote(host)} (${hostClock.source} says so, which proves nothing): set it, or name a clock that you trust with --time`,
        likely: true,
      };
  }
}
