// What listens on this host now, from /proc alone: the candidates that `init` shows. It changes nothing and connects to nothing.
import { readdir, readFile, readlink } from 'node:fs/promises';
import { addressFromBytes, type IpAddress } from '../../protocol/address.ts';
import type { Protocol } from '../../protocol/ports.ts';

export type Listening = {
  readonly protocol: Protocol;
  readonly port: number;
  readonly address: IpAddress;
  /** The program's short name, if this user may see it. */
  readonly program: string | undefined;
};

const TABLES = [
  { file: 'tcp', protocol: 'tcp', state: '0A' }, // TCP_LISTEN
  { file: 'tcp6', protocol: 'tcp', state: '0A' },
  { file: 'udp', protocol: 'udp', state: '07' }, // unconnected
  { file: 'udp6', protocol: 'udp', state: '07' },
] as const;

/** Every listening TCP socket and every UDP socket that takes from anyone, of this network namespace. */
export async function listeningSockets(): Promise<readonly Listening[]> {
  const found = await Promise.all(
    TABLES.map(async ({ file, protocol, state }) => {
      const text = await readFile(`/proc/self/net/${file}`, 'latin1').catch(() => '');
      return parseSocketTable(text, state).map((socket) => ({ ...socket, protocol }));
    }),
  );
  const sockets = found.flat();
  const programs = await programsOf(new Set(sockets.map(({ inode }) => inode)));
  return sockets.map(({ protocol, port, address, inode }) => ({ protocol, port, address, program: programs.get(inode) }));
}

type RawSocket = { readonly address: IpAddress; readonly port: number; readonly inode: string };

/** Reads /proc/net/tcp and its siblings (proc(5)): addresses are words of the host's order, as hexadecimal. */
export function parseSocketTable(text: string, state: string): readonly RawSocket[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      const [addressHex = '', portHex = ''] = (fields[1] ?? '').split(':');
      if (fields[3] !== state || !/^(?:[0-9A-F]{8}|[0-9A-F]{32})$/.test(addressHex)) return [];
      const bytes = Buffer.from(addressHex, 'hex');
      for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
      return [{ address: addressFromBytes(bytes), port: Number.parseInt(portHex, 16), inode: fields[9] ?? '' }];
    });
}

/** Which program holds each socket: links of /proc/PID/fd. Only root sees all of them. */
async function programsOf(inodes: ReadonlySet<string>): Promise<ReadonlyMap<string, string>> {
  const programs = new Map<string, string>();
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined || !inodes.has(inode) || programs.has(inode)) continue;
      const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
      programs.set(inode, name.trim());
    }
  }
  return programs;
}
