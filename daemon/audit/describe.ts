// One line of the audit log as a person reads it: when, what, who, from where, to what, and why. Pure.
import { z } from 'zod';
import { formatDuration } from '../../protocol/duration.ts';
import { safeText } from '../safe-text.ts';

const text = z.string().transform((value) => safeText(value));
const Asked = z.looseObject({ services: z.array(text).optional() });

/** What a line may hold that is shown. Everything in it was written by some posternd, or by whoever changed the file. */
export const Shown = z.looseObject({
  n: z.number(),
  time: z.string(),
  event: text,
  client: text.optional(),
  address: text.optional(),
  services: z.array(text).optional(),
  grants: z.array(text).optional(),
  by: text.optional(),
  opened_by: text.optional(),
  lifetime_seconds: z.number().optional(),
  prolonged: z.boolean().optional(),
  reason: text.optional(),
  detail: text.optional(),
  why: text.optional(),
  count: z.number().optional(),
  since: z.string().optional(),
  until: z.string().optional(),
  bytes: z.number().optional(),
  user: z.number().nullable().optional(),
  command: text.optional(),
  version: text.optional(),
  clients: z.number().optional(),
  previous_file: text.nullable().optional(),
  knock: z.looseObject({ asked: Asked.nullable().optional() }).optional(),
});
export type Shown = z.infer<typeof Shown>;

/** The line's fields, or undefined for what is no line. */
export function readShown(json: string): Shown | undefined {
  try {
    const shown = Shown.safeParse(JSON.parse(json));
    return shown.success && !Number.isNaN(Date.parse(shown.data.time)) ? shown.data : undefined;
  } catch {
    return undefined;
  }
}

const LONGEST_EVENT = 13;

/** `2026-11-21 17:20:01  granted        alice from 192.0.2.7 to ssh for 30s (g17)`; in local time. */
export function describeEntry(shown: Shown): string {
  return `${localTime(new Date(shown.time))}  ${shown.event.padEnd(LONGEST_EVENT)}  ${sentence(shown)}`.trimEnd();
}

/** `2026-11-21 17:20:01` where this command runs. */
export function localTime(at: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

function sentence(shown: Shown): string {
  const { event, client = '?', address = '?', services = [], why = '' } = shown;
  const who = client === '-' ? address : `${client} from ${address}`;
  const which = shown.grants === undefined || shown.grants.length === 0 ? '' : ` (${shown.grants.join(', ')})`;
  switch (event) {
    case 'granted': {
      const long = formatDuration(shown.lifetime_seconds ?? 0);
      const hand = shown.by === 'administrator' ? ', by an administrator' : '';
      return `${who} to ${services.join(', ')} for ${long}${shown.prolonged === true ? ', prolonged' : ''}${hand}${which}`;
    }
    case 'refused': {
      const asked = shown.knock?.asked?.services ?? [];
      const wish = asked.length === 0 ? '' : `, asked for ${asked.join(', ')}`;
      return `${who}: ${shown.reason ?? '?'}${shown.detail === undefined ? '' : ` (${shown.detail})`}${wish}`;
    }
    case 'closed':
    case 'revoked':
    case 'ended':
      return `${who}${services.length === 0 ? '' : ` to ${services.join(', ')}`}: ${why}${which}`;
    case 'order':
      return `${shown.user === 0 ? 'root' : `user ${shown.user ?? '?'}`}: posternd ${shown.command ?? '?'}`;
    case 'start':
      return `posternd ${shown.version ?? '?'}, ${inTheRules(shown.clients)}`;
    case 'reload':
      return inTheRules(shown.clients);
    case 'reload-failed':
      return `the old rules hold: ${why}`;
    case 'lost':
      return `${shown.count ?? '?'} entries could not be written, ${localTimeOf(shown.since)} to ${localTimeOf(shown.until)}`;
    case 'damaged':
      return `the line before this one is not whole (${shown.bytes ?? '?'} bytes)`;
    case 'begin':
      return beginning(shown);
    default:
      return '';
  }
}

function inTheRules(clients: number | undefined): string {
  return `${clients ?? '?'} ${clients === 1 ? 'client' : 'clients'} in the rules`;
}

function beginning({ why, previous_file }: Shown): string {
  const before = previous_file === null || previous_file === undefined ? '' : `; what was before is in ${previous_file}`;
  switch (why) {
    case 'first':
      return 'the log begins';
    case 'cut':
      return `this file was cut by somebody (logrotate with copytruncate?)${before}`;
    case 'unreadable':
      return `no line to go on from was found: a new chain begins${before}`;
    default:
      return `a new file${before}`;
  }
}

function localTimeOf(time: string | undefined): string {
  const at = new Date(time ?? '');
  return Number.isNaN(at.getTime()) ? '?' : localTime(at);
}
