// Settles the address that a knock is for (SPEC "What the server does", step 7). Pure. It opens nothing and asks no rule but
// whether somebody may speak for another address at all.
import { contains, type IpAddress, type Network, parseNetwork } from '../../protocol/address.ts';
import type { KnockSource } from '../../protocol/knock.ts';
import { drop, pass, type Step } from '../step.ts';

/** P32: nobody connects from these, or an element for them would not mean one host. */
const SENSELESS = networks([
  ['0.0.0.0/8', 'this network'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link-local'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved or broadcast'],
  ['::/96', 'unspecified, loopback or IPv4-compatible'],
  ['fe80::/10', 'link-local: it means nothing without its interface'],
  ['ff00::/8', 'multicast'],
]);

/**
 * Documentation addresses make no sense as something that a client claims. As the source of a packet that arrived they are a
 * network that somebody really runs, a laboratory most likely, and the claim is proven as far as any source is.
 */
const DOCUMENTATION = networks([
  ['192.0.2.0/24', 'documentation'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['2001:db8::/32', 'documentation'],
  ['3fff::/20', 'documentation'],
]);

export type Settled = {
  readonly address: IpAddress;
  /** `other`: bound to another address than the packet's; only `on_behalf` entries may serve it. */
  readonly how: 'bound' | 'unbound' | 'other';
};

/** `mayActForOthers`: whether any entry of the client has `on_behalf`. For a close that is all there is to ask. */
export function settleAddress(source: KnockSource, datagramSource: IpAddress, mayActForOthers: boolean): Step<Settled> {
  const address = source.kind === 'bound' ? source.address : datagramSource;
  const same = address.text === datagramSource.text;
  const sense = senseless(address, SENSELESS) ?? (same ? undefined : senseless(address, DOCUMENTATION));
  if (sense !== undefined) return drop('senseless-address', `${address.text} (${sense})`);
  if (source.kind === 'unbound') return pass({ address, how: 'unbound' });
  if (same) return pass({ address, how: 'bound' });
  if (!mayActForOthers) return drop('relayed', `bound to ${address.text}, came from ${datagramSource.text}`);
  return pass({ address, how: 'other' });
}

/** What an address is that nobody connects from; undefined for others. */
export function senselessAddress(address: IpAddress): string | undefined {
  return senseless(address, SENSELESS);
}

/** What a network is of which no address is one that somebody connects from; undefined for others. */
export function senselessNetwork({ address, prefix }: Network): string | undefined {
  return SENSELESS.find(({ network }) => network.prefix <= prefix && contains(network, address))?.what;
}

type Reserved = { readonly network: Network; readonly what: string };

function senseless(address: IpAddress, reserved: readonly Reserved[]): string | undefined {
  return reserved.find(({ network }) => contains(network, address))?.what;
}

function networks(rows: readonly (readonly [text: string, what: string])[]): readonly Reserved[] {
  return rows.map(([text, what]) => {
    const network = parseNetwork(text);
    if (!network.ok) throw new TypeError(network.why);
    return { network: network.value, what };
  });
}
