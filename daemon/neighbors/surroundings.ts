// The host as packets meet it: its interfaces, its addresses, and by which of them clients come. Reads only.
import { access, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { addressFromBytes, contains, type IpAddress, type Network, parseAddress } from '../../protocol/address.ts';
import type { Surroundings } from './verdicts.ts';

/** `gated`: the interfaces that the configuration names; empty means all but lo. */
export async function surroundings(gated: readonly string[]): Promise<Surroundings> {
  const defaults = await defaultInterfaces();
  const interfaces = Object.entries(networkInterfaces()).map(async ([name, addresses = []]) => {
    const own = addresses.flatMap(({ address }) => {
      const parsed = parseAddress(address.replace(/%.*$/, ''));
      return parsed.ok ? [parsed.value] : [];
    });
    const networks = addresses.flatMap(({ cidr }) => networkOf(cidr ?? ''));
    return { name, own, networks, outside: gated.length > 0 ? gated.includes(name) : await isOutside(name, defaults) };
  });
  return { interfaces: await Promise.all(interfaces) };
}

/** A bridge that leads nowhere by default is one of containers or virtual machines. */
async function isOutside(name: string, defaults: ReadonlySet<string>): Promise<boolean> {
  if (name === 'lo') return false;
  if (defaults.has(name)) return true;
  return access(`/sys/class/net/${name}/bridge`).then(
    () => false,
    () => true,
  );
}

async function defaultInterfaces(): Promise<ReadonlySet<string>> {
  const [ipv4, ipv6] = await Promise.all(
    ['route', 'ipv6_route'].map((file) => readFile(`/proc/self/net/${file}`, 'latin1').catch(() => '')),
  );
  const lines = [...(ipv4 ?? '').split('\n'), ...(ipv6 ?? '').split('\n')].map((line) => line.trim().split(/\s+/));
  return new Set(
    lines.flatMap((fields) => {
      if (fields.length >= 11 && fields[1] === '00000000' && fields[7] === '00000000') return [fields[0] ?? ''];
      return fields.length === 10 && /^0{32}$/.test(fields[0] ?? '') && fields[1] === '00' ? [fields[9] ?? ''] : [];
    }),
  );
}

/** `10.0.0.5/24` as the network 10.0.0.0/24. */
function networkOf(cidr: string): readonly Network[] {
  const [text = '', length = ''] = cidr.split('/');
  const address = parseAddress(text.replace(/%.*$/, ''));
  if (!address.ok || !/^\d+$/.test(length)) return [];
  const prefix = Number(length);
  const base = masked(address.value, prefix);
  const network = { address: base, prefix, text: `${base.text}/${prefix}` };
  return contains(network, address.value) ? [network] : [];
}

function masked(address: IpAddress, prefix: number): IpAddress {
  return addressFromBytes(address.bytes.map((byte, at) => byte & (0xff00 >> Math.min(8, Math.max(0, prefix - at * 8)))));
}
