// A thread that sends packets from a namespace as fast as it can, or each at the same instant as another thread. Started by gate-*.test.ts.

import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

export type Task = {
  readonly namespace: string;
  /** socket(2): AF_INET and SOCK_DGRAM, or SOCK_RAW with IPPROTO_RAW. */
  readonly socket: readonly [family: number, type: number, protocol: number];
  /** bind(2), if it matters. */
  readonly from: Uint8Array | undefined;
  readonly to: Uint8Array;
  readonly packets: readonly Uint8Array[];
  /** `together`: one packet a round, when all threads have arrived there. `flood`: over and over, until `control[0]` is set. */
  readonly mode: 'together' | 'flood';
  readonly threads: number;
  /** [stop, arrivals, packets sent] */
  readonly control: Int32Array<SharedArrayBuffer>;
};

export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const IPPROTO_RAW = 255;

export function newControl(): Task['control'] {
  return new Int32Array(new SharedArrayBuffer(12));
}

export async function startSender(task: Task): Promise<{ readonly ended: Promise<unknown> }> {
  const worker = new Worker(new URL(import.meta.url), { workerData: task });
  const ended = once(worker, 'exit');
  await once(worker, 'message');
  return { ended };
}

/** struct sockaddr_in or sockaddr_in6 */
export function socketAddress(bytes: Uint8Array, port: number): Uint8Array {
  const out = new Uint8Array(bytes.length === 4 ? 16 : 28);
  out.set([bytes.length === 4 ? AF_INET : AF_INET6, 0, port >> 8, port & 0xff]);
  out.set(bytes, bytes.length === 4 ? 4 : 8);
  return out;
}

/** An IPv4 TCP SYN as IPPROTO_RAW takes it: the kernel fills in length, identification and header checksum. */
export function synPacket(from: Uint8Array, to: Uint8Array, sourcePort: number, port: number): Uint8Array {
  const out = new Uint8Array(40);
  out.set([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, ...from, ...to]);
  out.set([sourcePort >> 8, sourcePort & 0xff, port >> 8, port & 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff], 20);
  const pseudo = new Uint8Array([...from, ...to, 0, 6, 0, 20, ...out.subarray(20)]);
  let sum = 0;
  for (let at = 0; at < pseudo.length; at += 2) sum += ((pseudo[at] ?? 0) << 8) | (pseudo[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  out.set([(~sum >> 8) & 0xff, ~sum & 0xff], 36);
  return out;
}

type Call = (...args: readonly unknown[]) => number;

async function work(task: Task): Promise<void> {
  const { parentPort } = await import('node:worker_threads');
  const koffi = createRequire(import.meta.url)('koffi') as {
    load: (path: null) => { func: (name: string, result: string, args: readonly string[]) => Call };
  };
  const libc = koffi.load(null);
  const fd = openSync(`/run/netns/${task.namespace}`, 'r');
  // A namespace belongs to the thread: the test's own thread stays where it is.
  if (libc.func('setns', 'int', ['int', 'int'])(fd, 0x40000000) !== 0) throw new Error('setns failed');
  closeSync(fd);
  const socket = libc.func('socket', 'int', ['int', 'int', 'int'])(...task.socket);
  if (socket < 0) throw new Error('socket failed');
  if (task.from !== undefined) libc.func('bind', 'int', ['int', 'void *', 'uint32_t'])(socket, task.from, task.from.length);
  const sendto = libc.func('sendto', 'intptr_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint32_t']);
  const send = (packet: Uint8Array): void => {
    if (sendto(socket, packet, packet.length, 0, task.to, task.to.length) === packet.length) Atomics.add(task.control, 2, 1);
  };
  parentPort?.postMessage('ready');
  if (task.mode === 'together') {
    task.packets.forEach((packet, round) => {
      Atomics.add(task.control, 1, 1);
      while (Atomics.load(task.control, 1) < task.threads * (round + 1));
      send(packet);
    });
  } else {
    for (let at = 0; Atomics.load(task.control, 0) === 0; at = (at + 1) % task.packets.length) send(task.packets[at] ?? new Uint8Array(1));
  }
  libc.func('close', 'int', ['int'])(socket);
}

if (!isMainThread) await work(workerData as Task);
