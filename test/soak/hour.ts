// What an hour of a busy server has, and how it is pressed into fewer minutes: how many of each, and in which part of the hour. Pure.

/** How often in an hour. */
export const HOUR = {
  /** Valid knocks of a dozen people, each waited for until the door is open. */
  knocks: 3600,
  /** Datagrams of strangers to the knock port, ten a second. */
  junk: 36_000,
  /** Packets that were heard already, from anybody. */
  replays: 1800,
  /** Minutes, and with them the windows of tags: the clock is set forward by what is left of each. */
  windows: 60,
  /** Questions over the control socket. */
  status: 360,
  /** Rules that were changed and are read: half by `posternd reload`, half by SIGHUP. */
  reloads: 24,
  /** The audit log is renamed, as logrotate does it. */
  rotations: 4,
  /** `nft flush ruleset` by somebody else. */
  flushes: 12,
  /** The kernel refuses every change of the firewall for a second. */
  refusals: 6,
  /** Bursts of 2,000 pieces of junk. */
  bursts: 6,
  kills: 6,
  stops: 3,
} as const;
export type Event = keyof typeof HOUR;

/** What ends the process comes in the first part of the hour alone, so that one process lives through the rest and shows whether it grows. */
export const ENDS_BY = 0.35;
/** Of that rest, the first part is warming up. */
export const WARM_UP = 0.25;
const ENDING: readonly Event[] = ['kills', 'stops'];

export type Moment = { readonly atMs: number; readonly event: Event };

/** The moments of these events in `lengthMs`, in order; evenly spread, each kind off the others by a part of its pause. */
export function momentsOf(events: readonly Event[], lengthMs: number): readonly Moment[] {
  const moments = events.flatMap((event, kind) => {
    const spreadMs = ENDING.includes(event) ? lengthMs * ENDS_BY : lengthMs;
    return Array.from({ length: HOUR[event] }, (_, at) => ({
      atMs: ((at + (kind + 1) / (events.length + 1)) * spreadMs) / HOUR[event],
      event,
    }));
  });
  return moments.toSorted((a, b) => a.atMs - b.atMs);
}
