// Ports that the host's own address translation hands to others behind it: Docker's published ports, mostly. Pure.
import { formatPortRange, type PortRange, type Protocol } from '../../protocol/ports.ts';
import type { Condition, Ruleset } from '../neighbors/ruleset.ts';

export type Published = { readonly ports: PortRange; readonly to: string; readonly by: string };

/** Every rule that changes the destination of packets to ports that it names. */
export function publishedPorts(ruleset: Ruleset): readonly Published[] {
  const found = new Map<string, Published>();
  for (const { family, table, name, rules, base } of ruleset) {
    if (base !== undefined && base.hook !== 'prerouting') continue;
    for (const { condition, verdict } of rules) {
      if (verdict.kind !== 'translate') continue;
      for (const ports of portsOf(condition)) {
        const to =
          verdict.address === undefined ? `port ${verdict.port ?? ports.first}` : `${verdict.address.text}:${verdict.port ?? ports.first}`;
        found.set(`${formatPortRange(ports)} ${to}`, { ports, to, by: `${family} ${table} ${name}` });
      }
    }
  }
  return [...found.values()];
}

function portsOf(condition: Condition): readonly PortRange[] {
  const parts = flattened(condition);
  const protocols = parts.flatMap((part): readonly Protocol[] =>
    part.kind === 'protocol' && (part.name === 'tcp' || part.name === 'udp') ? [part.name] : [],
  );
  return parts.flatMap((part) => {
    if (part.kind !== 'port') return [];
    const { first, last } = part;
    return (protocols.length === 0 ? (['tcp', 'udp'] as const) : protocols).map((protocol) => ({ protocol, first, last }));
  });
}

function flattened(condition: Condition): readonly Condition[] {
  return condition.kind === 'all' || condition.kind === 'any' ? condition.of.flatMap(flattened) : [condition];
}
