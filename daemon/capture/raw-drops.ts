// What the kernel dropped because our raw sockets' queues were full. Reads /proc only.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** The sum over this process's own raw UDP sockets: other programs have theirs. */
export function kernelDrops(): number {
  const lines = ['/proc/self/net/raw', '/proc/self/net/raw6'].flatMap(readTable);
  if (lines.length === 0) return 0;
  const own = ownSockets();
  // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops
  return lines
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns[1]?.endsWith(':0011') && own.has(columns[9] ?? ''))
    .reduce((sum, columns) => sum + Number(columns[12] ?? 0), 0);
}

/** The inode numbers of this process's sockets. */
function ownSockets(): ReadonlySet<string> {
  const inodes = new Set<string>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1];
      if (inode !== undefined) inodes.add(inode);
    } catch {
      // Closed since it was listed: the listing's own descriptor always is.
    }
  }
  return inodes;
}

function readTable(file: string): readonly string[] {
  try {
    return readFileSync(file, 'ascii').split('\n').slice(1);
  } catch {
    // No IPv6: no such table.
    return [];
  }
}
