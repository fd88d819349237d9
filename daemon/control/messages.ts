// The closed list of what can be asked over the control socket, and what comes back. One JSON object a line, both ways.
import { z } from 'zod';
import { GRANT_KINDS } from '../firewall/firewall.ts';

/** As many as a knock can ask for. */
export const MOST_SERVICES = 16;
export const LONGEST_TEXT = 256;
/** More than anybody scrolls through. */
export const MOST_WATCHED = 500;
const text = z.string().min(1).max(LONGEST_TEXT);

/** The SSH connection that a command runs in: what sshd says of it, and since when it has been there (CLOCK_BOOTTIME). */
const Connection = z.strictObject({ text, sinceBootMs: z.number() });
export type Connection = z.infer<typeof Connection>;

export const Request = z.discriminatedUnion('command', [
  z.strictObject({ command: z.literal('status') }),
  z.strictObject({ command: z.literal('grants') }),
  /** At most so many grants; for who asks each second. */
  z.strictObject({ command: z.literal('watch'), grants: z.number().int().min(0).max(MOST_WATCHED) }),
  /** `who` is a client's name or an address; `from` the address of a client. */
  z.strictObject({
    command: z.literal('grant'),
    who: text,
    from: text.nullable(),
    services: z.array(text).min(1).max(MOST_SERVICES),
    ttlSeconds: z.number().int().nullable(),
    once: z.boolean(),
  }),
  /** `who` is a grant's id, a client's name or an address. */
  z.strictObject({ command: z.literal('revoke'), who: text, keepSessions: z.boolean() }),
  z.strictObject({ command: z.literal('reload') }),
  z.strictObject({ command: z.literal('gate'), action: z.enum(['up', 'down']) }),
  z.strictObject({
    command: z.literal('try'),
    ask: z.discriminatedUnion('action', [
      z.strictObject({ action: z.literal('begin'), seconds: z.number().int().min(1).max(3600), connection: Connection.nullable() }),
      z.strictObject({ action: z.literal('confirm'), connection: Connection.nullable() }),
      z.strictObject({ action: z.literal('cancel') }),
      /** `collect`: whoever began it has now been told how it ended. */
      z.strictObject({ action: z.literal('look'), collect: z.boolean() }),
    ]),
  }),
]);
export type Request = z.infer<typeof Request>;

/** One live grant, as `posternd grants --json` prints it. */
export const GrantLine = z.object({
  id: z.string(),
  /** `-`: an address that an administrator let in without saying who it is. */
  client: z.string(),
  by: z.enum(['knock', 'administrator']),
  address: z.string(),
  service: z.string(),
  ports: z.array(z.string()),
  kind: z.enum(GRANT_KINDS),
  source_port: z.number().nullable(),
  granted_at: z.string(),
  remaining_seconds: z.number(),
});
export type GrantLine = z.infer<typeof GrantLine>;

export const StatusReport = z.object({
  pid: z.number(),
  version: z.string(),
  uptime_seconds: z.number(),
  /** `changed`: it should be up, but what stands in the kernel is not ours, or nothing. `none`: "firewall: none", nothing is closed. */
  gate: z.object({
    state: z.enum(['up', 'down', 'changed', 'none']),
    backend: z.string(),
    table: z.string(),
    protected: z.array(z.string()),
  }),
  capture: z.object({
    name: z.string(),
    why: z.string(),
    seen: z.number(),
    lost: z.number(),
    foreign: z.number(),
    malformed: z.number(),
  }),
  kernel: z.object({ knocks: z.number(), junk: z.number(), refused: z.number(), ended: z.number() }).nullable(),
  knocks: z.object({ granted: z.number(), closed: z.number(), dropped: z.record(z.string(), z.number()) }),
  ledger: z.object({ place: z.enum(['state', 'runtime', 'none']), marks: z.number(), note: z.string() }),
  /** Null: the configuration wants none. */
  audit: z
    .object({
      file: z.string(),
      state: z.enum(['written', 'failing']),
      lines: z.number(),
      head: z.string().nullable(),
      waiting: z.number(),
      lost: z.number(),
      note: z.string(),
    })
    .nullable(),
  tags: z.number(),
  clients: z.number(),
  rules_loaded_at: z.string(),
  grants: z.array(GrantLine),
});
export type StatusReport = z.infer<typeof StatusReport>;

const RecentLine = z.object({
  time: z.string(),
  event: z.string(),
  client: z.string(),
  address: z.string(),
  services: z.array(z.string()),
  why: z.string(),
});
export type RecentLine = z.infer<typeof RecentLine>;

/** `recent`: the youngest first. */
export const WatchReport = StatusReport.extend({ grants_total: z.number(), recent: z.array(RecentLine) });
export type WatchReport = z.infer<typeof WatchReport>;

export const GrantsReport = z.object({ grants: z.array(GrantLine) });
export const GrantReport = z.object({ granted: z.array(GrantLine), notes: z.array(z.string()) });
export const RevokeReport = z.object({ revoked: z.array(GrantLine) });
export const ReloadReport = z.object({ clients: z.number(), warnings: z.array(z.string()), notes: z.array(z.string()) });
export const TrialReport = z.object({
  phase: z.enum(['none', 'running', 'kept', 'taken-down']),
  remaining_seconds: z.number(),
  /** The process that answers is there for this trial alone. */
  alone: z.boolean(),
});
export type TrialReport = z.infer<typeof TrialReport>;
export const GateReport = z.object({ state: z.enum(['up', 'down']) });

/** Failures carry the exit code that the asking command shall end with. */
export const Reply = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), value: z.unknown() }),
  z.strictObject({ ok: z.literal(false), exit: z.union([z.literal(1), z.literal(2), z.literal(3)]), message: z.string() }),
]);
export type Reply = z.infer<typeof Reply>;
