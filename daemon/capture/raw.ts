// Packets from raw UDP sockets: a copy of what this host takes in, before any socket of a port. Nothing is bound to a port, nothing is answered.
// Sees nothing that a firewall drops before: raw-obstacles.ts looks for that. Decides nothing about content.
import { existsSync } from 'node:fs';
import { parseAddress } from '../../protocol/address.ts';
import { hasNetRaw } from '../netlink/capabilities.ts';
import { closeAllOnExec } from '../netlink/close-on-exec.ts';
import { NativeMissingError } from '../netlink/libc.ts';
import { filterOption, SO_ATTACH_FILTER, SOL_SOCKET } from '../netlink/socket-filter.ts';
import { type Capture, CaptureError, type OnDatagram } from './capture.ts';
import { destinationPort, type ParsedDatagram, parseDatagram, parseSegment } from './datagram.ts';
import { rarely } from './rarely.ts';
import { kernelDrops } from './raw-drops.ts';
import { encodeFilter, type RawFilter } from './raw-filter.ts';
import { loadRawModule, type RawSocket } from './raw-module.ts';
import { WaitingDatagrams } from './waiting.ts';

// Fixed by the kernel's headers.
const UDP = 17;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;

// Tunable
/** As much as `nflog` has: a burst of knocks waits for the daemon. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
/** The longest knock with the longest IPv4 header, and more: what is longer was refused by the filter. */
const PACKET_BYTES = 1024;

export type RawOptions = {
  readonly port: number;
  /** The sieve marks knocks, and nothing else shall wake us. */
  readonly onlyMarked: boolean;
  readonly onDatagram: OnDatagram;
  /** One line for the log. Repeated troubles are told the 1st, 2nd, 4th, 8th … time. */
  readonly onTrouble: (text: string) => void;
};

/** raw-socket closes what nobody holds, although its poll goes on: a capture lives until it is stopped. */
const held = new Set<RawSocket>();

/** One socket for each family. A host without IPv6 gets one. Throws CaptureError. */
export async function startRaw(options: RawOptions): Promise<Capture> {
  const counters = { seen: 0, malformed: 0 };
  const report = rarely(options.onTrouble);

  const take = (family: 4 | 6, bytes: Uint8Array, source: string): void => {
    // What came between the opening of the socket and its filter is no business of ours.
    if (destinationPort(bytes.subarray(headerBytes(family, bytes))) !== options.port) return;
    const parsed = parsePacket(family, bytes, source);
    if (!parsed.ok) {
      counters.malformed += 1;
      return;
    }
    counters.seen += 1;
    waiting.add(parsed.datagram);
  };
  const waiting = new WaitingDatagrams((datagram) => {
    try {
      options.onDatagram(datagram);
    } catch (error) {
      report('a datagram could not be handled', error);
    }
  });

  const sockets = openSockets(options, options.onTrouble);
  let lostBefore: number | undefined;
  for (const { family, socket } of sockets) {
    held.add(socket);
    socket.on('message', (bytes: Uint8Array, source: string) => take(family, bytes, source));
    socket.on('error', (error: unknown) => report(`the raw IPv${family} socket failed`, error));
  }

  return {
    name: 'raw',
    // The kernel hands over nothing that is not ours to read: what is for other ports ends in the filter, uncounted.
    counters: () => ({ ...counters, foreign: 0, lost: lostBefore ?? kernelDrops() }),
    stop: async () => {
      lostBefore ??= kernelDrops();
      for (const { socket } of sockets) if (held.delete(socket)) socket.close();
      await waiting.empty();
    },
  };
}

/** Whether raw sockets could be opened here; changes nothing. For `check`. */
export async function probeRaw(port: number): Promise<CaptureError | undefined> {
  try {
    for (const { socket } of openSockets({ port, onlyMarked: false }, () => undefined)) socket.close();
    return undefined;
  } catch (error) {
    if (error instanceof CaptureError) return error;
    throw error;
  }
}

type Opened = { readonly family: 4 | 6; readonly socket: RawSocket };

function openSockets(options: Pick<RawOptions, 'port' | 'onlyMarked'>, onTrouble: (text: string) => void): readonly Opened[] {
  const raw = loadRawModule();
  const opened: Opened[] = [];
  try {
    for (const family of [4, 6] as const) {
      if (family === 6 && !existsSync('/proc/net/raw6')) {
        onTrouble('this host has no IPv6: knocks are received over IPv4 only');
        continue;
      }
      const socket = raw.createSocket({ addressFamily: family === 4 ? 1 : 2, protocol: UDP, bufferSize: PACKET_BYTES });
      opened.push({ family, socket });
      // raw-socket leaves that out.
      closeAllOnExec();
      prepare(socket, { family, port: options.port, onlyMarked: options.onlyMarked });
    }
    return opened;
  } catch (error) {
    for (const { socket } of opened) socket.close();
    throw openError(error);
  }
}

function prepare(socket: RawSocket, filter: RawFilter): void {
  const program = encodeFilter(filter);
  const option = filterOption(program);
  socket.setOption(SOL_SOCKET, SO_ATTACH_FILTER, option, option.length);
  try {
    socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
  } catch {
    // Without CAP_NET_ADMIN: as much as net.core.rmem_max allows.
    socket.setOption(SOL_SOCKET, SO_RCVBUF, RECEIVE_BUFFER_BYTES);
  }
}

/** raw-socket throws the system's sentence without a code. */
function openError(error: unknown): unknown {
  if (error instanceof CaptureError) return error;
  if (error instanceof NativeMissingError) return new CaptureError('unsupported', `${error.message}: ${error.cure}`, error);
  if (!hasNetRaw()) {
    const unit = 'in the systemd unit, add it to CapabilityBoundingSet= and AmbientCapabilities= (systemctl edit posternd)';
    return new CaptureError('not-permitted', `capture: raw needs root or the capability CAP_NET_RAW: ${unit}`, error);
  }
  const why = error instanceof Error ? error.message : String(error);
  return new CaptureError('unavailable', `a raw UDP socket cannot be opened (${why}): set capture: nflog or udp`, error);
}

function parsePacket(family: 4 | 6, bytes: Uint8Array, source: string): ParsedDatagram {
  if (family === 4) return parseDatagram(bytes);
  const address = parseAddress(source);
  return address.ok ? parseSegment(bytes, address.value) : { ok: false, fault: 'header' };
}

/** IPv4 comes with its header, IPv6 without (RFC 3542 3). */
function headerBytes(family: 4 | 6, bytes: Uint8Array): number {
  return family === 4 ? ((bytes[0] ?? 0) & 0x0f) * 4 : 0;
}
