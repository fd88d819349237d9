// Every system that is compared, each in the way it is set up here. One list for all measurements.
import { createFwknopd } from './fwknopd.ts';
import { createKnockd } from './knockd.ts';
import { createPostern, type PosternOptions } from './postern.ts';
import type { Variant } from './system.ts';

function postern(key: string, name: string, setup: string, options: Omit<PosternOptions, 'name'> = {}): Variant {
  return { key, name, setup, create: (ground, more) => createPostern(ground, { name, ...options, ...more }) };
}

const FWKNOPD = '`fwknopd` of Debian, AES and HMAC-SHA256 keys by `fwknop --key-gen`, iptables';

export const VARIANTS: readonly Variant[] = [
  postern('postern', 'Postern', 'as shipped: nftables, NFLOG, the sieve, the environment of the unit (no just-in-time compiler)'),
  postern('postern-jit', 'Postern, compiled', "the same with V8's compiler, as a drop-in gives it back", { isCompiled: true }),
  postern('postern-iptables', 'Postern, iptables', '`firewall: iptables` (NFLOG and ipset; no sieve)', {
    config: { firewall: 'iptables' },
  }),
  postern('postern-raw', 'Postern, raw', '`capture: raw` with nftables', { config: { capture: 'raw' } }),
  postern('postern-udp', 'Postern, udp', '`capture: udp` with nftables', { config: { capture: 'udp' } }),
  {
    key: 'fwknopd',
    name: 'fwknopd',
    setup: `${FWKNOPD}, libpcap, every default`,
    create: (ground, more) => createFwknopd(ground, { name: 'fwknopd', mode: 'pcap', ...more }),
  },
  {
    key: 'fwknopd-tuned',
    name: 'fwknopd, tuned',
    setup: 'the same with `PCAP_LOOP_SLEEP 1000` (looks every millisecond instead of every 100)',
    create: (ground, more) => createFwknopd(ground, { name: 'fwknopd, tuned', mode: 'pcap', sleepUs: 1000, ...more }),
  },
  {
    key: 'fwknopd-udp',
    name: 'fwknopd, UDP server',
    setup: 'the same with `ENABLE_UDP_SERVER Y` (a UDP socket instead of libpcap)',
    create: (ground, more) => createFwknopd(ground, { name: 'fwknopd, UDP server', mode: 'udp', ...more }),
  },
  {
    key: 'knockd',
    name: 'knockd',
    setup: '`knockd` of Debian, a sequence of three UDP ports sent back to back, `start_command` and `stop_command` with iptables',
    create: (ground) => createKnockd(ground, { name: 'knockd' }),
  },
];

export function variant(key: string): Variant {
  const found = VARIANTS.find((each) => each.key === key);
  if (found === undefined) throw new Error(`no system is called ${key}: ${VARIANTS.map((each) => each.key).join(', ')}`);
  return found;
}
