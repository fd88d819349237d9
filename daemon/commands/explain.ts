// `posternd explain`: would this knock be let in, which rule decides, and what would have to change? Changes nothing, sends nothing.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { contains, type IpAddress, parseAddress } from '../../protocol/address.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import { type Request, SERVICE_NAME } from '../../protocol/knock.ts';
import { formatPortRange, type PortRange, parsePortRange } from '../../protocol/ports.ts';
import { requireClient } from '../clients/find-client.ts';
import { systemClock } from '../clock.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { coveredBy } from '../config/ranges.ts';
import { askDaemon } from '../control/ask.ts';
import { StatusReport } from '../control/messages.ts';
import { explain } from '../explain/explain.ts';
import { parseMoment } from '../explain/moment.ts';
import { Telling } from '../explain/telling.ts';
import { formatProblem, quoted } from '../problem.ts';
import { loadRuleBook } from '../rules/load.ts';
import type { Client } from '../rules/rulebook.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';

export type ExplainOptions = CommonOptions & {
  readonly client: string;
  readonly service: string | undefined;
  readonly from: string | undefined;
  readonly at: string | undefined;
};

/** Ends normally when the knock would be let in from somewhere; else throws with exit code 1. */
export async function explainCommand(options: ExplainOptions, output: Output): Promise<void> {
  const now = systemClock.wall();
  const from = options.from === undefined ? undefined : readAddress(options.from);
  const moment = options.at === undefined ? undefined : parseMoment(options.at, now);
  if (moment?.ok === false) throw new CommandError(2, `--at: ${moment.why}`);
  const request = options.service === undefined ? undefined : readRequest(options.service);
  const config = requireConfig(await loadConfig(options.config));
  const client = requireClient(await requireRules(config, now), options.client);
  const at = moment?.value ?? now;
  const daemon = moment === undefined ? await askStatus(config) : undefined;
  const grants = (daemon?.grants ?? []).filter((grant) => grant.client === client.name && grant.by === 'knock');
  const isLive = (address: IpAddress, { label }: { readonly label: string }): boolean =>
    grants.some((grant) => grant.address === address.text && grant.service === label);
  const answers = explain({ client, request, from, at, config, liveGrants: grants.length, isLive });
  const notes = [...openAnyway(config, client, request, from), ...(daemon === undefined ? [] : await daemonNotes(config, daemon))];
  const telling = new Telling(config, client, options.service, from, at, answers);
  if (options.json) output.out(JSON.stringify({ ...telling.json(), notes }, null, 2));
  else for (const line of [...telling.lines(), ...notes.map((note) => `note: ${note}`)]) output.out(line);
  const reason = telling.refusedFor();
  if (reason !== undefined) throw new CommandError(1, `such a knock is refused (${reason})`);
}

async function requireRules(config: Config, now: UnixMs) {
  const { book, problems } = await loadRuleBook(config, now);
  if (book !== undefined) return book;
  const errors = problems.filter(({ severity }) => severity === 'error').slice(0, 20);
  throw new CommandError(2, errors.map(formatProblem).join('\n'));
}

function readAddress(text: string): IpAddress {
  const address = parseAddress(text);
  if (address.ok) return address.value;
  throw new CommandError(2, `--from: ${address.why}: write one like 198.51.100.7 or 2001:db8::7`);
}

function readRequest(text: string): Request {
  if (SERVICE_NAME.test(text) && !/^\d+(?:-\d+)?$/.test(text)) return { kind: 'service', name: text };
  if (/^\d+(?:-\d+)?$/.test(text))
    throw new CommandError(2, `${quoted(text)} does not say which protocol: write tcp/${text} or udp/${text}`);
  const ports = parsePortRange(text);
  if (!ports.ok) throw new CommandError(2, `${ports.why}: write a service, tcp/8443, udp/51820 or tcp/9000-9010`);
  return { kind: 'ports', ports: ports.value };
}

/** Where no gate stands, no knock is needed. */
function openAnyway(config: Config, client: Client, request: Request | undefined, from: IpAddress | undefined): readonly string[] {
  const notes: string[] = [];
  const trusted = from === undefined ? undefined : config.trusted.find((network) => contains(network, from));
  if (from !== undefined && trusted !== undefined)
    notes.push(`${from.text} is in the trusted network ${trusted.text}: nothing is closed for it anyway`);
  if (config.interfaces.length > 0)
    notes.push(
      `the gate stands on ${config.interfaces.map(({ name }) => name).join(', ')} only (interfaces:): what comes by another needs no knock`,
    );
  const ports: readonly PortRange[] =
    request === undefined
      ? client.allow.filter(({ byDefault }) => byDefault).flatMap(({ services }) => services.flatMap((service) => service.ports))
      : request.kind === 'ports'
        ? [request.ports]
        : (config.services.get(request.name) ?? []);
  const open = ports.filter((range) => !coveredBy(config.protect, range));
  if (open.length > 0) notes.push(`${open.map(formatPortRange).join(', ')} is not protected: no knock is needed for it`);
  return notes;
}

async function askStatus(config: Config): Promise<StatusReport | undefined> {
  return askDaemon(config.control, { command: 'status' }, StatusReport).catch((error: unknown) => {
    // Without rights or without a daemon the rules still say what they say.
    if (error instanceof CommandError) return undefined;
    throw error;
  });
}

async function daemonNotes(config: Config, daemon: StatusReport): Promise<readonly string[]> {
  const loadedAtMs = Date.parse(daemon.rules_loaded_at);
  const changed = await newestChange(config);
  return [
    ...(changed > loadedAtMs ? ['the running posternd has read the rules before they were changed: run "posternd reload"'] : []),
    ...(daemon.gate.state === 'down' ? ['the gate is down: everything is open, and no knock is answered'] : []),
  ];
}

async function newestChange(config: Config): Promise<UnixMs> {
  const names = await readdir(config.rules, { recursive: true }).catch(() => []);
  const files = [config.file, ...names.filter((name) => name.endsWith('.yaml')).map((name) => join(config.rules, name))];
  const times = await Promise.all(
    files.map((file) =>
      stat(file).then(
        ({ mtimeMs }) => mtimeMs,
        () => 0,
      ),
    ),
  );
  return unixMs(Math.floor(Math.max(0, ...times)));
}
