// Dates on which keys and clients end. A date alone lasts to the end of that day in UTC. Pure; reads no clock.
import { type Parsed, parsed, type UnixMs, unixMs, unparsed } from '../../protocol/brand.ts';

const DAY_MS = 86_400_000;

/** Reads `2027-03-31` (until the end of that day, UTC) or a date-time with its zone: `2027-03-31T18:00:00Z`. */
export function parseExpiry(raw: string): Parsed<UnixMs> {
  const match = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?(Z|[+-]\d\d:\d\d)?)?$/.exec(raw);
  if (match === null) return unparsed('not a date: write 2027-03-31, or 2027-03-31T18:00:00Z');
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map((digits) => Number(digits ?? 0));
  const at = utc(year ?? 0, month ?? 0, day ?? 0, hour ?? 0, minute ?? 0, second ?? 0);
  if (at === undefined) return unparsed('no such date or time: write 2027-03-31, or 2027-03-31T18:00:00Z');
  if (match[4] === undefined) return parsed(unixMs(at + DAY_MS));
  const zone = match[7];
  if (zone === undefined) return unparsed('a time needs its zone: write 2027-03-31T18:00:00Z, or +02:00 in place of Z');
  if (zone === 'Z') return parsed(unixMs(at));
  const offsetMinutes = (zone.startsWith('-') ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6)));
  if (Math.abs(offsetMinutes) > 14 * 60) return unparsed('no such zone: write Z, or +02:00');
  return parsed(notBeforeEpoch(at - offsetMinutes * 60_000));
}

/** OpenSSH's `expiry-time=`: YYYYMMDD or YYYYMMDDHHMM[SS], in the host's own zone unless a Z follows. The key ends with that moment. */
export function parseSshExpiry(raw: string): Parsed<UnixMs> {
  const match = /^(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)$/.exec(raw);
  if (match === null) return unparsed('not a time of the form YYYYMMDD[HHMM[SS]][Z]');
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map((digits) => Number(digits ?? 0));
  const at = utc(year, month, day, hour, minute, second);
  if (at === undefined) return unparsed('no such date or time');
  return parsed(notBeforeEpoch(match[7] === 'Z' ? at : new Date(year, month - 1, day, hour, minute, second).getTime()));
}

/** In zones east of Greenwich the first hours of 1970 lie before it. Over is over; anybody can write that into an authorized_keys file. */
function notBeforeEpoch(at: number): UnixMs {
  return unixMs(Math.max(0, at));
}

/** Date.UTC takes the 31st of February for a day in March; we do not. */
function utc(year: number, month: number, day: number, hour: number, minute: number, second: number): number | undefined {
  const at = Date.UTC(year, month - 1, day, hour, minute, second);
  const back = new Date(at);
  const same = back.getUTCFullYear() === year && back.getUTCMonth() === month - 1 && back.getUTCDate() === day;
  return year >= 1970 && same && hour < 24 && minute < 60 && second < 60 ? at : undefined;
}
