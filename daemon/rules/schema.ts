// Every key of a rule file: what it may hold. The JSON Schema for editors comes from here too (config/json-schema.ts).

import { isIP } from 'node:net';
import { validate as isCron } from 'node-cron';
import { z } from 'zod';
import { parsePublicLine } from '../../protocol/openssh.ts';
import { duration, network, oneOrMore, path, portsOrName, right, text, wrong } from '../config/fields.ts';
import { quoted } from '../problem.ts';
import { parseExpiry } from './expiry.ts';

const YEAR_S = 365 * 86400;
const LIFETIME = duration(1, YEAR_S, 'between 1s and 365d');

/** Ends up in logs, in argv of hooks and on terminals (P33, P34), and must not be mistaken for an option or an address. */
const clientName = text((raw) => {
  if (!/^[A-Za-z0-9._@-]{1,64}$/.test(raw)) return wrong(`not a client name: ${quoted(raw)}`, 'use 1 to 64 of letters, digits and . _ @ -');
  if (/^[.-]/.test(raw)) return wrong(`not a client name: ${quoted(raw)}`, 'begin it with a letter or a digit');
  if (isIP(raw) !== 0) return wrong(`not a client name: ${quoted(raw)} is an address`, 'choose a name');
  return right(raw);
}, '^[A-Za-z0-9_@][A-Za-z0-9._@-]{0,63}$');

const publicLine = text(parsePublicLine, '^ssh-ed25519 AAAA[A-Za-z0-9+/]+={0,2}( .*)?$');

const cronForm = text((raw) => {
  if (raw.trim().split(/\s+/).length !== 5)
    return wrong(`not a time window: ${quoted(raw)}`, 'write five fields: minute hour day month weekday');
  // node-cron writes every number of a range down before it looks whether they are minutes: 0-999999999 would take the process with it.
  const mayBeRead = !/\d{3}/.test(raw);
  if (mayBeRead && isCron(raw)) return right(raw);
  const [minute, hour, day, month, weekday] = raw.trim().split(/\s+/);
  // Each field means something, and together they never come: 30 2 is the 30th of February.
  if (mayBeRead && isCron(`${minute} ${hour} ${day} * ${weekday}`) && isCron(`${minute} ${hour} * ${month} ${weekday}`))
    return wrong(`this time window never comes: ${quoted(raw)} names a day that no such month has`, 'correct the day or the month');
  return wrong(`not a time window: ${quoted(raw)}`, 'write it as in cron, "* 8-17 * * mon-fri"');
});

const zone = text((raw) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: raw });
    return right(raw);
  } catch {
    return wrong(`no time zone is called ${quoted(raw)}`, 'write a name like Europe/Berlin or UTC');
  }
});

const hook = z.array(z.string().min(1).max(4096)).min(1).max(64);

export const CLIENT_SHAPE = {
  name: clientName.optional().describe('What the log calls this client'),
  key: oneOrMore(publicLine, 16).optional().describe('Its ssh-ed25519 public line, or a list of them'),
  keys_file: path.optional().describe("An authorized_keys file: its ssh-ed25519 lines are this client's keys"),
  expires: text(parseExpiry).optional().describe('Last day (UTC), or a date-time with its zone'),
  psk_file: oneOrMore(path, 2).optional().describe('Pre-shared key: a file of 32 bytes in base64, mode 0600; two while they are exchanged'),
  slots: z.int().min(1).max(64).optional().describe('Knocks a minute (default 16)'),
  enabled: z.boolean().optional().describe('false: this client is refused'),
} as const;

export const REF_SHAPE = { ref: clientName.optional().describe("A client of another file: this file's allow holds for it too") } as const;

export const ALLOW_SHAPE = {
  services: oneOrMore(portsOrName, 256).optional().describe('Names or ports that this entry gives'),
  default: z.boolean().optional().describe('true: given when a knock names nothing (default true)'),
  from: z.array(network).min(1).max(4096).optional().describe('Source networks'),
  ttl: LIFETIME.optional().describe('Lifetime when the knock asks for none (default: default_ttl)'),
  max_ttl: LIFETIME.optional().describe('Most that a knock can ask for (default: ttl)'),
  when: oneOrMore(cronForm, 16).optional().describe('Cron form: minutes in which it holds; or a list of them'),
  timezone: zone.optional().describe("Zone of when (default: the host's)"),
  once: z.boolean().optional().describe('true: each grant admits one connection'),
  sessions: z.enum(['keep', 'end']).optional().describe('end: connections end with the grant (default keep)'),
  require_source: z.boolean().optional().describe('true: only knocks that are bound to their source address'),
  on_behalf: z.boolean().optional().describe('true: a knock may be sent for another address'),
  on_open: hook
    .optional()
    .describe('Program and arguments, run when a grant begins; {client}, {address} and others stand for what happened'),
  on_close: hook.optional().describe('Program and arguments, run when a grant has ended'),
} as const;

const FILE_NAME = z.string().min(1).max(200).optional().describe('What this file is for');

/** The same key where it must be there. */
function described<T extends z.ZodType>(required: T, optional: z.ZodType): T {
  return required.describe(optional.description ?? '');
}

/** For editors: the whole file in one schema. */
export const ruleFileSchema = z.strictObject({
  name: FILE_NAME,
  clients: z
    .array(
      z.union([
        z.strictObject({ ...CLIENT_SHAPE, name: described(clientName, CLIENT_SHAPE.name) }),
        z.strictObject({ ref: described(clientName, REF_SHAPE.ref) }),
      ]),
    )
    .nullable()
    .optional()
    .describe('Who may knock'),
  allow: z
    .array(z.strictObject({ ...ALLOW_SHAPE, services: described(oneOrMore(portsOrName, 256), ALLOW_SHAPE.services) }))
    .nullable()
    .optional()
    .describe('What these clients may have; the first entry that matches a request decides it'),
});

/** For the loader, which reads each entry of the lists by itself. */
export const FILE_SHAPE = {
  name: FILE_NAME,
  clients: z.array(z.unknown()).max(100_000).nullable().optional(),
  allow: z.array(z.unknown()).max(1000).nullable().optional(),
} as const;
