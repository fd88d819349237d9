// Protocols and ports as knocks, rules and configuration name them: tcp/22, udp/5000-5010.
import { type Parsed, parsed, unparsed } from './brand.ts';
import { quoted } from './quoted.ts';

export type Protocol = 'tcp' | 'udp';

/** IANA protocol numbers, as they stand in packets and set elements. */
export const PROTOCOL_NUMBER = { tcp: 6, udp: 17 } as const satisfies Record<Protocol, number>;

/** A run of ports of one protocol, both ends included; 1 <= first <= last <= 65535. */
export type PortRange = { readonly protocol: Protocol; readonly first: number; readonly last: number };

/** Reads `tcp/22` or `udp/5000-5010`. Leading zeros and port 0 are refused. */
export function parsePortRange(text: string): Parsed<PortRange> {
  const match = /^(tcp|udp)\/([1-9]\d{0,4})(?:-([1-9]\d{0,4}))?$/.exec(text);
  if (match === null) return unparsed(`not a port: ${quoted(text)} (expected tcp/22 or udp/5000-5010, ports 1 to 65535)`);
  const first = Number(match[2]);
  const last = match[3] === undefined ? first : Number(match[3]);
  if (last > 65535 || first > 65535) return unparsed(`port out of range in ${quoted(text)} (1 to 65535)`);
  if (last < first) return unparsed(`the range ${text} runs backwards: did you mean ${match[1]}/${last}-${first}?`);
  return parsed({ protocol: match[1] === 'tcp' ? 'tcp' : 'udp', first, last });
}

export function formatPortRange(range: PortRange): string {
  return range.first === range.last ? `${range.protocol}/${range.first}` : `${range.protocol}/${range.first}-${range.last}`;
}

/** Whether every port of `inner` is one of `outer`. */
export function coversPorts(outer: PortRange, inner: PortRange): boolean {
  return outer.protocol === inner.protocol && outer.first <= inner.first && inner.last <= outer.last;
}
