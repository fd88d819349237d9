// Reads postern.yaml into a Config: everything wrong is reported at once, and nothing half-right is ever handed on.
import { dirname, resolve } from 'node:path';
import { contains, type Network } from '../../protocol/address.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';

import { nameProblem } from '../firewall/iptables/names.ts';
import { formatPlace, inReadingOrder, type Place, type Problem, problemAt, quoted } from '../problem.ts';
import type { Config, PlacedNetwork } from './config.ts';
import type { Interface, PortsOrName } from './fields.ts';
import { didYouMean } from './nearest.ts';
import { auditSettings, metricsFile } from './observing.ts';
import { coversAll, mergeRanges, overlap, withoutContained } from './ranges.ts';
import { type Fields, isMap, readFields } from './read-fields.ts';
import { CONFIG_SHAPE } from './schema.ts';
import { type ServiceNames, systemServiceNames } from './service-names.ts';
import { readsAsDaemon, readTrustedFile } from './trusted-file.ts';
import { type Path, readYaml, type YamlSource } from './yaml-source.ts';

// Tunable. A configuration is a page long; whatever is longer is some other file.
export const MAX_CONFIG_BYTES = 1024 * 1024;

/** `notPermitted`: nothing is known to be wrong, but this user may not read it. */
export type LoadedConfig = { readonly config?: Config; readonly problems: readonly Problem[]; readonly notPermitted?: boolean };

/** The configuration, if nothing is wrong with it; warnings do not count as wrong. */
export async function loadConfig(file: string): Promise<LoadedConfig> {
  const { draft, problems, notPermitted = false } = await draftConfig(file);
  if (draft === undefined || problems.some((problem) => problem.severity === 'error')) return { problems, notPermitted };
  return { config: draft, problems };
}

/** For `check`: the configuration with defaults in place of what is wrong, so that the rules can be read too. Never to be run with. */
export async function draftConfig(
  file: string,
): Promise<{ readonly draft?: Config; readonly problems: readonly Problem[]; readonly notPermitted?: boolean }> {
  const absolute = resolve(file);
  const read = await readTrustedFile(absolute, 'config', MAX_CONFIG_BYTES);
  if (!read.ok) {
    const notPermitted = read.code === 'EACCES' || read.code === 'EPERM';
    const otherwise = notPermitted && !(await readsAsDaemon()) ? 'use sudo, or join the group that owns it ("postern")' : read.cure;
    const cure = read.code === 'ENOENT' ? 'run "posternd init", or name the file with -c' : otherwise;
    return { problems: [problemAt(undefined, `configuration: ${read.why}`, cure)], notPermitted };
  }
  return interpretConfig(readYaml(absolute, read.bytes), absolute, await systemServiceNames());
}

/** From text to meaning; pure. */
export function interpretConfig(
  source: YamlSource,
  file: string,
  systemNames: ServiceNames,
): { readonly draft?: Config; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [...source.problems];
  if (source.data === undefined) {
    if (problems.length === 0)
      problems.push(problemAt(source.placeOf([]), 'the configuration is empty', 'run "posternd init" for one to begin with'));
    return { problems };
  }
  const fields = readFields(source, CONFIG_SHAPE, [], 'the configuration', problems);
  const base = dirname(file);
  const port = fields.port ?? 62201;
  const services: ServiceNames = new Map([
    ...systemNames,
    ...Object.entries(fields.services ?? {}).map(([name, ports]) => [name, mergeRanges(ports)] as const),
  ]);
  const draft: Config = {
    file,
    serverKeys: (fields.server_key ?? ['host_ed25519']).map((path) => resolve(base, path)),
    port,
    interfaces: interfaceList(source, fields.interfaces ?? [], problems),
    firewall: fields.firewall ?? 'auto',
    capture: fields.capture ?? 'auto',
    protect: protectedPorts(source, fields.protect, services, port, problems),
    services,
    trusted: networkList(source, 'trusted', fields.trusted ?? [], problems),
    refuse: fields.refuse ?? 'drop',
    unmatched: unmatchedOf(source, fields, problems),
    networks: networkList(source, 'networks', fields.networks ?? [], problems),
    defaultTtlSeconds: fields.default_ttl ?? 30,
    maxGrants: fields.max_grants ?? 32,
    clockToleranceMs: (fields.clock_tolerance ?? 60) * 1000,
    rules: resolve(base, fields.rules ?? 'rules.d'),
    state: resolve(base, fields.state ?? '/var/lib/postern'),
    control: controlPath(source, resolve(base, fields.control ?? '/run/postern/control.sock'), problems),
    table: tableName(source, fields, problems),
    nflogGroup: fields.nflog_group ?? 5,
    log: { level: fields.log?.level ?? 'info' },
    audit: auditSettings(base, fields.log?.audit),
    metricsFile: metricsFile(source, base, fields.metrics?.textfile, problems),
  };
  return { draft, problems: inReadingOrder(problems) };
}

/** Ports that `names` stand for; names that nobody defined become problems at the place of their entry. */
export function resolvePorts(
  source: YamlSource,
  entries: readonly PortsOrName[],
  path: Path,
  services: ServiceNames,
  problems: Problem[],
): readonly { readonly name: string; readonly ports: readonly PortRange[]; readonly at: number }[] {
  return entries.flatMap((entry, at) => {
    if (entry.kind === 'ports') return [{ name: formatPortRange(entry.ports), ports: [entry.ports], at }];
    const ports = services.get(entry.name);
    if (ports !== undefined) return [{ name: entry.name, ports, at }];
    const cure = didYouMean(entry.name, services.keys(), 'define it under services: in the configuration');
    problems.push(problemAt(source.placeOf([...path, at]), `no service is called ${quoted(entry.name)}`, cure));
    return [];
  });
}

function protectedPorts(
  source: YamlSource,
  entries: readonly PortsOrName[] | null | undefined,
  services: ServiceNames,
  knockPort: number,
  problems: Problem[],
): readonly PortRange[] {
  const given = isMap(source.data) && Object.hasOwn(source.data, 'protect');
  if (entries === null || entries === undefined || entries.length === 0) {
    // A list that is there but wrong has its own problems already.
    if (!given || entries !== undefined) {
      const place = source.keyPlaceOf(['protect']);
      problems.push(problemAt(place, 'nothing is protected', 'list the ports to close under protect:', 'warning'));
    }
    return [];
  }
  const seen: { readonly name: string; readonly range: PortRange; readonly place: Place }[] = [];
  for (const { name, ports, at } of resolvePorts(source, entries, ['protect'], services, problems)) {
    for (const range of ports) {
      const place = source.placeOf(['protect', at]);
      if (range.protocol === 'udp' && range.first <= knockPort && knockPort <= range.last) {
        problems.push(
          problemAt(place, `${name} holds the knock port udp/${knockPort}`, 'leave it out: the knock port answers nobody anyway'),
        );
      }
      const twice = seen.find((other) => overlap(other.range, range));
      if (twice !== undefined) {
        problems.push(
          problemAt(place, `${name} overlaps with ${twice.name} at ${formatPlace(twice.place)}`, 'remove one of them', 'warning'),
        );
      }
      seen.push({ name, range, place });
    }
  }
  return mergeRanges(seen.map(({ range }) => range));
}

function networkList(
  source: YamlSource,
  key: 'trusted' | 'networks',
  networks: readonly Network[],
  problems: Problem[],
): readonly PlacedNetwork[] {
  const placed = networks.map((network, at) => ({ ...network, place: source.placeOf([key, at]) }));
  const kept = withoutContained(placed);
  for (const network of placed) {
    const { place } = network;
    if (network.prefix === 0 && key === 'trusted') {
      problems.push(
        problemAt(place, `${network.text} trusts everybody: nothing is gated for them`, 'name the networks you mean', 'warning'),
      );
    }
    if (kept.includes(network)) continue;
    const outer = kept.find((each) => each.prefix <= network.prefix && contains(each, network.address));
    const where = outer === undefined ? 'another network here' : `${outer.text} at ${formatPlace(outer.place)}`;
    problems.push(problemAt(place, `${network.text} is part of ${where}`, 'remove it', 'warning'));
  }
  const whole = kept.some(({ prefix }) => prefix === 0) ? undefined : ([4, 6] as const).find((family) => coversAll(kept, family));
  if (key === 'trusted' && whole !== undefined) {
    const message = `these networks together trust everybody over IPv${whole}: nothing is gated for them`;
    problems.push(problemAt(source.placeOf([key]), message, 'name the networks you mean', 'warning'));
  }
  return kept;
}

function interfaceList(source: YamlSource, interfaces: readonly Interface[], problems: Problem[]): Config['interfaces'] {
  const byName = new Map<string, Config['interfaces'][number]>();
  interfaces.forEach((each, at) => {
    const place = source.placeOf(['interfaces', at]);
    const first = byName.get(each.name);
    if (first?.place === undefined) byName.set(each.name, { ...each, place });
    else problems.push(problemAt(place, `${each.name} stands at ${formatPlace(first.place)} already`, 'remove one of them', 'warning'));
  });
  return [...byName.values()];
}

/** What nftables takes may be too much for iptables; where the host chooses the backend, it is said then. */
function tableName(source: YamlSource, { table = 'postern', firewall }: Fields<typeof CONFIG_SHAPE>, problems: Problem[]): string {
  const wrong = firewall === 'iptables' ? nameProblem(table) : undefined;
  if (wrong !== undefined) problems.push(problemAt(source.placeOf(['table']), `${quoted(table)} ${wrong.what}`, wrong.cure));
  return table;
}

function controlPath(source: YamlSource, path: string, problems: Problem[]): string {
  // sockaddr_un holds 108 bytes, with a terminating zero.
  if (Buffer.byteLength(path) > 107) {
    problems.push(
      problemAt(source.placeOf(['control']), 'the path of the control socket is longer than 107 bytes', 'choose a shorter one'),
    );
  }
  return path;
}

/**
 * With iptables nothing can keep the host silent about a port on which nobody listens, and the answer would tell knocks from junk: who did not ask
 * for silence gets what works, who did gets to know.
 */
function unmatchedOf(
  source: YamlSource,
  { firewall, capture, unmatched }: Fields<typeof CONFIG_SHAPE>,
  problems: Problem[],
): Config['unmatched'] {
  if (firewall !== 'iptables' || capture !== 'raw' || unmatched === 'pass') return unmatched ?? 'drop';
  const place = source.placeOf(['capture']);
  if (unmatched === 'drop') {
    const message = 'capture: raw with unmatched: drop needs nftables (iptables cannot keep the host silent about knocks)';
    problems.push(problemAt(place, message, 'set capture: nflog (or auto), or unmatched: pass'));
    return 'drop';
  }
  const message = 'with iptables and capture: raw the knock port answers as any closed port does (unmatched: pass), not with silence';
  problems.push(problemAt(place, message, 'write unmatched: pass, or capture: nflog to be silent', 'warning'));
  return 'pass';
}
