// Which allow entry decides a request: the first that holds all of its ports (files by name, then position). Pure.
import type { Request } from '../../protocol/knock.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import { coveredBy } from '../config/ranges.ts';
import type { AllowEntry, Client, NamedService } from '../rules/rulebook.ts';
import { drop, pass, type Step } from '../step.ts';

export type ServicePorts = ReadonlyMap<string, readonly PortRange[]>;

/** What is wanted, and the entry that decides about it. */
export type Decided = { readonly service: NamedService; readonly entry: AllowEntry };

/** By name or by port; `ssh` asks for the same as tcp/22. */
export function decideRequest(request: Request, client: Client, services: ServicePorts): Step<Decided> {
  if (request.kind === 'ports') {
    const wanted = [request.ports];
    for (const entry of client.allow) {
      const service = entry.services.find(({ ports }) => coveredBy(ports, request.ports));
      if (service !== undefined) return pass({ service: samePorts(service.ports, wanted) ? service : named(request.ports), entry });
    }
    return drop('not-allowed', formatPortRange(request.ports));
  }
  const ports = services.get(request.name) ?? portsOfNamedEntry(request.name, client);
  if (ports === undefined) return drop('unknown-service', request.name);
  const service = { name: request.name, ports };
  const entry = client.allow.find((each) => covers(each, service));
  return entry === undefined ? drop('not-allowed', request.name) : pass({ service, entry });
}

/** All that entries give by default, each service once, by the first such entry that gives it. */
export function decideDefaults(client: Client): readonly Decided[] {
  const given: Decided[] = [];
  for (const entry of client.allow) {
    if (!entry.byDefault) continue;
    for (const service of entry.services) {
      const already = given.flatMap((other) => other.service.ports);
      if (!service.ports.every((range) => coveredBy(already, range))) given.push({ service, entry });
    }
  }
  return given;
}

function covers(entry: AllowEntry, service: NamedService): boolean {
  return service.ports.every((range) => entry.services.some(({ ports }) => coveredBy(ports, range)));
}

function portsOfNamedEntry(name: string, client: Client): readonly PortRange[] | undefined {
  return client.allow.flatMap(({ services }) => services).find((service) => service.name === name)?.ports;
}

function named(ports: PortRange): NamedService {
  return { name: formatPortRange(ports), ports: [ports] };
}

function samePorts(a: readonly PortRange[], b: readonly PortRange[]): boolean {
  return a.length === b.length && a.every((range, at) => formatPortRange(range) === formatPortRange(b[at] ?? range));
}
