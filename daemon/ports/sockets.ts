// Which sockets of this network namespace take packets from others: /proc/net for what there is, ss(8) for what /proc does not say. Reads only.
import { readFile } from 'node:fs/promises';
import { addressFromBytes, type IpAddress } from '../../protocol/address.ts';
import type { Protocol } from '../../protocol/ports.ts';
import { run, SpawnError } from '../spawn.ts';

export type OpenSocket = {
  readonly protocol: Protocol;
  readonly port: number;
  /** 0.0.0.0 and :: are every address. */
  readonly address: IpAddress;
  /** Of a socket on ::, whether IPv4 stays out; undefined: not known, or no such socket. */
  readonly v6only: boolean | undefined;
  /** The one interface that it is bound to. */
  readonly device: string | undefined;
  /** On a port that the kernel picked, most likely: a program that asks, rather than one that answers. Only ever a UDP socket. */
  readonly passing: boolean;
  readonly inode: string;
  readonly uid: number;
};

const TABLES = [
  { file: 'tcp', protocol: 'tcp', state: '0A' }, // TCP_LISTEN
  { file: 'tcp6', protocol: 'tcp', state: '0A' },
  { file: 'udp', protocol: 'udp', state: '07' }, // not connected: takes from anyone
  { file: 'udp6', protocol: 'udp', state: '07' },
] as const;

const PATIENCE_MS = 5000;

/** `complete` false: ss could not be asked, so that dual-stack sockets and devices are not known. */
export async function openSockets(): Promise<{ readonly sockets: readonly OpenSocket[]; readonly complete: boolean }> {
  const [tables, details, ephemeral] = await Promise.all([readTables(), detailsOf(), ephemeralPorts()]);
  const wildcards4 = new Set(tables.filter(({ address }) => address.text === '0.0.0.0').map(({ protocol, port }) => `${protocol}/${port}`));
  const sockets = tables.map((socket): OpenSocket => {
    const detail = details?.get(socket.inode);
    const everywhere6 = socket.address.text === '::';
    // Beside a socket on 0.0.0.0 there is room for one on :: only if it leaves IPv4 alone.
    const v6only = everywhere6 ? (detail?.v6only ?? (wildcards4.has(`${socket.protocol}/${socket.port}`) ? true : undefined)) : undefined;
    const passing = socket.protocol === 'udp' && ephemeral.first <= socket.port && socket.port <= ephemeral.last;
    return { ...socket, v6only, device: detail?.device, passing };
  });
  return { sockets, complete: details !== undefined };
}

type Row = Pick<OpenSocket, 'protocol' | 'port' | 'address' | 'inode' | 'uid'>;

/** All of them, without what only ss knows. */
export async function readTables(): Promise<readonly Row[]> {
  const found = await Promise.all(
    TABLES.map(async ({ file, protocol, state }) => {
      const text = await readFile(`/proc/self/net/${file}`, 'latin1').catch(() => '');
      return parseTable(text, state).map((row) => ({ ...row, protocol }));
    }),
  );
  return found.flat();
}

/** Reads /proc/net/tcp and its siblings (proc(5)): addresses are words of the host's order, as hexadecimal. */
export function parseTable(text: string, state: string): readonly Omit<Row, 'protocol'>[] {
  return text
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      const [addressHex = '', portHex = ''] = (fields[1] ?? '').split(':');
      if (fields[3] !== state || !/^(?:[0-9A-F]{8}|[0-9A-F]{32})$/.test(addressHex)) return [];
      const bytes = Buffer.from(addressHex, 'hex');
      for (let at = 0; at < bytes.length; at += 4) bytes.subarray(at, at + 4).reverse();
      const port = Number.parseInt(portHex, 16);
      return [{ address: addressFromBytes(bytes), port, inode: fields[9] ?? '', uid: Number(fields[7]) }];
    });
}

type Detail = { readonly v6only: boolean; readonly device: string | undefined };

/** By inode. Undefined: ss is not there. */
async function detailsOf(): Promise<ReadonlyMap<string, Detail> | undefined> {
  try {
    const { code, stdout } = await run(['ss', '-H', '-l', '-t', '-u', '-n', '-e'], { timeoutMs: PATIENCE_MS });
    return code === 0 ? parseDetails(stdout) : undefined;
  } catch (error) {
    if (error instanceof SpawnError) return undefined;
    throw error;
  }
}

/** `tcp LISTEN 0 128 [::]:22 [::]:* ino:123 sk:1 cgroup:/x v6only:1 <->`; a device stands behind the address: `0.0.0.0%eth0:68`. */
export function parseDetails(text: string): ReadonlyMap<string, Detail> {
  const details = new Map<string, Detail>();
  for (const line of text.split('\n')) {
    const inode = /\sino:(\d+)/.exec(line)?.[1];
    const local = line.trim().split(/\s+/)[4] ?? '';
    if (inode !== undefined) details.set(inode, { v6only: /\sv6only:1\b/.test(line), device: /%([^\]:]+)/.exec(local)?.[1] });
  }
  return details;
}

async function ephemeralPorts(): Promise<{ readonly first: number; readonly last: number }> {
  const text = await readFile('/proc/sys/net/ipv4/ip_local_port_range', 'latin1').catch(() => '');
  const [first = 32768, last = 60999] = (text.match(/\d+/g) ?? []).map(Number);
  return { first, last };
}
