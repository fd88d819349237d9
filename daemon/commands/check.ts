// `posternd check`: everything that is wrong with files and host, at once, each with its place and its cure. It changes nothing.
import { readFile } from 'node:fs/promises';
import { fingerprint, formatPublicLine } from '../../protocol/openssh.ts';
import { formatPortRange } from '../../protocol/ports.ts';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { draftConfig } from '../config/load.ts';
import { controlFolderProblems } from '../control/control-folder.ts';
import { formatProblem, type Problem } from '../problem.ts';
import { backendLimits } from '../rules/backend-limits.ts';
import { draftRuleBook } from '../rules/load.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { isUsable } from '../rules/warnings.ts';
import { readServerKeys } from '../server-keys.ts';
import { checkHost, type HostFacts } from './check-host.ts';
import { callersSession, lockOut } from './lock-out.ts';
import { type CommonOptions, DEFAULT_CONFIG, type Output } from './options.ts';

type Files = {
  readonly config: Config | undefined;
  /** The configuration itself may not be read by this user. */
  readonly notPermitted: boolean;
  readonly book: RuleBook | undefined;
  readonly serverKeys: readonly { readonly line: string; readonly fingerprint: string }[];
  readonly problems: readonly Problem[];
};

/** Ends normally when a start would work; else throws with exit code 2, or 3 when more rights are needed to tell. */
export async function checkCommand(options: CommonOptions, output: Output): Promise<void> {
  // The unit runs the daemon with the system's configuration as its own user: what that user cannot read is wrong too.
  const files = options.config === DEFAULT_CONFIG ? await asDaemon(() => readFiles(options.config)) : await readFiles(options.config);
  const host = files.config === undefined ? undefined : await checkHost(files.config);
  const problems = [...files.problems, ...(host?.problems ?? [])];
  if (files.config !== undefined && files.book !== undefined) {
    const warning = lockOut(await callersSession(process.env), files.config, files.book, systemClock.wall());
    if (warning !== undefined) problems.push(warning);
  }
  const errors = problems.filter(({ severity }) => severity === 'error').length;
  const warnings = problems.length - errors;
  if (options.json) output.out(JSON.stringify(jsonReport(files, host, problems)));
  else {
    for (const problem of problems) output.err(formatProblem(problem));
    if (files.config !== undefined && host !== undefined) for (const line of summary(files, files.config, host)) output.out(line);
  }
  // Nothing is known to be wrong then. Root looked with the daemon's eyes: what that user may not read does keep it from starting.
  if (files.notPermitted && process.geteuid?.() !== 0) throw new CommandError(3, 'nothing could be looked at: run it as root');
  if (errors > 0) {
    const rights = host?.notPermitted === true ? ', and not all could be looked at: run it as root' : '';
    throw new CommandError(
      host?.notPermitted === true ? 3 : 2,
      `${counted(errors, 'error')}, ${counted(warnings, 'warning')}: a start would not work${rights}`,
    );
  }
  if (!options.json)
    output.out(warnings === 0 ? 'everything is right: a start would work' : `${counted(warnings, 'warning')}: a start would work`);
}

async function readFiles(file: string): Promise<Files> {
  const { draft: config, problems, notPermitted = false } = await draftConfig(file);
  if (config === undefined) return { config, book: undefined, serverKeys: [], problems, notPermitted };
  const rules = await draftRuleBook(config, systemClock.wall());
  const keys = await readServerKeys(config);
  return {
    config,
    book: rules.draft,
    notPermitted,
    serverKeys: keys.secrets.map(({ publicKey }) => ({
      line: formatPublicLine(publicKey, 'postern'),
      fingerprint: fingerprint(publicKey),
    })),
    problems: [
      ...problems,
      ...keys.problems,
      ...rules.problems,
      ...(await controlFolderProblems(config.control)),
      ...backendLimits(config.firewall, rules.draft, 'error'),
    ],
  };
}

/** Reads with the eyes of the user that the unit runs as, where there is one and we are root. */
async function asDaemon<T>(work: () => Promise<T>): Promise<T> {
  const passwd = await readFile('/etc/passwd', 'latin1').catch(() => '');
  const match = /^postern:[^:]*:(\d+):(\d+):/m.exec(passwd);
  const { seteuid, setegid, setgroups, getgroups } = process;
  if (match === null || process.geteuid?.() !== 0 || !seteuid || !setegid || !setgroups || !getgroups) return work();
  const groups = getgroups();
  try {
    setgroups([Number(match[2])]);
    setegid(Number(match[2]));
    seteuid(Number(match[1]));
    return await work();
  } finally {
    seteuid(0);
    setegid(0);
    setgroups(groups);
  }
}

function summary(files: Files, config: Config, host: HostFacts): readonly string[] {
  const clients = files.book?.clients ?? [];
  const usable = clients.filter((client) => isUsable(client, systemClock.wall()));
  const protect = config.protect.map(formatPortRange);
  return [
    `protects  ${protect.length === 0 ? 'nothing' : protect.join(', ')}`,
    `knocks    udp/${config.port}`,
    `clients   ${usable.length} of ${clients.length} can knock`,
    `firewall  ${host.firewall}`,
    `capture   ${host.capture}`,
    `daemon    ${host.daemon}`,
    ...neighborLines(config, host),
    ...files.serverKeys.flatMap((key) => [`key       ${key.line}`, `          ${key.fingerprint}`]),
  ];
}

/** Neither right nor wrong, but what an administrator has to know who wonders why a granted port stays closed. */
function neighborLines(config: Config, { neighbors }: HostFacts): readonly string[] {
  if (neighbors === undefined) return [];
  const notes = neighbors.notes.map((note) => `beside    ${note}`);
  const best = neighbors.hidesBest;
  if (best === undefined) return notes;
  const why =
    best === 'drop' ? 'this host is silent about unwanted packets' : 'other closed ports of this host answer, a silent one stands out';
  const hiding =
    config.unmatched === best
      ? `unmatched: ${best} hides best here (${why})`
      : `unmatched: ${best} would hide better than ${config.unmatched} (${why})`;
  return [`hiding    ${hiding}`, ...notes];
}

function jsonReport(files: Files, host: HostFacts | undefined, problems: readonly Problem[]): unknown {
  const clients = files.book?.clients ?? [];
  return {
    ok: !problems.some(({ severity }) => severity === 'error'),
    problems: problems.map(({ severity, place, message, cure }) => ({
      severity,
      file: place?.file ?? null,
      line: place?.line ?? null,
      column: place?.column ?? null,
      message,
      cure,
    })),
    config: files.config?.file ?? null,
    port: files.config?.port ?? null,
    protect: files.config?.protect.map(formatPortRange) ?? [],
    clients: clients.map((client) => ({
      name: client.name,
      keys: client.keys.map(({ fingerprint }) => fingerprint),
      enabled: client.enabled,
      usable: isUsable(client, systemClock.wall()),
      services: [...new Set(client.allow.flatMap(({ services }) => services.map(({ name }) => name)))],
    })),
    server_keys: files.serverKeys.map(({ line }) => line),
    firewall: host?.firewall ?? null,
    capture: host?.capture ?? null,
    daemon: host?.daemon ?? null,
    hides_best: host?.neighbors?.hidesBest ?? null,
    other_firewalls: host?.neighbors?.dropping ?? null,
    obstacles: host?.neighbors?.obstacles ?? null,
  };
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`;
}
