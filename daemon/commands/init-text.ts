// The files that `posternd init` writes: a configuration and a rule file that explain themselves. Pure text.
import { contains, type IpAddress, parseNetwork } from '../../protocol/address.ts';
import { safeText } from '../safe-text.ts';
import type { Listening } from './listening.ts';

/** Where a daemon writes: the system's places, or beside a configuration that stands elsewhere, so that two instances share nothing. */
export type WritePlaces = { readonly state: string; readonly control: string; readonly audit: string };

/** postern.yaml for a new host. Paths that are relative stand beside the file. */
export function configText(listening: readonly Listening[], knockPort: number, places: WritePlaces): string {
  const candidates = candidateLines(listening, knockPort);
  const listed =
    candidates.length === 0
      ? ['  # - ssh', '  # (nothing that others can reach listened when this file was made)']
      : ['  # What listened for others when this file was made. Take the # away where a knock shall come first:', ...candidates];
  return `# Postern: the ports under "protect" are closed to everyone who has not knocked.
# After each change: posternd check, then posternd reload.

# This server's own key (OpenSSH Ed25519); clients need its public line.
server_key: host_ed25519

# UDP port that knocks are sent to. Nothing listens there.
port: ${knockPort}

# Closed unless granted: names from /etc/services or "services" below, or tcp/22, udp/51820, tcp/9000-9010.
protect:
${listed.join('\n')}

# Names that knocks and rules can use.
services:
  # admin-panel: tcp/8443
  # vpn: [udp/51820, tcp/51821]

# Networks that are never gated. Keep a way in for yourself until the first knock has worked.
trusted:
  # - 192.168.0.0/16

# Where the gate stands; without this, on every interface but lo.
# interfaces: [eth0]     # "wg0?" may be absent when the daemon starts

# What a protected port answers without a grant: drop (nothing), or reject (like a closed port).
refuse: drop

# Lifetime of a grant when neither rule nor knock says; live grants that one client may have; how far its clock may be off.
default_ttl: 30s
max_grants: 32
clock_tolerance: 60s

# Who may knock: every *.yaml below this folder.
rules: rules.d

# The replay ledger and the live grants; the socket of "posternd status" and its like.
state: ${places.state}
control: ${places.control}

# Who asked for what and what came of it, signed and chained: "posternd log". Renamed at max_size, the oldest removed beyond keep; or audit: none.
log:
  level: info
  audit: { file: ${places.audit}, max_size: 64M, keep: 16 }

# Figures for Prometheus, through node_exporter's textfile collector; its folder must be writable by the daemon (docs/metrics.md).
# metrics: { textfile: /var/lib/prometheus/node-exporter/postern.prom }
`;
}

/** One rule file to copy: all of it commented out, so that nobody is let in by an example. */
export function exampleRuleText(): string {
  return `# One file for a person, a team or a purpose. Copy this, or take the # away.
# A client makes its key with "knock keygen" and gives you the public line; ~/.ssh/id_ed25519.pub is as good.
#
# name: operations
# clients:
#   - name: alice
#     key: ssh-ed25519 AAAA... alice@laptop
#   - name: bob
#     keys_file: /home/bob/.ssh/authorized_keys   # its ssh-ed25519 lines
#     expires: 2027-03-31
# allow:
#   - services: [ssh]          # given when a knock names nothing
#     ttl: 30s
#     max_ttl: 1h
#   - services: [tcp/8443]
#     default: false           # only when asked for
#     from: [10.0.0.0/8]
`;
}

const LOOPBACK = ['127.0.0.0/8', '::1/128'].flatMap((text) => {
  const network = parseNetwork(text);
  return network.ok ? [network.value] : [];
});

function candidateLines(listening: readonly Listening[], knockPort: number): readonly string[] {
  const reachable = listening.filter(
    ({ address, protocol, port }) => !LOOPBACK.some((network) => contains(network, address)) && !(protocol === 'udp' && port === knockPort),
  );
  const byPort = new Map<string, { readonly addresses: Set<string>; readonly programs: Set<string> }>();
  const sorted = [...reachable].sort((a, b) => (a.protocol === b.protocol ? a.port - b.port : a.protocol < b.protocol ? -1 : 1));
  for (const { protocol, port, address, program } of sorted) {
    const key = `${protocol}/${port}`;
    const known = byPort.get(key) ?? { addresses: new Set(), programs: new Set() };
    known.addresses.add(shownAddress(address));
    if (program !== undefined && program !== '') known.programs.add(safeText(program, 20));
    byPort.set(key, known);
  }
  return [...byPort].map(([key, { addresses, programs }]) => {
    const who = [...programs].sort().join(', ') || 'an unknown program';
    return `  # - ${key.padEnd(10)} # ${who}, on ${[...addresses].join(', ')}`;
  });
}

function shownAddress(address: IpAddress): string {
  return address.bytes.every((byte) => byte === 0) ? 'every address' : address.text;
}
