// Reads what nft's JSON says a rule asks of a packet (libnftables-json(5)). Pure. What it does not know becomes an uncertainty.
import { parseAddress, parseNetwork } from '../../protocol/address.ts';
import { ALWAYS, allOf, anyOf, type Condition, NEVER, not, portsFrom, type Uncertainty, uncertain } from './ruleset.ts';

/** The elements of a named set or map, or undefined when they are not known. */
export type NamedSets = (name: string) => readonly unknown[] | undefined;

/** `match` with any operator. */
export function readMatch(match: unknown, sets: NamedSets): Condition {
  const { op, left, right } = fields(match);
  const asked = subject(left);
  if (op === '!=') return allOf([...asked.needs, not(matches(asked, right, sets))]);
  // For a port `in` is `==`; for bit fields it asks for one of the bits.
  if (op === '==' || op === 'in') return allOf([...asked.needs, matches(asked, right, sets)]);
  if (asked.kind === 'port' && typeof right === 'number') {
    const [first, last] =
      op === '<' ? [0, right - 1] : op === '<=' ? [0, right] : op === '>' ? [right + 1, 65_535] : op === '>=' ? [right, 65_535] : [1, 0];
    if (first <= last) return allOf([...asked.needs, { kind: 'port', first, last }]);
  }
  return uncertain(asked.kind === 'unknown' ? asked.about : 'other');
}

/** One element of a verdict map, against what the map looks up. */
export function readKey(key: unknown, element: unknown, sets: NamedSets): Condition {
  const asked = subject(key);
  return allOf([...asked.needs, matches(asked, element, sets)]);
}

/** What a match looks at. `needs`: what must hold before it looks there at all. */
type Subject = { readonly needs: readonly Condition[] } & (
  | { readonly kind: 'port' | 'protocol' | 'family' | 'arrives-on' | 'leaves-by' | 'to' | 'to-type' | 'translated' }
  /** What we know of every packet that begins a connection. */
  | { readonly kind: 'fixed'; readonly holds: readonly string[] }
  | { readonly kind: 'concat'; readonly of: readonly Subject[] }
  | { readonly kind: 'unknown'; readonly about: Uncertainty }
);

function subject(left: unknown): Subject {
  const { meta, payload, ct, fib, concat, '&': masked, 'tcp option': tcpOption, exthdr } = fields(left);
  if (meta !== undefined) return metaSubject(fields(meta)['key']);
  if (payload !== undefined) return payloadSubject(fields(payload));
  if (ct !== undefined) return ctSubject(fields(ct)['key']);
  if (fib !== undefined) return fibSubject(fields(fib));
  // What a packet holds beside addresses and ports is its sender's choice.
  if (tcpOption !== undefined) return { ...unknownSubject('source'), needs: [{ kind: 'protocol', name: 'tcp' }] };
  if (exthdr !== undefined) return { ...unknownSubject('source'), needs: [{ kind: 'family', version: 6 }] };
  if (Array.isArray(masked)) return maskedSubject(masked);
  if (Array.isArray(concat)) {
    const of = concat.map(subject);
    return { kind: 'concat', of, needs: of.flatMap(({ needs }) => needs) };
  }
  return unknownSubject('other');
}

function metaSubject(key: unknown): Subject {
  switch (key) {
    case 'l4proto':
      return { kind: 'protocol', needs: [] };
    case 'nfproto':
    case 'protocol':
      return { kind: 'family', needs: [] };
    case 'iif':
    case 'iifname':
      return { kind: 'arrives-on', needs: [] };
    case 'oif':
    case 'oifname':
      return { kind: 'leaves-by', needs: [] };
    case 'pkttype':
      return { kind: 'fixed', holds: ['host', 'unicast'], needs: [] };
    case 'time':
    case 'day':
    case 'hour':
      return unknownSubject('time');
    default:
      return unknownSubject('other');
  }
}

function payloadSubject({ protocol, field }: Record<string, unknown>): Subject {
  switch (protocol) {
    case 'tcp':
    case 'udp':
    case 'th': {
      const needs: readonly Condition[] = protocol === 'th' ? [] : [{ kind: 'protocol', name: protocol }];
      if (field === 'dport') return { kind: 'port', needs };
      // Of a client's first packet: a SYN alone, from some port.
      if (field === 'flags') return { kind: 'fixed', holds: ['syn'], needs };
      return { ...unknownSubject('source'), needs };
    }
    case 'ip':
    case 'ip6': {
      const needs: readonly Condition[] = [{ kind: 'family', version: protocol === 'ip' ? 4 : 6 }];
      if (field === 'daddr') return { kind: 'to', needs };
      if (field === 'protocol' || field === 'nexthdr') return { kind: 'protocol', needs };
      return { ...unknownSubject('source'), needs };
    }
    case 'icmp':
    case 'icmpv6':
    case 'igmp':
    case 'sctp':
    case 'dccp':
    case 'esp':
    case 'ah':
    case 'udplite':
      return { ...unknownSubject('other'), needs: [NEVER] };
    default:
      return unknownSubject(protocol === 'ether' || protocol === 'arp' ? 'source' : 'other');
  }
}

function ctSubject(key: unknown): Subject {
  if (key === 'state') return { kind: 'fixed', holds: ['new'], needs: [] };
  if (key === 'direction') return { kind: 'fixed', holds: ['original'], needs: [] };
  if (key === 'status') return { kind: 'translated', needs: [] };
  return unknownSubject('other');
}

function fibSubject({ result, flags }: Record<string, unknown>): Subject {
  const of = Array.isArray(flags) ? flags : [];
  if (result === 'type' && of.includes('daddr')) return { kind: 'to-type', needs: [] };
  // The reverse path: a client that can have an answer at all has one.
  if (result === 'oif' && of.includes('saddr')) return { kind: 'fixed', holds: ['true'], needs: [] };
  return unknownSubject(of.includes('saddr') ? 'source' : 'other');
}

/** `tcp flags & (syn | ack)`, `ct status & dnat`: a mask that keeps the one bit that is set changes nothing. */
function maskedSubject([left, mask]: readonly unknown[]): Subject {
  const inner = subject(left);
  const bits = Array.isArray(mask) ? mask : [mask];
  if (inner.kind === 'fixed' && inner.holds.some((bit) => bits.includes(bit))) return inner;
  if (inner.kind === 'translated' && bits.length === 1 && bits[0] === 'dnat') return inner;
  return { ...unknownSubject('other'), needs: inner.needs };
}

function unknownSubject(about: Uncertainty): Extract<Subject, { kind: 'unknown' }> {
  return { kind: 'unknown', about, needs: [] };
}

function matches(asked: Subject, right: unknown, sets: NamedSets): Condition {
  if (asked.kind === 'unknown') return asked.about === 'source' && isNobody(right) ? NEVER : uncertain(asked.about);
  if (typeof right === 'string' && right.startsWith('@')) {
    const elements = sets(right.slice(1));
    if (elements === undefined) return hangsOnSource(asked) ? uncertain('source') : uncertain('other');
    // An element is a value, also one that looks like the name of a set (an interface may be called so): sets do not hold each other.
    return anyOf(elements.map((element) => matches(asked, element, () => undefined)));
  }
  const { set, elem } = fields(right);
  if (Array.isArray(set)) return anyOf(set.map((element) => matches(asked, element, sets)));
  // An element with a timeout, a comment or a counter.
  if (elem !== undefined) return matches(asked, fields(elem)['val'], sets);
  if (Array.isArray(right)) return anyOf(right.map((element) => matches(asked, element, sets)));
  if (right === '*') return ALWAYS;
  return asked.kind === 'concat' ? matchesEach(asked.of, right, sets) : matchesValue(asked, right);
}

function matchesEach(of: readonly Subject[], right: unknown, sets: NamedSets): Condition {
  const { concat } = fields(right);
  if (!Array.isArray(concat) || concat.length !== of.length) return uncertain('other');
  return allOf(of.map((part, at) => matches(part, concat[at], sets)));
}

function matchesValue(asked: Exclude<Subject, { kind: 'unknown' | 'concat' }>, right: unknown): Condition {
  const { range, prefix } = fields(right);
  switch (asked.kind) {
    case 'port': {
      const [first, last] = Array.isArray(range) ? range : [right, right];
      return typeof first === 'number' && typeof last === 'number' ? portsFrom(first, last) : uncertain('other');
    }
    case 'to': {
      const { addr, len } = fields(prefix);
      const network = typeof addr === 'string' ? parseNetwork(`${addr}/${String(len)}`) : parseNetwork(String(right));
      return network.ok ? { kind: 'to', network: network.value } : uncertain('destination');
    }
    case 'fixed':
      return asked.holds.includes(String(right)) ? ALWAYS : NEVER;
    case 'translated':
      return right === 'dnat' ? { kind: 'translated' } : right === 'snat' ? NEVER : uncertain('other');
    case 'protocol':
      return { kind: 'protocol', name: typeof right === 'number' ? protocolName(right) : String(right) };
    case 'family':
      if (right === 'ipv4' || right === 'ip') return { kind: 'family', version: 4 };
      return right === 'ipv6' || right === 'ip6' ? { kind: 'family', version: 6 } : NEVER;
    case 'to-type':
      return { kind: 'to-type', type: String(right) };
    default:
      return typeof right === 'string' ? { kind: asked.kind, name: right } : uncertain('other');
  }
}

function hangsOnSource(asked: Subject): boolean {
  if (asked.kind === 'concat') return asked.of.some(hangsOnSource);
  return asked.kind === 'unknown' && asked.about === 'source';
}

/** A source that no client has: loopback, multicast, none at all. */
function isNobody(right: unknown): boolean {
  const { prefix } = fields(right);
  const address = parseAddress(String(fields(prefix)['addr'] ?? right));
  if (!address.ok) return false;
  const { family, bytes, text } = address.value;
  const [head = 0] = bytes;
  return family === 4 ? head === 127 || head >= 224 : text === '::1' || head === 0xff;
}

export function protocolName(number: number): string {
  return number === 6 ? 'tcp' : number === 17 ? 'udp' : String(number);
}

/** The fields of a JSON object; none of anything else. */
export function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}
