// How large a table of iptables-legacy is, asked of the kernel directly: no program is started. Reads only.
import { endianness } from 'node:os';
import type { Family } from '../../protocol/address.ts';
import { libc } from './libc.ts';

// Fixed by bits/socket.h, linux/in.h, linux/netfilter_ipv4/ip_tables.h (ip6_tables.h has the same numbers).
const AF = { 4: 2, 6: 10 } as const;
const LEVEL = { 4: 0, 6: 41 } as const;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const SO_GET_INFO = 64;
/** struct ipt_getinfo: name, valid hooks, five entry points, five underflows, number of entries, size. */
const INFO = { name: 32, entriesAt: 76, sizeAt: 80, length: 84 } as const;

const LITTLE = endianness() === 'LE';

/** Entries are rules, and two for each chain. */
export type TableSize = { readonly entries: number; readonly bytes: number };

export type TableGauge = { readonly read: (family: Family) => TableSize | undefined; readonly close: () => void };

/** Undefined answers: no such table, no right to ask, no iptables-legacy in this kernel. Throws NativeMissingError when koffi is not installed. */
export function gaugeLegacyTable(table: string): TableGauge {
  const { socket, getsockopt, close } = libc();
  const sockets = { 4: socket(AF[4], SOCK_DGRAM_CLOEXEC, 0), 6: socket(AF[6], SOCK_DGRAM_CLOEXEC, 0) };
  const info = new Uint8Array(INFO.length);
  const length = new Uint8Array(4);
  const view = new DataView(info.buffer);
  return {
    read: (family) => {
      info.fill(0);
      info.set(Buffer.from(table, 'latin1').subarray(0, INFO.name - 1));
      new DataView(length.buffer).setUint32(0, INFO.length, LITTLE);
      if (sockets[family] < 0 || getsockopt(sockets[family], LEVEL[family], SO_GET_INFO, info, length) !== 0) return undefined;
      return { entries: view.getUint32(INFO.entriesAt, LITTLE), bytes: view.getUint32(INFO.sizeAt, LITTLE) };
    },
    close: () => {
      for (const fd of Object.values(sockets)) if (fd >= 0) close(fd);
    },
  };
}
