// Which address of this machine a knock is bound to, if any (SPEC "Client rules that belong to security"). Pure: asks no resolver, opens no socket.
import { contains, type IpAddress, type Network, parseAddress } from '../protocol/address.ts';
import type { Parsed } from '../protocol/brand.ts';
import { parsed, unparsed } from '../protocol/brand.ts';
import type { KnockSource } from '../protocol/knock.ts';
import { type Endpoint, formatEndpoint, parseEndpoint } from './endpoint.ts';
import { quote } from './quote.ts';

/** What `--source` or the profile says. */
export type SourceMode =
  | { readonly kind: 'auto' }
  | { readonly kind: 'none' }
  | { readonly kind: 'bound' }
  | { readonly kind: 'address'; readonly address: IpAddress }
  /** What a STUN server says; without a server, the profile's is meant. */
  | { readonly kind: 'stun'; readonly server: Endpoint | undefined }
  /** `--on-behalf`: an address that is not this machine's, of whatever family. */
  | { readonly kind: 'on-behalf'; readonly address: IpAddress };

/** A mode in which nothing is left open. */
export type SettledMode = Exclude<SourceMode, { readonly kind: 'stun' }> | { readonly kind: 'stun'; readonly server: Endpoint };

/** Whether a translator between IPv6 and IPv4 may stand before the target. `unknown`: the resolver did not say in time. */
export type Translation = 'none' | 'translated' | 'unknown';

// IANA special-purpose registries: what is not globally reachable, or is an end of a tunnel that may be translated.
export const notGlobal = lazily([
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
  '2001::/23',
  '2001:db8::/32',
  '2002::/16',
  '3fff::/20',
]);

const globalIpv6 = lazily(['2000::/3']);
// RFC 6052: the well-known prefix of translators.
const nat64WellKnown = lazily(['64:ff9b::/96']);
// RFC 7335: the client's side of 464XLAT.
const clat = lazily(['192.0.0.0/29']);
// Addresses that name no host as others see it (P32): binding to them can only make the server refuse.
export const senseless = lazily(['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3', '::/127', 'fe80::/10', 'ff00::/8']);

// A server takes them as somebody's own address, but never as one that a client only claims.
const documentation = lazily(['192.0.2.0/24', '198.51.100.0/24', '203.0.113.0/24', '2001:db8::/32', '3fff::/20']);

// RFC 8489 section 18.5.
const STUN_PORT = 3478;

// RFC 6052 section 2.2: where the IPv4 address stands, for each length of prefix. Byte 8 is always zero and skipped.
const EMBEDDED_AT: readonly { readonly prefix: number; readonly bytes: readonly number[] }[] = [
  { prefix: 96, bytes: [12, 13, 14, 15] },
  { prefix: 64, bytes: [9, 10, 11, 12] },
  { prefix: 56, bytes: [7, 9, 10, 11] },
  { prefix: 48, bytes: [6, 7, 9, 10] },
  { prefix: 40, bytes: [5, 6, 7, 9] },
  { prefix: 32, bytes: [4, 5, 6, 7] },
];

/** Reads the SERVER of `stun:SERVER`. */
export function parseStunServer(text: string): Parsed<Endpoint> {
  return parseEndpoint(text, STUN_PORT, 'a STUN server');
}

/** Reads `auto`, `none`, `bound`, `stun`, `stun:SERVER` or an address. */
export function parseSource(text: string): Parsed<SourceMode> {
  if (text === 'auto' || text === 'none' || text === 'bound') return parsed({ kind: text });
  if (text === 'stun') return parsed({ kind: 'stun', server: undefined });
  if (text.startsWith('stun:')) {
    const server = parseStunServer(text.slice('stun:'.length));
    return server.ok ? parsed({ kind: 'stun', server: server.value }) : server;
  }
  const address = parseAddress(text);
  if (!address.ok) return unparsed(`not a source: ${quote(text)} (write auto, bound, none, stun:SERVER or an IP address)`);
  if (isSenseless(address.value)) return unparsed(`${address.value.text} is not an address that a server could see this machine under`);
  return parsed({ kind: 'address', address: address.value });
}

/** As `parseSource` reads it. */
export function formatSource(mode: SourceMode): string {
  switch (mode.kind) {
    case 'address':
    case 'on-behalf':
      return mode.address.text;
    case 'stun':
      return mode.server === undefined ? 'stun' : `stun:${formatEndpoint(mode.server)}`;
    default:
      return mode.kind;
  }
}

/** Reads the address of `--on-behalf`. */
export function parseOnBehalf(text: string): Parsed<SourceMode> {
  const address = parseAddress(text);
  if (!address.ok) return unparsed(`not an IP address: ${quote(text)}`);
  if (isSenseless(address.value) || holdsOne(documentation(), address.value))
    return unparsed(`${address.value.text} is not an address that a server could open a door for`);
  return parsed({ kind: 'on-behalf', address: address.value });
}

/** Whether the address is this machine's own name in the whole internet, so that no translator is likely to change it. */
export function isGlobal(address: IpAddress): boolean {
  if (address.family === 6 && !holdsOne(globalIpv6(), address)) return false;
  return !holdsOne(notGlobal(), address);
}

/**
 * The source of a knock to `target` from `local`, the address that this machine is seen under: the one that the system would send from,
 * or with `stun` what the server said.
 * `auto` binds only what no translator changes; `bound` and an address bind or fail: they never fall back.
 */
export function chooseSource(mode: SettledMode, local: IpAddress, target: IpAddress, translation: Translation): Parsed<KnockSource> {
  switch (mode.kind) {
    case 'none':
      return parsed({ kind: 'unbound' });
    case 'on-behalf':
      return parsed({ kind: 'bound', address: mode.address });
    case 'address':
      if (mode.address.family !== target.family) return unparsed(`--source ${mode.address.text} is not of the family of ${target.text}`);
      return parsed({ kind: 'bound', address: mode.address });
    case 'auto': {
      const safe = local.family === target.family && isGlobal(local) && !isTranslated(local, target) && translation === 'none';
      return parsed(safe ? { kind: 'bound', address: local } : { kind: 'unbound' });
    }
    case 'stun':
    case 'bound':
      if (local.family !== target.family)
        return unparsed(`the knock cannot be bound: ${local.text} is not of the family of ${target.text}`);
      if (isSenseless(local))
        return unparsed(`the knock cannot be bound: this machine reaches ${target.text} as ${local.text}, which no server can see`);
      if (isTranslated(local, target) || translation === 'translated')
        return unparsed(`the knock cannot be bound: an address translator (NAT64) stands before ${target.text}`);
      return parsed({ kind: 'bound', address: local });
  }
}

/** Whether `chooseSource` would use the answer to RFC 7050's question: asking costs a name lookup. */
export function needsTranslation(mode: SettledMode, local: IpAddress, target: IpAddress): boolean {
  if (target.family === 4 || isTranslated(local, target)) return false;
  return mode.kind === 'bound' || mode.kind === 'stun' || (mode.kind === 'auto' && isGlobal(local));
}

/** Whether an IPv6 address holds one of these IPv4 addresses where RFC 6052 puts it: only then can DNS64 have made it. */
export function embedsOneOf(target: IpAddress, ipv4: readonly IpAddress[]): boolean {
  return target.family === 6 && EMBEDDED_AT.some((form) => ipv4.some((address) => holds(target, form.bytes, address)));
}

/** RFC 7050: the prefixes that the answers for ipv4only.arpa (192.0.0.170 and .171) show, and whether `target` lies in one. */
export function isBehindDiscovered(target: IpAddress, ipv4OnlyAnswers: readonly IpAddress[]): boolean {
  const wellKnown = [new Uint8Array([192, 0, 0, 170]), new Uint8Array([192, 0, 0, 171])];
  return ipv4OnlyAnswers.some((answer) =>
    EMBEDDED_AT.some(
      (form) =>
        wellKnown.some((bytes) => form.bytes.every((at, index) => answer.bytes[at] === bytes[index])) &&
        answer.bytes.subarray(0, form.prefix / 8).every((byte, at) => target.bytes[at] === byte),
    ),
  );
}

function holds(target: IpAddress, at: readonly number[], ipv4: IpAddress): boolean {
  return ipv4.family === 4 && at.every((position, index) => target.bytes[position] === ipv4.bytes[index]);
}

function isTranslated(local: IpAddress, target: IpAddress): boolean {
  return holdsOne(nat64WellKnown(), target) || holdsOne(clat(), local);
}

/** Whether binding to the address can only make the server refuse. */
export function isSenseless(address: IpAddress): boolean {
  return holdsOne(senseless(), address);
}

function holdsOne(networks: readonly Network[], address: IpAddress): boolean {
  return networks.some((network) => contains(network, address));
}

/** A table that is read when it is first asked for: most knocks ask for few of them, and each costs as much as a system call or more. */
function lazily(texts: readonly string[]): () => readonly Network[] {
  let networks: readonly Network[] | undefined;
  return () => {
    networks ??= texts.map(fixedNetwork);
    return networks;
  };
}

/**
 * A network of the tables above, whose texts are canonical (a test holds them to it). Not `parseNetwork`: node's expression for IPv6
 * addresses takes 4 ms to compile, at each start.
 */
function fixedNetwork(text: string): Network {
  const [head = '', prefix] = text.split('/');
  const bytes = new Uint8Array(head.includes(':') ? 16 : 4);
  if (bytes.length === 4) bytes.set(head.split('.').map(Number));
  else
    for (const [at, group] of head.split(':', 8).entries()) new DataView(bytes.buffer).setUint16(at * 2, Number.parseInt(group || '0', 16));
  return { address: { family: bytes.length === 4 ? 4 : 6, bytes, text: head }, prefix: Number(prefix), text };
}
