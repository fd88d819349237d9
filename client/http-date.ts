// Reads the time that an HTTP answer carries (RFC 9110 section 5.6.7, the form that servers must write). Pure.

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const IMF_FIXDATE = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;

/** Unix milliseconds of `Sun, 06 Nov 1994 08:49:37 GMT`; undefined for what is not exactly that. */
export function parseHttpDate(text: string): number | undefined {
  const [, day = '', monthName = '', year = '', hour = '', minute = '', second = ''] = IMF_FIXDATE.exec(text) ?? [];
  const month = MONTHS.indexOf(monthName);
  if (month < 0) return undefined;
  const ms = Date.UTC(Number(year), month, Number(day), Number(hour), Number(minute), Number(second));
  // What does not come back the same had a day or an hour that does not exist.
  return ms >= 0 && new Date(ms).toUTCString() === text ? ms : undefined;
}

/**
 * Our offset from a clock that was read somewhere between `sentMs` and `heardMs` of ours, and is cut to whole seconds. `ageSeconds`: how long a
 * cache had kept it.
 */
export function dateOffset(
  dateMs: number,
  ageSeconds: number,
  sentMs: number,
  heardMs: number,
): { readonly offsetMs: number; readonly uncertaintyMs: number } {
  const [least, most] = [dateMs + ageSeconds * 1000 - heardMs, dateMs + ageSeconds * 1000 + 1000 - sentMs];
  return { offsetMs: (least + most) / 2, uncertaintyMs: (most - least) / 2 };
}
