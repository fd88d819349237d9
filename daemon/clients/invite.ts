// The invitation of one client: what the rules give it, as its own program needs to know it. Pure but for the look-up of a host's name.
import { lookup } from 'node:dns/promises';
import { domainToASCII } from 'node:url';
import { contains, type IpAddress, type Network, parseAddress, parseNetwork } from '../../protocol/address.ts';
import type { PublicKey } from '../../protocol/identity.ts';
import { invitationProblem } from '../../protocol/invitation.ts';
import { type Invitation, type InvitedService, MAX_RANGES, MAX_SERVICES } from '../../protocol/invitation-body.ts';
import { formatPortRange } from '../../protocol/ports.ts';
import type { Config } from '../config/config.ts';
import { quoted } from '../problem.ts';
import type { Client } from '../rules/rulebook.ts';

// Tunable: a resolver that does not answer must not hold up a command.
const PATIENCE_MS = 3000;

export type InviteInput = {
  readonly client: Client;
  readonly config: Pick<Config, 'port'>;
  readonly serverKey: PublicKey;
  readonly host: string;
  readonly seed: Uint8Array | undefined;
};

/** The first entry that gives a service says how, as it does for a knock. `left`: services that do not fit. */
export function inviteOf({ client, config, serverKey, host, seed }: InviteInput): {
  readonly invitation: Invitation;
  readonly left: readonly string[];
} {
  const services = new Map<string, InvitedService>();
  const left: string[] = [];
  for (const entry of client.allow) {
    for (const { name, ports } of entry.services) {
      const only = ports.length === 1 ? ports[0] : undefined;
      const unnamed = only !== undefined && formatPortRange(only) === name;
      if (services.has(name) || left.includes(name)) continue;
      if (ports.length > MAX_RANGES || services.size >= MAX_SERVICES) left.push(name);
      else services.set(name, { name: unnamed ? undefined : name, ports, once: entry.once, byDefault: entry.byDefault });
    }
  }
  const serviceList = [...services.values()];
  const source = client.allow.some((entry) => entry.requireSource) ? 'bound' : 'auto';
  const needsPsk = client.presharedKeys.length > 0;
  const { slots } = client;
  const make = (): Invitation => ({ host, port: config.port, serverKey, slots, source, needsPsk, services: serviceList, seed });
  while (serviceList.length > 0 && invitationProblem(make()) !== undefined) left.push(labelOf(serviceList.pop()));
  return { invitation: make(), left };
}

function labelOf(service: InvitedService | undefined): string {
  return service?.name ?? service?.ports.map(formatPortRange).join() ?? '';
}

/** As invitations hold it: lower case, international names as DNS has them, addresses in their one form. */
export function canonicalHost(text: string): string {
  const address = parseAddress(text.replace(/^\[(.*)\]$/, '$1'));
  if (address.ok) return address.value.text;
  return domainToASCII(text.replace(/\.$/, '')) || text;
}

/** Why clients elsewhere may not find this server by that name; undefined when nothing speaks against it. `given`: somebody typed it. */
export async function hostDoubt(host: string, given: boolean): Promise<string | undefined> {
  const cure = given ? 'check that clients can use it' : 'say with --host how clients reach this server';
  const literal = parseAddress(host);
  const addresses = literal.ok ? [literal.value] : await addressesOf(host);
  if (addresses.length === 0) return `the name ${quoted(host)} leads nowhere from here: ${cure}`;
  const reaches = addresses.map(reach);
  const shown = literal.ok ? host : `${host} (${addresses.map(({ text }) => text).join(', ')})`;
  if (reaches.every((each) => each === 'here')) return `${shown} leads to this machine only: ${cure}`;
  if (!reaches.includes('anywhere'))
    return `${shown} is a private address, which clients elsewhere cannot reach: ${cure}, unless that is meant`;
  // What this machine finds in its own /etc/hosts, and nobody else anywhere.
  if (!given && !literal.ok && !host.includes('.')) return `${shown} has no domain, and clients elsewhere may not find it: ${cure}`;
  return undefined;
}

async function addressesOf(host: string): Promise<readonly IpAddress[]> {
  const late = new Promise<[]>((resolve) => setTimeout(resolve, PATIENCE_MS, []).unref());
  const found = await Promise.race([lookup(host, { all: true }).catch(() => []), late]);
  return found.flatMap(({ address }) => {
    const parsed = parseAddress(address.replace(/%.*$/, ''));
    return parsed.ok ? [parsed.value] : [];
  });
}

const HERE = networks(['0.0.0.0/8', '127.0.0.0/8', '::/127']);
const PRIVATE = networks(['10.0.0.0/8', '100.64.0.0/10', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', 'fe80::/10']);

function reach(address: IpAddress): 'here' | 'private' | 'anywhere' {
  if (HERE.some((network) => contains(network, address))) return 'here';
  return PRIVATE.some((network) => contains(network, address)) ? 'private' : 'anywhere';
}

function networks(texts: readonly string[]): readonly Network[] {
  return texts.map((text) => {
    const network = parseNetwork(text);
    if (!network.ok) throw new TypeError(network.why);
    return network.value;
  });
}
