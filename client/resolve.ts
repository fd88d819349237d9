// Turns HOST into the addresses to knock at, both families. Asks the system's resolver, never a DNS server of its own.
import { isIP } from 'node:net';
import { type Family, type IpAddress, parseAddress } from '../protocol/address.ts';
import { CommandError } from './command-error.ts';
import { quote } from './quote.ts';
import { embedsOneOf, isBehindDiscovered, type Translation } from './source.ts';

// Tunable: the question of RFC 7050 must not hold up a knock.
const TRANSLATION_TIMEOUT_MS = 250;

/** The targets, first choice first, and all IPv4 addresses of the name (which tell whether DNS64 made the others). */
export type Resolved = { readonly targets: readonly IpAddress[]; readonly ipv4: readonly IpAddress[]; readonly literal: boolean };

/** Looks HOST up. `family` keeps one of both. Fails with a message that says what to do. */
export async function resolveHost(host: string, family: Family | undefined, timeoutMs: number): Promise<Resolved> {
  const bare = /^\[.*\]$/.test(host) ? host.slice(1, -1) : host;
  if (isIP(bare) !== 0 || bare.includes('%')) return literalTarget(bare, family);
  const answers = await boundedLookup(bare, timeoutMs);
  const addresses = answers.flatMap((text) => {
    const address = parseAddress(text);
    return address.ok ? [address.value] : [];
  });
  const unique = [...new Map(addresses.map((address) => [address.text, address])).values()];
  const targets = unique.filter((address) => family === undefined || address.family === family);
  if (targets.length === 0)
    throw new CommandError(
      1,
      'no-address',
      `${quote(host)} has no IPv${family} address: leave out -${family} (or AddressFamily in ssh's configuration)`,
    );
  return { targets: interleaved(targets), ipv4: unique.filter((address) => address.family === 4), literal: false };
}

/** Whether a NAT64 stands before an IPv6 target. Asks only when DNS64 can have made the address, or when it was typed. */
export async function findTranslation(target: IpAddress, resolved: Resolved): Promise<Translation> {
  if (target.family === 4) return 'none';
  // DNS64 makes an AAAA only out of an A of the same name (RFC 6147 5.1.7).
  if (!resolved.literal && !embedsOneOf(target, resolved.ipv4)) return 'none';
  const { lookup } = await import('node:dns');
  const answers = await new Promise<readonly string[] | undefined>((resolve) => {
    const timer = setTimeout(() => resolve(undefined), TRANSLATION_TIMEOUT_MS);
    lookup('ipv4only.arpa', { all: true, family: 6 }, (error, found) => {
      clearTimeout(timer);
      const nothingThere = error?.code === 'ENOTFOUND' || error?.code === 'ENODATA';
      resolve(error === null ? found.map((answer) => answer.address) : nothingThere ? [] : undefined);
    });
  });
  if (answers === undefined) return 'unknown';
  const addresses = answers.flatMap((text) => {
    const address = parseAddress(text);
    return address.ok ? [address.value] : [];
  });
  return isBehindDiscovered(target, addresses) ? 'translated' : 'none';
}

function literalTarget(text: string, family: Family | undefined): Resolved {
  const address = parseAddress(text);
  if (!address.ok) {
    const scoped = text.includes('%') ? ': link-local addresses with a scope are not supported' : '';
    throw new CommandError(2, 'usage', `cannot knock at ${quote(text)}${scoped || ': not an IP address'}`);
  }
  if (family !== undefined && address.value.family !== family)
    throw new CommandError(2, 'usage', `-${family} was given, but ${address.value.text} is an IPv${address.value.family} address`);
  return { targets: [address.value], ipv4: address.value.family === 4 ? [address.value] : [], literal: true };
}

async function boundedLookup(host: string, timeoutMs: number): Promise<readonly string[]> {
  // Not before a name is to be looked up: an address needs none of it.
  const { lookup } = await import('node:dns');
  return await new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(
        new CommandError(
          1,
          'lookup-failed',
          `no name server answered for ${quote(host)} within ${timeoutMs / 1000} s: check the network, or give the address`,
        ),
      );
    }, timeoutMs);
    lookup(host, { all: true, verbatim: true }, (error, found) => {
      clearTimeout(timer);
      if (error === null) resolve(found.map((answer) => answer.address));
      else reject(lookupError(host, error.code));
    });
  });
}

function lookupError(host: string, code: string | undefined): CommandError {
  const advice =
    code === 'ENOTFOUND'
      ? `the name ${quote(host)} is not known: check its spelling, or give the address or a profile's name`
      : `the name ${quote(host)} could not be looked up (${code ?? 'unknown error'}): check the network and its name servers`;
  return new CommandError(1, 'lookup-failed', advice);
}

/** The resolver's first choice first, then the families in turn (RFC 8305), so that a cut after a few holds both. */
function interleaved(addresses: readonly IpAddress[]): readonly IpAddress[] {
  const first = addresses.filter((address) => address.family === addresses[0]?.family);
  const second = addresses.filter((address) => address.family !== addresses[0]?.family);
  return Array.from({ length: Math.max(first.length, second.length) }, (_, at) => [first[at], second[at]])
    .flat()
    .filter((address) => address !== undefined);
}
