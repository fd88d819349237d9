// Who holds a socket: processes, their systemd unit, the user. From /proc alone; only root sees everybody's. Reads only.
import { readdir, readFile, readlink } from 'node:fs/promises';

export type Owner = { readonly pid: number; readonly name: string; readonly unit: string | undefined };

export type Owners = {
  readonly byInode: ReadonlyMap<string, readonly Owner[]>;
  /** Some processes could not be looked into. */
  readonly hidden: boolean;
  /** Other network namespaces that processes live in: containers, mostly. */
  readonly namespaces: number;
};

/** A socket that many workers share is named by the first few. */
const MOST_OWNERS = 8;

export async function ownersOf(inodes: ReadonlySet<string>): Promise<Owners> {
  const byInode = new Map<string, Owner[]>();
  const namespaces = new Set<string>();
  let hidden = false;
  const home = await readlink('/proc/self/ns/net').catch(() => '');
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const fds = await readdir(`/proc/${pid}/fd`).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES') hidden = true;
      return [];
    });
    const space = await readlink(`/proc/${pid}/ns/net`).catch(() => '');
    if (space !== '' && space !== home) namespaces.add(space);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      if (inode === undefined || !inodes.has(inode)) continue;
      const owners = byInode.get(inode) ?? [];
      if (owners.length < MOST_OWNERS && !owners.some((owner) => owner.pid === Number(pid))) owners.push(await describe(pid));
      byInode.set(inode, owners);
    }
  }
  return { byInode, hidden, namespaces: namespaces.size };
}

async function describe(pid: string): Promise<Owner> {
  const [name, cgroup] = await Promise.all([
    readFile(`/proc/${pid}/comm`, 'utf8').catch(() => ''),
    readFile(`/proc/${pid}/cgroup`, 'latin1').catch(() => ''),
  ]);
  return { pid: Number(pid), name: name.trim(), unit: unitOf(cgroup) };
}

/** The innermost unit in the path of the process's control group (cgroups(7)): `0::/system.slice/ssh.service`. */
export function unitOf(cgroup: string): string | undefined {
  // Where both hierarchies are mounted, either may be the one that systemd uses: the other then holds nothing but its root.
  return [...cgroup.matchAll(/^(?:0::|\d+:name=systemd:)(.*)$/gm)]
    .map(([, path = '']) => path.split('/').findLast((part) => /\.(?:service|socket|scope|mount|swap)$/.test(part)))
    .find((unit) => unit !== undefined);
}

/** Names of /etc/passwd; a number where there is none. */
export async function userNames(): Promise<(uid: number) => string> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const names = new Map(passwd.split('\n').map((line) => [Number(line.split(':')[2]), line.split(':')[0] ?? ''] as const));
  return (uid) => names.get(uid) || String(uid);
}
