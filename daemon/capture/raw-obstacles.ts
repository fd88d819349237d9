// What keeps packets from a raw socket: a firewall that drops what it does not name, before any socket of the host. Reads rulesets, changes nothing.
// Cannot see: drops for some packets only, eBPF programs, a firewall in front of this host. deafness.ts notices those from what happens.
import { readFileSync } from 'node:fs';
import { converse } from '../firewall/nftables/conversation.ts';
import { closingChains } from '../firewall/nftables/input-chains.ts';
import { KernelError, NativeMissingError } from '../netlink/socket.ts';
import { safeText } from '../safe-text.ts';
import { run, SpawnError } from '../spawn.ts';

export type Obstacles = {
  /** Each a phrase: which chain, and how it drops. */
  readonly chains: readonly string[];
  /** What could not be looked at, and why. */
  readonly unknown: readonly string[];
};

const LEGACY = [
  { tables: '/proc/net/ip_tables_names', program: 'iptables-legacy', kernelModule: 'iptable_filter' },
  { tables: '/proc/net/ip6_tables_names', program: 'ip6tables-legacy', kernelModule: 'ip6table_filter' },
] as const;
// Tunable
const LISTING_TIMEOUT_MS = 10_000;

/** `table` is our own nftables table, which lets knocks through. */
export async function findObstacles(table: string): Promise<Obstacles> {
  const found = await Promise.all([nftablesObstacles(table), ...LEGACY.map(legacyObstacles)]);
  return { chains: found.flatMap(({ chains }) => chains), unknown: found.flatMap(({ unknown }) => unknown) };
}

async function nftablesObstacles(table: string): Promise<Obstacles> {
  try {
    const conversation = converse();
    try {
      const chains = closingChains(conversation, table).map(({ name, how }) => phrase(name, how));
      return { chains, unknown: [] };
    } finally {
      await conversation.close();
    }
  } catch (error) {
    if (!(error instanceof KernelError || error instanceof NativeMissingError)) throw error;
    return { chains: [], unknown: [`the nftables of this host (${error.message})`] };
  }
}

async function legacyObstacles(legacy: (typeof LEGACY)[number]): Promise<Obstacles> {
  // Asking the program first would load its kernel modules on a host that has no such rules.
  if (!isInUse(legacy)) return { chains: [], unknown: [] };
  try {
    const { code, stdout, stderr } = await run([legacy.program, '-S', 'INPUT'], { timeoutMs: LISTING_TIMEOUT_MS });
    if (code === 0) return { chains: readLegacy(stdout, legacy.program), unknown: [] };
    return { chains: [], unknown: [`the rules of ${legacy.program} (${safeText(stderr.split('\n')[0] ?? '')})`] };
  } catch (error) {
    if (!(error instanceof SpawnError)) throw error;
    return { chains: [], unknown: [`the rules of ${legacy.program} (${error.message})`] };
  }
}

/** What `-S INPUT` lists: the policy, then the rules in their order. */
export function readLegacy(listing: string, program: string): readonly string[] {
  const lines = listing.trim().split('\n');
  if (lines.includes('-P INPUT DROP')) return [phrase(`${program} INPUT`, 'policy')];
  const comment = String.raw`(?: -m comment --comment (?:"[^"]*"|\S+))?`;
  const isClosed = new RegExp(`^-A INPUT${comment} -j (?:DROP|REJECT)(?: --reject-with \\S+)?$`).test(lines.at(-1) ?? '');
  return isClosed ? [phrase(`${program} INPUT`, 'last-rule')] : [];
}

function phrase(name: string, how: 'policy' | 'last-rule'): string {
  return `${safeText(name)} ${how === 'policy' ? 'drops by default' : 'ends with a rule that drops or rejects the rest'}`;
}

function isInUse({ tables, kernelModule }: (typeof LEGACY)[number]): boolean {
  try {
    return readFileSync(tables, 'ascii').split('\n').includes('filter');
  } catch {
    // Absent without the module; readable by root only. Then whether the module is there at all.
    return readModules().some((line) => line.startsWith(`${kernelModule} `));
  }
}

function readModules(): readonly string[] {
  try {
    return readFileSync('/proc/modules', 'ascii').split('\n');
  } catch {
    return [];
  }
}
