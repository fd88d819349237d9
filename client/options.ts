// Turns what was typed into values, or into the list of everything that is wrong with it. Opens no file, knows no profile.
import type { Family } from '../protocol/address.ts';
import { parseDuration } from '../protocol/duration.ts';
import type { Request } from '../protocol/knock.ts';
import { usageError } from './command-error.ts';
import { quote } from './quote.ts';
import { parseRequests } from './services.ts';
import { parseOnBehalf, parseSource, type SourceMode } from './source.ts';
import { parseTimeSource, type TimeSource } from './time-source.ts';

/** As commander gives them: every value is still text. */
export type RawOptions = {
  readonly identity?: string;
  readonly serverKey?: string;
  readonly port?: string;
  readonly ttl?: string;
  readonly once?: boolean;
  readonly source?: string;
  readonly onBehalf?: string;
  readonly sourcePort?: string;
  readonly via?: string;
  readonly time?: string;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly retries?: string;
  readonly timeout?: string;
  readonly verify?: boolean;
  readonly dryRun?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly json?: boolean;
  readonly config?: string;
};

export type KnockOptions = {
  readonly host: string;
  readonly requests: readonly Request[];
  readonly command: readonly string[];
  readonly identity: string | undefined;
  readonly serverKey: string | undefined;
  readonly port: number | undefined;
  readonly ttlSeconds: number | undefined;
  readonly once: boolean;
  readonly source: SourceMode | undefined;
  /** 0: any. */
  readonly sourcePort: number;
  readonly via: string | undefined;
  readonly time: TimeSource | undefined;
  readonly family: Family | undefined;
  /** Undefined: the default, within the budget of slots. */
  readonly retries: number | undefined;
  readonly timeoutMs: number;
  readonly verify: boolean;
  readonly dryRun: boolean;
  readonly output: 'text' | 'quiet' | 'verbose' | 'json';
  readonly config: string | undefined;
};

// Tunable.
const DEFAULT_TIMEOUT_MS = 5000;
const MAX_TIMEOUT_SECONDS = 3600;
const MAX_RETRIES = 63;
// Fixed by SPEC.md: a lifetime is a u32 of seconds.
const MAX_LIFETIME_SECONDS = 0xffff_ffff;
// RFC 1035: a name has at most 253 characters. `\p{Cc}`: control characters.
const HOST = /^(?!-)[^\s\p{Cc}/@]{1,253}$/u;

/** Checks everything; throws one usage error that lists all mistakes. */
export function checkOptions(host: string, services: readonly string[], command: readonly string[], raw: RawOptions): KnockOptions {
  const problems: string[] = [];
  if (!HOST.test(host)) problems.push(hostProblem(host));
  const asked = parseRequests(services);
  const remote = command.length === 0 ? services.find((text) => text.includes('@')) : undefined;
  if (remote === undefined) problems.push(...asked.problems);
  else
    problems.push(
      `not a service: ${quote(remote)}: a command to run once the door is open stands behind --, as in: knock web1 ssh -- ssh root@web1`,
    );
  if (raw.ipv4 === true && raw.ipv6 === true) problems.push('-4 and -6 exclude each other: leave both out to use every address');
  if (raw.once === true && raw.sourcePort !== undefined)
    problems.push('--once and --source-port exclude each other: a server can hold a grant to one connection or to one port, not to both');
  if (raw.quiet === true && raw.verbose === true) problems.push('-q and -v exclude each other');
  if (raw.dryRun === true && command.length > 0)
    problems.push('--dry-run sends nothing, so the command after -- would not be run: leave one out');
  const options: KnockOptions = {
    host,
    requests: asked.requests,
    command,
    identity: raw.identity,
    serverKey: raw.serverKey,
    port: wholeNumber('--port', raw.port, 1, 65535, problems),
    ttlSeconds: seconds('--ttl', raw.ttl, MAX_LIFETIME_SECONDS, problems),
    once: raw.once === true,
    source: source(raw, problems),
    sourcePort: wholeNumber('--source-port', raw.sourcePort, 1, 65535, problems) ?? 0,
    via: raw.via,
    time: timeSource(raw.time, problems),
    family: raw.ipv4 === true ? 4 : raw.ipv6 === true ? 6 : undefined,
    retries: wholeNumber('--retries', raw.retries, 0, MAX_RETRIES, problems),
    timeoutMs: (seconds('--timeout', raw.timeout, MAX_TIMEOUT_SECONDS, problems) ?? DEFAULT_TIMEOUT_MS / 1000) * 1000,
    verify: raw.verify !== false,
    dryRun: raw.dryRun === true,
    output: raw.json === true ? 'json' : raw.quiet === true ? 'quiet' : raw.verbose === true ? 'verbose' : 'text',
    config: raw.config,
  };
  if (options.source?.kind === 'address' && options.family !== undefined && options.source.address.family !== options.family)
    problems.push(`--source ${options.source.address.text} is not an IPv${options.family} address`);
  if (problems.length > 0) throw usageError(problems);
  return options;
}

function hostProblem(host: string): string {
  const at = host.lastIndexOf('@');
  if (at > 0) return `not a host: ${quote(host)}: leave out the user name (did you mean ${quote(host.slice(at + 1))}?)`;
  return `not a host: ${quote(host)} (write a name, an address or a profile's name)`;
}

function wholeNumber(name: string, text: string | undefined, least: number, most: number, problems: string[]): number | undefined {
  if (text === undefined) return undefined;
  const value = /^(0|[1-9]\d{0,8})$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  problems.push(`${name}: expected a whole number from ${least} to ${most}, not ${quote(text)}`);
  return undefined;
}

function seconds(name: string, text: string | undefined, most: number, problems: string[]): number | undefined {
  if (text === undefined) return undefined;
  const duration = parseDuration(text);
  if (duration.ok && duration.value >= 1 && duration.value <= most) return duration.value;
  problems.push(
    `${name}: ${duration.ok ? `${quote(text)} is out of range (1s to ${most}s)` : `not a duration: ${quote(text)} (write 30s, 10m, 2h or 7d)`}`,
  );
  return undefined;
}

function timeSource(text: string | undefined, problems: string[]): TimeSource | undefined {
  if (text === undefined) return undefined;
  const time = parseTimeSource(text);
  if (time.ok) return time.value;
  problems.push(`--time: ${time.why}`);
  return undefined;
}

function source(raw: RawOptions, problems: string[]): SourceMode | undefined {
  if (raw.source !== undefined && raw.onBehalf !== undefined)
    problems.push('--source and --on-behalf exclude each other: a knock on behalf of an address is bound to that address');
  const [name, text, parse] =
    raw.onBehalf === undefined ? ['--source', raw.source, parseSource] : ['--on-behalf', raw.onBehalf, parseOnBehalf];
  if (text === undefined) return undefined;
  const mode = parse(text);
  if (mode.ok) return mode.value;
  problems.push(`${name}: ${mode.why}`);
  return undefined;
}
