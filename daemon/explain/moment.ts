// The moment that somebody means: "09:30", "2026-11-23 09:30" (the host's zone), or with a zone of its own.
import { type Parsed, parsed, type UnixMs, unixMs, unparsed } from '../../protocol/brand.ts';
import { quoted } from '../problem.ts';

const FORM = /^(?:(\d{4})-(\d\d)-(\d\d)[T ])?(\d\d):(\d\d)(?::(\d\d))?(Z|[+-]\d\d:\d\d)?$/;

/** A time alone is that of today. */
export function parseMoment(text: string, now: UnixMs): Parsed<UnixMs> {
  const match = FORM.exec(text.trim());
  const cure = 'write "09:30", "2026-11-23 09:30" or 2026-11-23T09:30:00Z';
  if (match === null) return unparsed(`not a time: ${quoted(text)}: ${cure}`);
  const [year, month, date, hour, minute, second, zone] = match.slice(1);
  const today = new Date(now);
  const day = [Number(year ?? today.getFullYear()), Number(month ?? today.getMonth() + 1) - 1, Number(date ?? today.getDate())] as const;
  const clock = [Number(hour), Number(minute), Number(second ?? 0)] as const;
  if (clock[0] > 23 || clock[1] > 59 || clock[2] > 59) return unparsed(`no such time: ${quoted(text)}: ${cure}`);
  const utc = new Date(Date.UTC(...day, ...clock));
  if (utc.getUTCDate() !== day[2] || utc.getUTCMonth() !== day[1] || utc.getTime() < 0)
    return unparsed(`no such date: ${quoted(text)}: ${cure}`);
  if (zone === undefined) return parsed(unixMs(new Date(...day, ...clock).getTime()));
  if (zone === 'Z') return parsed(unixMs(utc.getTime()));
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4, 6));
  const at = utc.getTime() - (zone.startsWith('-') ? -minutes : minutes) * 60_000;
  return at < 0 ? unparsed(`no such date: ${quoted(text)}: ${cure}`) : parsed(unixMs(at));
}
