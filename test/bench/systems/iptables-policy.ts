// The firewall policy of the systems that only add rules: the port refuses whoever is not let in, as Postern's gate with `refuse: reject` does.
import type { Host } from '../../lab/host.ts';
import { TIMED_PORT } from '../crowd.ts';

/** `listening`: UDP ports that the system's own socket needs; all others drop in silence, as Postern's sieve does. */
export async function closeByIptables(server: Host, listening: readonly number[]): Promise<void> {
  const rules = [
    '-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT',
    `-A INPUT -p tcp --dport ${TIMED_PORT} -j REJECT --reject-with tcp-reset`,
    ...listening.map((port) => `-A INPUT -p udp --dport ${port} -j ACCEPT`),
    '-A INPUT -p udp -j DROP',
  ];
  await server.exec(['iptables-restore'], { stdin: `*filter\n${rules.join('\n')}\nCOMMIT\n` });
}
