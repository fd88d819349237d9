// The TCP connections that this host has now, and how to end some of them. Knows nothing of sets.
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { addressFromBytes, type IpAddress } from '../../../protocol/address.ts';
import type { PortRange } from '../../../protocol/ports.ts';
import { run } from '../../spawn.ts';
import type { Opening } from '../firewall.ts';
import type { Flow } from './sets.ts';

const LITTLE = endianness() === 'LE';
// TCP states as /proc prints them: those that are no connection (TIME_WAIT, CLOSE, LISTEN).
const NO_CONNECTION: ReadonlySet<string> = new Set(['06', '07', '0A']);
const KILL_TIMEOUT_MS = 5000;

/** Connections to one of the ports that live in this network namespace, from the tables in /proc. */
export function liveConnections(ports: readonly PortRange[]): readonly Flow[] {
  return ['/proc/self/net/tcp', '/proc/self/net/tcp6'].flatMap((file) => parseSocketTable(readTable(file), ports));
}

function readTable(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    // A host without IPv6 has no tcp6.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}

/** Reads /proc/net/tcp or tcp6: `sl local_address rem_address st …`, addresses as hexadecimal words of the host's byte order. */
export function parseSocketTable(text: string, ports: readonly PortRange[]): readonly Flow[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const [, localText = '', peerText = '', state = ''] = line.trim().split(/\s+/);
      const local = parseEndpoint(localText);
      const peer = parseEndpoint(peerText);
      if (local === undefined || peer === undefined || NO_CONNECTION.has(state)) return [];
      if (!ports.some(({ protocol, first, last }) => protocol === 'tcp' && first <= local.port && local.port <= last)) return [];
      if (local.address.family !== peer.address.family) return [];
      return [{ peer: peer.address, peerPort: peer.port, local: local.address, localPort: local.port }];
    });
}

function parseEndpoint(text: string): { readonly address: IpAddress; readonly port: number } | undefined {
  const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(text);
  if (match === null) return undefined;
  const words = Buffer.from(match[1] ?? '', 'hex');
  if (LITTLE) words.swap32();
  return { address: addressFromBytes(words), port: Number.parseInt(match[2] ?? '', 16) };
}

/** Ends this host's own TCP connections that these openings let in. What cannot be ended at once is told; never rejects. */
export async function endConnections(openings: readonly Opening[], onTrouble: (text: string) => void): Promise<void> {
  const tcp = openings.filter(({ protocol }) => protocol === 'tcp');
  if (tcp.length === 0) return;
  // A range has many ports and few connections: a child for each port took six seconds for a thousand.
  let live: ReadonlySet<string>;
  try {
    live = new Set(
      liveConnections([{ protocol: 'tcp', first: 0, last: 65_535 }]).map(({ peer, localPort }) => `${peer.text} ${localPort}`),
    );
  } catch (error) {
    onTrouble(`connections that were cut end with their next packet, not at once: ${error instanceof Error ? error.message : ''}`);
    return;
  }
  const peers = new Map(tcp.map((o) => [`${o.address.text} ${o.port}`, o] as const).filter(([key]) => live.has(key)));
  for (const { address, port } of peers.values()) {
    const trouble = await destroySockets(address, port);
    if (trouble !== undefined)
      onTrouble(`connections of ${address.text} to port ${port} end with their next packet, not at once: ${trouble}`);
  }
}

/**
 * Destroys this host's TCP sockets between a peer and a local port: the peer gets a reset, the service an error. Returns what went wrong, if
 * anything: the cut in the gate stands all the same, and ends the connection with its next packet.
 */
async function destroySockets(peer: IpAddress, localPort: number): Promise<string | undefined> {
  const host = peer.family === 6 ? `[${peer.text}]` : peer.text;
  try {
    const { code, stderr } = await run(['ss', '-K', '-H', '-t', '-n', 'dst', host, 'and', 'sport', '=', `:${localPort}`], {
      timeoutMs: KILL_TIMEOUT_MS,
    });
    return code === 0 ? undefined : `ss -K ended with ${code}: ${JSON.stringify(stderr.slice(0, 200))}`;
  } catch (error) {
    return error instanceof Error ? error.message : 'ss -K failed';
  }
}
