// Every key of postern.yaml: what it may hold. The JSON Schema for editors comes from here too (json-schema.ts).
import { z } from 'zod';
import { quoted } from '../problem.ts';
import {
  duration,
  interfaceField,
  network,
  oneOrMore,
  path,
  portNumber,
  portRange,
  portsOrName,
  right,
  serviceName,
  text,
  wrong,
} from './fields.ts';

const DAY_S = 86400;

/** An nftables identifier; it stands in a ruleset's text. */
const tableName = text((raw) => {
  if (/^[a-z][a-z0-9_]{0,30}$/.test(raw)) return right(raw);
  return wrong(`not a table name: ${quoted(raw)}`, 'write a-z, 0-9 and _, beginning with a letter, at most 31');
}, '^[a-z][a-z0-9_]{0,30}$');

const UNITS = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 } as const;

/** Bytes, as a number with K, M or G. */
const size = text((raw) => {
  const [, number = '', unit = 'K'] = /^([1-9][0-9]{0,5})([KMG])$/.exec(raw) ?? [];
  if (number === '') return wrong(`not a size: ${quoted(raw)}`, 'write a number with K, M or G: 64M');
  return right(Number(number) * UNITS[unit as keyof typeof UNITS]);
}, '^[1-9][0-9]{0,5}[KMG]$');

const AUDIT_SHAPE = {
  file: path.optional().describe('The file (default /var/log/postern/audit.jsonl)'),
  max_size: size.optional().describe('A file that has grown beyond it is renamed and a new one begun (default 64M)'),
  keep: z.int().min(1).max(10_000).optional().describe('How many renamed files are kept (default 16); the oldest is removed'),
} as const;

const LOG_SHAPE = {
  level: z.enum(['trace', 'debug', 'info', 'warn', 'error']).optional().describe('How much the daemon logs (default info)'),
  audit: z
    .union([path, z.strictObject(AUDIT_SHAPE)])
    .optional()
    .describe('Audit log: its file (default /var/log/postern/audit.jsonl), none, or a map with file, max_size and keep'),
} as const;

const METRICS_SHAPE = {
  textfile: path
    .optional()
    .describe("Figures for Prometheus, written every 15 s for node_exporter's textfile collector; its name ends in .prom"),
} as const;

export const CONFIG_SHAPE = {
  server_key: oneOrMore(path, 4)
    .optional()
    .describe('OpenSSH Ed25519 private key of this server; a list while keys are rotated (default: host_ed25519 beside this file)'),
  port: portNumber.optional().describe('UDP port that knocks are sent to (default 62201)'),
  interfaces: z
    .array(interfaceField)
    .min(1)
    .max(256)
    .optional()
    .describe('Where knocks are looked for and the gate stands (default: all but lo); wg0? may be absent when the daemon starts'),
  firewall: z
    .enum(['auto', 'nftables', 'iptables', 'none'])
    .optional()
    .describe('auto (nftables where the kernel has it, else iptables), nftables, iptables, or none (log only)'),
  capture: z.enum(['auto', 'nflog', 'raw', 'udp']).optional().describe('How knocks are seen: auto, nflog, raw or udp'),
  protect: z.array(portsOrName).max(4096).nullable().optional().describe('Ports that are closed unless granted'),
  services: z.record(serviceName, oneOrMore(portRange, 64)).nullable().optional().describe('Names that knocks and rules can use'),
  trusted: z.array(network).max(4096).nullable().optional().describe('Networks that are never gated'),
  refuse: z.enum(['drop', 'reject']).optional().describe('What a protected port answers without a grant (default drop)'),
  unmatched: z
    .enum(['drop', 'pass'])
    .optional()
    .describe(
      'What the knock port answers: drop (default; not for iptables with capture: raw), or pass (as the host answers for any closed port)',
    ),
  networks: z.array(network).max(256).nullable().optional().describe('Networks behind this host that are gated too'),
  default_ttl: duration(1, 365 * DAY_S, 'between 1s and 365d')
    .optional()
    .describe('Lifetime of a grant when the rule names none (default 30s)'),
  max_grants: z.int().min(1).max(10_000).optional().describe('Live grants of one client (default 32)'),
  clock_tolerance: duration(0, 300, 'between 0s and 5m').optional().describe("How far a client's clock may be off (default 60s)"),
  rules: path.optional().describe('Folder of rule files, every *.yaml below (default: rules.d beside this file)'),
  state: path.optional().describe('Folder that survives a reboot (default /var/lib/postern)'),
  control: path.optional().describe('Control socket (default /run/postern/control.sock)'),
  log: z.strictObject(LOG_SHAPE).optional().describe('Logging'),
  metrics: z.strictObject(METRICS_SHAPE).optional().describe('Figures for Prometheus'),
  table: tableName.optional().describe('Name of the nftables table, and of the chains and sets of iptables (default postern)'),
  nflog_group: z.int().min(0).max(65535).optional().describe('NFLOG group to try first (default 5)'),
} as const;

export const configSchema = z.strictObject(CONFIG_SHAPE);
