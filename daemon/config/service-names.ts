// What a service name stands for: the configuration's own names first, then those of /etc/services.
import { readFile } from 'node:fs/promises';
import { SERVICE_NAME } from '../../protocol/knock.ts';
import { type PortRange, parsePortRange } from '../../protocol/ports.ts';
import { mergeRanges } from './ranges.ts';

export type ServiceNames = ReadonlyMap<string, readonly PortRange[]>;

/** A minimal Debian has no /etc/services (package netbase); what everybody writes works there too. */
const WITHOUT_A_FILE = `
ssh 22/tcp
smtp 25/tcp
domain 53/tcp
domain 53/udp
http 80/tcp www
ntp 123/udp
imap2 143/tcp imap
ldap 389/tcp
https 443/tcp
submission 587/tcp
imaps 993/tcp
mysql 3306/tcp
postgresql 5432/tcp
`;

/** The host's own names. */
export async function systemServiceNames(): Promise<ServiceNames> {
  const lines = await readFile('/etc/services', 'latin1').catch(() => '');
  return new Map([...parseServices(WITHOUT_A_FILE), ...parseServices(lines)]);
}

/** Reads the form of services(5). A name with tcp and udp stands for both; names that no knock can carry are left out. */
export function parseServices(lines: string): ServiceNames {
  const names = new Map<string, readonly PortRange[]>();
  for (const line of lines.split('\n')) {
    const [name = '', port = '', ...aliases] = (line.split('#')[0] ?? '').trim().split(/\s+/);
    const [number, protocol] = port.split('/');
    const range = parsePortRange(`${protocol}/${number}`);
    if (!range.ok) continue;
    for (const each of [name, ...aliases]) {
      if (SERVICE_NAME.test(each)) names.set(each, mergeRanges([...(names.get(each) ?? []), range.value]));
    }
  }
  return names;
}
