// One netlink socket: bytes to the kernel and back. Knows nothing of what the messages mean.
import { constants, endianness } from 'node:os';
import { KernelError, libc } from './libc.ts';

// biome-ignore lint/performance/noBarrelFile: the errors that a socket throws belong to its interface; not a barrel.
export { KernelError, NativeMissingError } from './libc.ts';

// From the kernel's headers (linux/socket.h, linux/netlink.h, asm-generic/socket.h).
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_RCVTIMEO = 20;
const SO_RCVBUFFORCE = 33;
const SO_RCVBUF = 8;
export const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const SOCKADDR_NL_BYTES = 12;

// Tunable
/** Long enough to cost nothing, short enough that a process exits at once for a human: a blocked receive holds a pool thread. */
const RECEIVE_TIMEOUT_MS = 200;
/** No netlink message is longer: 64 KiB of packet and its attributes; dumps come in pieces of at most 32 KiB. */
const RECEIVE_BYTES = 128 * 1024;

const LITTLE = endianness() === 'LE';
const { EAGAIN, EINTR, ENOBUFS } = constants.errno;

export type NetlinkOptions = {
  /** Multicast groups to join, by number (NFNLGRP_…). */
  readonly groups?: readonly number[];
  readonly receiveTimeoutMs?: number;
  /** Bytes the kernel may queue for us; needs CAP_NET_ADMIN to go beyond the host's maximum. */
  readonly receiveBufferBytes?: number;
};

export type Received =
  | { readonly kind: 'message'; readonly bytes: Uint8Array; readonly senderPort: number }
  | { readonly kind: 'timeout' }
  /** The kernel dropped messages because we did not read them in time (ENOBUFS). Not fatal. */
  | { readonly kind: 'overrun' }
  | { readonly kind: 'closed' };

export type NetlinkSocket = {
  /** Our address: the kernel's answers go there, and messages caused by us carry it. */
  readonly portId: number;
  /** Sends to the kernel, which has worked it off, and queued its answers, when this returns. */
  readonly send: (bytes: Uint8Array) => void;
  /** The same on a thread of libuv's pool. */
  readonly sendAsync: (bytes: Uint8Array) => Promise<void>;
  /** A message that is queued already, or undefined. Never waits. Throws KernelError, ENOBUFS after an overrun. */
  readonly receive: () => Uint8Array | undefined;
  /** Waits on a pool thread until a message comes or the receive timeout has passed. One call at a time. */
  readonly receiveAsync: () => Promise<Received>;
  /** A number is passed as a C int. */
  readonly setOption: (level: number, name: number, value: number | Uint8Array) => void;
  /** Resolves when the descriptor is closed; a receive that waits ends first, at most its timeout later. */
  readonly close: () => Promise<void>;
};

/**
 * Opens, binds and returns a netlink socket (12 is NETLINK_NETFILTER). Throws KernelError when the kernel refuses, NativeMissingError
 * when koffi is not installed.
 */
export function openNetlink(protocol: number, options: NetlinkOptions = {}): NetlinkSocket {
  const fd = libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
  if (fd < 0) throw new KernelError(libc().errno(), 'socket');
  try {
    return prepare(fd, options);
  } catch (error) {
    libc().close(fd);
    throw error;
  }
}

function prepare(fd: number, options: NetlinkOptions): NetlinkSocket {
  const setOption = (level: number, name: number, value: number | Uint8Array): void => {
    const bytes = typeof value === 'number' ? intBytes(value) : value;
    if (libc().setsockopt(fd, level, name, bytes, bytes.length) < 0) throw new KernelError(libc().errno(), 'setsockopt', `option ${name}`);
  };
  const local = socketAddress(0);
  if (libc().bind(fd, local, SOCKADDR_NL_BYTES) < 0) throw new KernelError(libc().errno(), 'bind');
  const portId = boundPort(fd);
  setOption(SOL_SOCKET, SO_RCVTIMEO, timeval(options.receiveTimeoutMs ?? RECEIVE_TIMEOUT_MS));
  // Refusals carry the kernel's own sentence, and only the header of what was refused.
  setOption(SOL_NETLINK, NETLINK_EXT_ACK, 1);
  setOption(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  if (options.receiveBufferBytes !== undefined) growBuffer(setOption, options.receiveBufferBytes);
  for (const group of options.groups ?? []) setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  return socketOver(fd, portId, setOption);
}

function socketOver(fd: number, portId: number, setOption: NetlinkSocket['setOption']): NetlinkSocket {
  const kernel = socketAddress(0);
  // The waiting receive has buffers of its own: a synchronous one may come in between.
  const now = receiveBuffers();
  const later = receiveBuffers();
  const running = new Set<Promise<unknown>>();
  let waiting = false;
  let closing: Promise<void> | undefined;

  const track = <T>(work: Promise<T>): Promise<T> => {
    running.add(work);
    const done = () => void running.delete(work);
    work.then(done, done);
    return work;
  };
  const refuseWhenClosed = (syscall: string): void => {
    if (closing !== undefined) throw new KernelError(constants.errno.EBADF, syscall, 'the socket is closed');
  };

  return {
    portId,
    setOption,
    send: (bytes) => {
      refuseWhenClosed('sendto');
      for (;;) {
        if (libc().sendto(fd, bytes, bytes.length, 0, kernel, SOCKADDR_NL_BYTES) >= 0) return;
        const errno = libc().errno();
        if (errno !== EINTR) throw new KernelError(errno, 'sendto');
      }
    },
    sendAsync: async (bytes) => {
      refuseWhenClosed('sendto');
      const errno = await track(sendOnThread(fd, bytes, kernel));
      if (errno !== 0) throw new KernelError(errno, 'sendto');
    },
    receive: () => {
      refuseWhenClosed('recvfrom');
      for (;;) {
        const length = libc().recvfrom(fd, now.data, RECEIVE_BYTES, MSG_DONTWAIT | MSG_TRUNC, now.sender, now.senderLength);
        const errno = length < 0 ? libc().errno() : 0;
        if (errno === EAGAIN) return undefined;
        if (errno !== 0 && errno !== EINTR) throw new KernelError(errno, 'recvfrom');
        // Only the kernel (port 0) is answered to: any process may send to our port.
        if (errno === 0 && length <= RECEIVE_BYTES && senderPort(now) === 0) return now.data.slice(0, length);
      }
    },
    receiveAsync: async () => {
      if (closing !== undefined) return { kind: 'closed' };
      if (waiting) throw new Error('receiveAsync: a receive is waiting already');
      waiting = true;
      try {
        const { length, errno } = await track(receiveOnThread(fd, later));
        if (closing !== undefined) return { kind: 'closed' };
        if (errno === EAGAIN || errno === EINTR) return { kind: 'timeout' };
        if (errno === ENOBUFS || length > RECEIVE_BYTES) return { kind: 'overrun' };
        if (errno !== 0) throw new KernelError(errno, 'recvfrom');
        return { kind: 'message', bytes: later.data.slice(0, length), senderPort: senderPort(later) };
      } finally {
        waiting = false;
      }
    },
    close: () => {
      // Closing under a thread that still uses the number could hand that thread somebody else's descriptor.
      closing ??= Promise.allSettled([...running]).then(() => {
        libc().close(fd);
      });
      return closing;
    },
  };
}

type Buffers = { readonly data: Uint8Array; readonly sender: Uint8Array; readonly senderLength: Uint8Array };

function receiveBuffers(): Buffers {
  return { data: new Uint8Array(RECEIVE_BYTES), sender: new Uint8Array(SOCKADDR_NL_BYTES), senderLength: intBytes(SOCKADDR_NL_BYTES) };
}

function senderPort(buffers: Buffers): number {
  return new DataView(buffers.sender.buffer).getUint32(4, LITTLE);
}

function sendOnThread(fd: number, bytes: Uint8Array, kernel: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    libc().sendto.async(fd, bytes, bytes.length, 0, kernel, SOCKADDR_NL_BYTES, (error: unknown, sent: number) => {
      // koffi puts the thread's errno back for the length of this callback: nothing may come before this line.
      const errno = libc().errno();
      if (error !== null) reject(error);
      // `bytes.length` also keeps the buffer alive until the kernel has read it.
      else resolve(sent === bytes.length ? 0 : errno);
    });
  });
}

function receiveOnThread(fd: number, into: Buffers): Promise<{ readonly length: number; readonly errno: number }> {
  return new Promise((resolve, reject) => {
    libc().recvfrom.async(fd, into.data, RECEIVE_BYTES, MSG_TRUNC, into.sender, into.senderLength, (error: unknown, length: number) => {
      const errno = libc().errno();
      if (error !== null) reject(error);
      else resolve({ length, errno: length < 0 ? errno : 0 });
    });
  });
}

function boundPort(fd: number): number {
  const address = new Uint8Array(SOCKADDR_NL_BYTES);
  if (libc().getsockname(fd, address, intBytes(SOCKADDR_NL_BYTES)) < 0) throw new KernelError(libc().errno(), 'getsockname');
  return new DataView(address.buffer).getUint32(4, LITTLE);
}

function growBuffer(setOption: NetlinkSocket['setOption'], bytes: number): void {
  try {
    setOption(SOL_SOCKET, SO_RCVBUFFORCE, bytes);
  } catch {
    setOption(SOL_SOCKET, SO_RCVBUF, bytes);
  }
}

/** struct sockaddr_nl: family, padding, port, groups. */
function socketAddress(port: number): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_NL_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_NETLINK, LITTLE);
  view.setUint32(4, port, LITTLE);
  return bytes;
}

/** struct timeval of 64-bit systems (two longs). */
function timeval(ms: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigInt64(0, BigInt(Math.floor(ms / 1000)), LITTLE);
  view.setBigInt64(8, BigInt((ms % 1000) * 1000), LITTLE);
  return bytes;
}

function intBytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value, LITTLE);
  return bytes;
}
