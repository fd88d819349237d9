// What the kernel holds and has dropped for the sockets of one process, and what its interface took in: from proc(5), seen from outside.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export type Queue = {
  readonly waitingBytes: number;
  /** Since the sockets were opened. A libpcap ring does not tell. */
  readonly drops: number;
};

/** Of each table: the columns, from the left, of what waits and of the inode; drops stand last, or before the inode (netlink). */
const TABLES = [
  { name: 'netlink', waiting: 4, inode: 9, drops: 8 },
  ...['udp', 'udp6', 'raw', 'raw6'].map((name) => ({ name, waiting: 4, inode: 9, drops: 12 })),
];

export function queueOf(pid: number): Queue {
  const own = socketsOf(pid);
  let [waitingBytes, drops] = [0, 0];
  for (const table of TABLES) {
    for (const line of linesOf(`/proc/${pid}/net/${table.name}`)) {
      const columns = line.trim().split(/\s+/);
      if (!own.has(columns[table.inode] ?? '')) continue;
      const waiting = columns[table.waiting] ?? '0';
      // tx:rx in hexadecimal, but for netlink.
      waitingBytes += table.name === 'netlink' ? Number(waiting) : Number.parseInt(waiting.split(':')[1] ?? '0', 16);
      drops += Number(columns[table.drops] ?? 0);
    }
  }
  return { waitingBytes, drops };
}

/** Packets that an interface of this process's network has received. */
export function arrivedAt(pid: number, device: string): number {
  const line = linesOf(`/proc/${pid}/net/dev`).find((each) => each.trim().startsWith(`${device}:`));
  return Number(line?.trim().split(/\s+/)[2] ?? Number.NaN);
}

/** Inode numbers. */
function socketsOf(pid: number): ReadonlySet<string> {
  const inodes = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // closed meanwhile
    }
  }
  return inodes;
}

function linesOf(file: string): readonly string[] {
  try {
    return readFileSync(file, 'latin1').split('\n').slice(1);
  } catch {
    return []; // no IPv6
  }
}
