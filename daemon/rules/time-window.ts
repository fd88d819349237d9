// Until when a time window of the rules holds. Whether it holds in a given minute is node-cron's word; how far that goes on is worked out here.
// Pure but for a cache of what was parsed: the moment is an argument, the host's clock is never read.
import { createTask, parse } from 'node-cron';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';

/** Holds in each minute whose local time matches one of the cron forms. Plain data, so that a thread can hand it over. */
export type TimeWindow = {
  /** Five fields each, checked when the rules were read. Unlike in crontab(5), day of month and weekday must both match. */
  readonly cron: readonly string[];
  /** As in Europe/Berlin. */
  readonly timezone: string;
};

const MINUTE_MS = 60_000;
const HOUR_MINUTES = 60;
const DAY_MINUTES = 1440;
const QUARTER_MS = 15 * MINUTE_MS;

// Tunable
/**
 * A year of days, and the hours of those with a change of the clock; about 50 ms at worst. A window that is patched together from parts of hours
 * would take more for months on end: there the answer is too early, never too late.
 */
const MOST_STEPS = 1000;
const PATTERNS_KEPT = 1000;
/** A month. */
const QUARTERS_AHEAD = 31 * 96;

/** When the window that holds at `now` ends, at most `until`; undefined when none holds at `now`. */
export function windowEnd(window: TimeWindow, now: UnixMs, until: UnixMs): UnixMs | undefined {
  const patterns = window.cron.map((cron) => patternOf(cron, window.timezone));
  const start = Math.floor(now / MINUTE_MS) * MINUTE_MS;
  let at = start;
  for (let steps = 0; steps < MOST_STEPS && at < until; steps += 1) {
    const holding = patterns.find((pattern) => pattern.holdsIn(at));
    if (holding === undefined) break;
    at = stretchEnd(holding, at);
  }
  if (at === start) return undefined;
  return unixMs(Math.min(at, until));
}

/** Whether the window holds in any minute from `now` to `until`, at most a month ahead. Looks at each quarter of an hour: 30 ms at worst. */
export function holdsWithin(window: TimeWindow, now: UnixMs, until: UnixMs): boolean {
  const last = Math.min(until, now + QUARTERS_AHEAD * QUARTER_MS);
  return window.cron.some((cron) => {
    const pattern = patternOf(cron, window.timezone);
    // No zone's hour begins within a quarter of an hour: where the hour does not match, none of its minutes does.
    const hours = patternOf(cron.trim().replace(/^\S+/, '*'), window.timezone);
    for (let quarter = Math.floor(now / QUARTER_MS) * QUARTER_MS; quarter < last; quarter += QUARTER_MS) {
      if (!hours.holdsIn(quarter)) continue;
      for (let at = Math.max(quarter, Math.floor(now / MINUTE_MS) * MINUTE_MS); at < Math.min(quarter + QUARTER_MS, last); at += MINUTE_MS)
        if (pattern.holdsIn(at)) return true;
    }
    return false;
  });
}

/** The first minute after `now` in which the window holds, at most a month ahead; undefined when there is none. For a window that does not hold now. */
export function windowStart(window: TimeWindow, now: UnixMs): UnixMs | undefined {
  const first = Math.floor(now / QUARTER_MS);
  for (let quarter = first; quarter < first + QUARTERS_AHEAD; quarter += 1) {
    const from = Math.max(now, quarter * QUARTER_MS);
    if (!holdsWithin(window, unixMs(from), unixMs((quarter + 1) * QUARTER_MS))) continue;
    for (let at = Math.floor(from / MINUTE_MS) * MINUTE_MS; at < (quarter + 1) * QUARTER_MS; at += MINUTE_MS)
      if (windowEnd(window, unixMs(at), unixMs(at + 1)) !== undefined) return unixMs(at);
  }
  return undefined;
}

/** `wholeHours`: no minute is left out of any hour. `wholeDays`: and no hour of any day. */
type Pattern = {
  readonly holdsIn: (minuteMs: number) => boolean;
  readonly wholeHours: boolean;
  readonly wholeDays: boolean;
  readonly minuteOfDay: (ms: number) => number;
};

/**
 * The first minute that has to be looked at again when the pattern holds at `at`. It jumps to the end of the local day or hour only if the local
 * clock runs through until then: where it is set forward (the gap) or back (the overlap) it goes on in smaller steps.
 */
function stretchEnd({ wholeHours, wholeDays, minuteOfDay }: Pattern, at: number): number {
  if (!wholeHours) return at + MINUTE_MS;
  const minute = minuteOfDay(at);
  if (wholeDays) {
    const midnight = at + (DAY_MINUTES - minute) * MINUTE_MS;
    if (minuteOfDay(midnight - MINUTE_MS) === DAY_MINUTES - 1) return midnight;
  }
  const rest = HOUR_MINUTES - (minute % HOUR_MINUTES);
  const nextHour = at + rest * MINUTE_MS;
  return minuteOfDay(nextHour - MINUTE_MS) === minute + rest - 1 ? nextHour : at + MINUTE_MS;
}

const kept = new Map<string, Pattern>();

function patternOf(cron: string, timezone: string): Pattern {
  const key = `${timezone} ${cron}`;
  const known = kept.get(key);
  if (known !== undefined) return known;
  if (kept.size >= PATTERNS_KEPT) kept.clear();
  const pattern = makePattern(cron, timezone);
  kept.set(key, pattern);
  return pattern;
}

function makePattern(cron: string, timezone: string): Pattern {
  // Never started: it is only asked which minutes match. Destroyed, so that node-cron's list of tasks does not hold it.
  const task = createTask(cron, () => undefined, { timezone });
  void task.destroy();
  const { minute, hour } = parse(cron);
  const wholeHours = new Set(minute).size === HOUR_MINUTES;
  const clock = new Intl.DateTimeFormat('en-US', { timeZone: timezone, hourCycle: 'h23', hour: '2-digit', minute: '2-digit' });
  return {
    holdsIn: (minuteMs) => task.match(new Date(minuteMs)),
    wholeHours,
    wholeDays: wholeHours && new Set(hour).size === DAY_MINUTES / HOUR_MINUTES,
    minuteOfDay: (ms) => {
      const [hours = 0, minutes = 0] = clock.format(ms).split(':').map(Number);
      return hours * HOUR_MINUTES + minutes;
    },
  };
}
