// What one rule file says, with every value checked: clients as written, references, allow entries.
// Keys files and pre-shared keys are only named here, and other files are not known. Hooks are looked at, never run.
// Ten thousand clients take seconds to check: it lets the event loop run in between, so that a reload delays no knock.
import { dirname, resolve } from 'node:path';
import { setImmediate as pause } from 'node:timers/promises';
import { contains, type Network } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import type { PublicKey } from '../../protocol/identity.ts';
import type { PortRange } from '../../protocol/ports.ts';
import type { Config } from '../config/config.ts';
import { resolvePorts } from '../config/load.ts';
import { countPorts, overlap, withoutContained } from '../config/ranges.ts';
import { type Fields, isMap, readFields, valueAt } from '../config/read-fields.ts';
import type { Path, YamlSource } from '../config/yaml-source.ts';
import type { Hook } from '../hooks/hook.ts';
import { senselessNetwork } from '../policy/settle.ts';
import { formatPlace, type Place, type Problem, problemAt } from '../problem.ts';
import { checkHooks, type Judge } from './check-hooks.ts';
import { MAX_PORTS_AT_ONCE } from './limits.ts';
import type { RuleFile } from './rule-files.ts';
import type { AllowEntry } from './rulebook.ts';
import { ALLOW_SHAPE, CLIENT_SHAPE, FILE_SHAPE, REF_SHAPE } from './schema.ts';
import type { TimeWindow } from './time-window.ts';

// Tunable. A client takes 0.2 ms.
const PAUSE_EVERY = 20;

export type Placed<T> = { readonly value: T; readonly place: Place };

export type ClientDraft = {
  readonly name: string;
  readonly place: Place;
  readonly keys: readonly Placed<PublicKey>[];
  readonly keysFile: Placed<string> | undefined;
  readonly pskFiles: readonly Placed<string>[];
  readonly slots: number;
  readonly enabled: boolean;
  readonly expiresAtMs: UnixMs | undefined;
};

export type RuleFileDraft = {
  readonly path: string;
  readonly start: Place;
  readonly clients: readonly ClientDraft[];
  readonly refs: readonly Placed<string>[];
  readonly allow: readonly AllowEntry[];
};

export async function readRuleFile(
  file: RuleFile,
  config: Pick<Config, 'services' | 'defaultTtlSeconds'>,
  judge: Judge,
  problems: Problem[],
): Promise<RuleFileDraft> {
  const { source, path } = file;
  problems.push(...source.problems);
  const start = source.placeOf([]);
  const empty: RuleFileDraft = { path, start, clients: [], refs: [], allow: [] };
  if (source.data === undefined || source.data === null) return empty; // all of it is commented out
  const { clients, allow } = readFields(source, FILE_SHAPE, [], 'a rule file', problems);
  const refs: Placed<string>[] = [];
  const drafts: ClientDraft[] = [];
  for (let at = 0; at < (clients ?? []).length; at += 1) {
    if (at % PAUSE_EVERY === PAUSE_EVERY - 1) await pause();
    const here: Path = ['clients', at];
    const data = valueAt(source.data, here);
    if (isMap(data) && Object.hasOwn(data, 'ref')) {
      const { ref } = readFields(source, REF_SHAPE, here, 'a reference to a client', problems);
      if (ref !== undefined) refs.push({ value: ref, place: source.placeOf([...here, 'ref']) });
    } else drafts.push(...readClient(source, here, dirname(path), problems));
  }
  const entries: AllowEntry[] = [];
  for (const at of (allow ?? []).keys()) {
    for (const entry of readAllow(source, ['allow', at], config, problems)) {
      await checkHooks(source, ['allow', at], entry.hooks, judge, problems);
      entries.push(entry);
    }
  }
  return { path, start, clients: drafts, refs, allow: entries };
}

function readClient(source: YamlSource, here: Path, folder: string, problems: Problem[]): readonly ClientDraft[] {
  const before = problems.length;
  const fields = readFields(source, CLIENT_SHAPE, here, 'a client', problems);
  const place = source.placeOf(here);
  const has = (key: keyof typeof CLIENT_SHAPE): boolean => {
    const data = valueAt(source.data, here);
    return isMap(data) && Object.hasOwn(data, key);
  };
  if (problems.length === before || has('name')) {
    if (!has('name')) problems.push(problemAt(place, 'this client has no name', 'add name:'));
    if (!has('key') && !has('keys_file')) problems.push(problemAt(place, 'this client has no key', 'add key: with its ssh-ed25519 line'));
  }
  if (fields.name === undefined) return [];
  const items = <T>(key: string, values: readonly T[] | undefined): readonly Placed<T>[] =>
    (values ?? []).map((value, at) => ({ value, place: source.placeOf([...here, key, at]) }));
  return [
    {
      name: fields.name,
      place,
      keys: items(
        'key',
        fields.key?.map(({ publicKey }) => publicKey),
      ),
      keysFile:
        fields.keys_file === undefined
          ? undefined
          : { value: resolve(folder, fields.keys_file), place: source.placeOf([...here, 'keys_file']) },
      pskFiles: items(
        'psk_file',
        fields.psk_file?.map((path) => resolve(folder, path)),
      ),
      slots: fields.slots ?? 16,
      enabled: fields.enabled ?? true,
      expiresAtMs: fields.expires,
    },
  ];
}

function readAllow(
  source: YamlSource,
  here: Path,
  config: Pick<Config, 'services' | 'defaultTtlSeconds'>,
  problems: Problem[],
): readonly AllowEntry[] {
  const before = problems.length;
  const fields = readFields(source, ALLOW_SHAPE, here, 'an allow entry', problems);
  const place = source.placeOf(here);
  const data = valueAt(source.data, here);
  if (isMap(data) && !Object.hasOwn(data, 'services'))
    problems.push(problemAt(place, 'this entry names no services', 'add services: [ssh]'));
  const services = resolvePorts(source, fields.services ?? [], [...here, 'services'], config.services, problems);
  repeatedServices(source, here, services, problems);
  const { ttlSeconds, maxTtlSeconds } = lifetimes(source, here, fields, config.defaultTtlSeconds, problems);
  const byDefault = fields.default ?? true;
  if (byDefault && countPorts(services.flatMap(({ ports }) => ports)) > MAX_PORTS_AT_ONCE) {
    const message = `this entry gives more than ${MAX_PORTS_AT_ONCE} ports by default`;
    problems.push(problemAt(source.placeOf([...here, 'services']), message, 'name fewer, or write default: false'));
  }
  if (problems.slice(before).some((problem) => problem.severity === 'error')) return [];
  return [
    {
      services: services.map(({ name, ports }) => ({ name, ports })),
      byDefault,
      from: fields.from === undefined ? undefined : networks(source, here, fields.from, problems),
      when: timeWindow(source, here, fields, problems),
      ttlSeconds,
      maxTtlSeconds,
      once: fields.once ?? false,
      sessions: fields.sessions ?? 'keep',
      requireSource: fields.require_source ?? false,
      onBehalf: fields.on_behalf ?? false,
      hooks: { onOpen: hookOf(fields.on_open), onClose: hookOf(fields.on_close) },
      place,
    },
  ];
}

function hookOf([program, ...args]: readonly string[] = []): Hook | undefined {
  return program === undefined ? undefined : [program, ...args];
}

type AllowFields = Fields<typeof ALLOW_SHAPE>;

/** The default is cut down to a rule's own maximum; only what the rule itself says can contradict it. */
function lifetimes(
  source: YamlSource,
  here: Path,
  fields: AllowFields,
  defaultTtlSeconds: number,
  problems: Problem[],
): { readonly ttlSeconds: number; readonly maxTtlSeconds: number } {
  if (fields.ttl !== undefined && fields.max_ttl !== undefined && fields.ttl > fields.max_ttl) {
    problems.push(problemAt(source.placeOf([...here, 'ttl']), 'ttl is longer than max_ttl', 'make ttl shorter or max_ttl longer'));
  }
  const ttlSeconds = fields.ttl ?? Math.min(defaultTtlSeconds, fields.max_ttl ?? defaultTtlSeconds);
  return { ttlSeconds, maxTtlSeconds: fields.max_ttl ?? ttlSeconds };
}

function networks(source: YamlSource, here: Path, from: readonly Network[], problems: Problem[]): readonly Network[] {
  const kept = withoutContained(from);
  const placeOf = (network: Network): Place => source.placeOf([...here, 'from', from.indexOf(network)]);
  for (const network of from) {
    const senseless = senselessNetwork(network);
    if (senseless !== undefined) {
      const message = `no knock is taken from ${network.text} (${senseless})`;
      problems.push(problemAt(placeOf(network), message, 'name networks that clients come from', 'warning'));
    }
    if (kept.includes(network)) continue;
    const outer = kept.find((each) => each.prefix <= network.prefix && contains(each, network.address));
    const where = outer === undefined ? 'another network here' : `${outer.text} at ${formatPlace(placeOf(outer))}`;
    problems.push(problemAt(placeOf(network), `${network.text} is part of ${where}`, 'remove it', 'warning'));
  }
  return kept;
}

/** Two names for one port, or a port within a range: harmless, and most likely a slip. */
function repeatedServices(
  source: YamlSource,
  here: Path,
  services: readonly { readonly name: string; readonly ports: readonly PortRange[]; readonly at: number }[],
  problems: Problem[],
): void {
  const placeOf = (at: number): Place => source.placeOf([...here, 'services', at]);
  services.forEach((service, index) => {
    const first = services.slice(0, index).find((other) => other.ports.some((a) => service.ports.some((b) => overlap(a, b))));
    if (first === undefined) return;
    const message = `${service.name} overlaps with ${first.name} at ${formatPlace(placeOf(first.at))}`;
    problems.push(problemAt(placeOf(service.at), message, 'remove one of them', 'warning'));
  });
}

function timeWindow(source: YamlSource, here: Path, fields: AllowFields, problems: Problem[]): TimeWindow | undefined {
  if (fields.when === undefined) {
    if (fields.timezone !== undefined) {
      const place = source.keyPlaceOf([...here, 'timezone']);
      problems.push(problemAt(place, 'timezone without when: this entry holds at any time', 'add when:, or remove it', 'warning'));
    }
    return undefined;
  }
  return { cron: fields.when, timezone: fields.timezone ?? new Intl.DateTimeFormat().resolvedOptions().timeZone };
}
