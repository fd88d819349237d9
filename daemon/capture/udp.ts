// Packets from plain UDP sockets: for containers, development and hosts without a packet log. Hands on every datagram; never answers.
// Cannot tell interfaces apart: the gate in the firewall does that.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { parseAddress } from '../../protocol/address.ts';
import { type Capture, CaptureError, type OnDatagram } from './capture.ts';
import { rarely } from './rarely.ts';
import { WaitingDatagrams } from './waiting.ts';

// Tunable. The kernel takes as much of it as net.core.rmem_max allows.
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;

export type UdpOptions = {
  readonly port: number;
  readonly onDatagram: OnDatagram;
  /** One line for the log. Repeated troubles are told the 1st, 2nd, 4th, 8th … time. */
  readonly onTrouble: (text: string) => void;
};

/** One socket for each family, so that each shows its addresses as they are. A host without IPv6 gets one. Throws CaptureError. */
export async function startUdp(options: UdpOptions): Promise<Capture> {
  const counters = { seen: 0, foreign: 0, malformed: 0 };
  const report = rarely(options.onTrouble);
  const waiting = new WaitingDatagrams((datagram) => {
    try {
      options.onDatagram(datagram);
    } catch (error) {
      report('a datagram could not be handled', error);
    }
  });

  const onMessage = (bytes: Buffer, from: RemoteInfo): void => {
    // A link-local source comes with its scope (fe80::1%eth0), which is no part of an address.
    const source = parseAddress(from.address.split('%', 1)[0] ?? '');
    if (!source.ok) {
      counters.malformed += 1;
      return;
    }
    counters.seen += 1;
    waiting.add({ payload: new Uint8Array(bytes), source: source.value, sourcePort: from.port });
  };

  const sockets: Socket[] = [];
  const stopAll = async (): Promise<void> => {
    await Promise.all(sockets.splice(0).map(close));
    await waiting.empty();
  };
  for (const family of ['udp4', 'udp6'] as const) {
    const socket = createSocket({ type: family, reuseAddr: false, ipv6Only: family === 'udp6', recvBufferSize: RECEIVE_BUFFER_BYTES });
    try {
      await bind(socket, family, options.port);
      sockets.push(socket);
    } catch (error) {
      if (family === 'udp6' && isWithoutIpv6(error)) {
        options.onTrouble('this host has no IPv6: knocks are received over IPv4 only');
        continue;
      }
      await stopAll();
      throw bindError(error, family, options.port);
    }
    socket.on('error', (error) => report('a UDP socket failed', error));
    socket.on('message', onMessage);
  }

  let stopping: Promise<void> | undefined;
  return {
    name: 'udp',
    counters: () => ({ ...counters, lost: kernelDrops(options.port) }),
    stop: () => {
      stopping ??= stopAll();
      return stopping;
    },
  };
}

async function bind(socket: Socket, family: 'udp4' | 'udp6', port: number): Promise<void> {
  const bound = once(socket, 'listening');
  socket.bind({ port, address: family === 'udp4' ? '0.0.0.0' : '::', exclusive: true });
  await bound;
}

async function close(socket: Socket): Promise<void> {
  const closed = once(socket, 'close');
  socket.close();
  await closed;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}

function isWithoutIpv6(error: unknown): boolean {
  return ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EPROTONOSUPPORT'].includes(codeOf(error));
}

function bindError(error: unknown, family: string, port: number): CaptureError {
  const code = codeOf(error);
  if (code === 'EADDRINUSE') {
    const cure = `find it with \`ss -lnup sport = :${port}\`, or set another port`;
    return new CaptureError('port-in-use', `another program listens on udp/${port} (${family}): ${cure}`, error);
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CaptureError('not-permitted', `udp/${port} may not be bound: ports below 1024 need CAP_NET_BIND_SERVICE`, error);
  }
  return new CaptureError('unavailable', `udp/${port} cannot be bound (${code}): set another port`, error);
}

/** What the kernel dropped because our queues were full. Nobody else can have this port: it was bound without sharing. */
function kernelDrops(port: number): number {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  let drops = 0;
  for (const file of ['/proc/net/udp', '/proc/net/udp6']) {
    for (const line of readTable(file)) {
      const columns = line.trim().split(/\s+/);
      // Only the address of every interface is ours: another program may own one of a single address.
      if (columns[1]?.endsWith(local) && /^0+:/.test(columns[1])) drops += Number(columns.at(-1) ?? 0);
    }
  }
  return drops;
}

function readTable(file: string): readonly string[] {
  try {
    return readFileSync(file, 'ascii').split('\n');
  } catch {
    // No /proc, no IPv6, or not Linux: then the kernel does not tell.
    return [];
  }
}
