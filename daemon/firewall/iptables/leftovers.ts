// What iptables-restore makes beside our chains and nobody takes away: a mangle table of nf_tables, where there was none. Removed only when it is
// empty but for the one base chain that we needed. iptables-legacy has nothing like it: its tables belong to kernel modules.
import { z } from 'zod';
import { run, SpawnError } from '../../spawn.ts';

const TIME_LIMIT_MS = 10_000;
const Listing = z.object({ nftables: z.array(z.record(z.string(), z.unknown())) });
const EmptyChain = z.looseObject({ name: z.literal('PREROUTING'), policy: z.literal('accept') });

/** Best effort: without nft, or when anything stands there, the table stays. */
export async function removeEmptyTable(family: 4 | 6): Promise<void> {
  const table = [family === 4 ? 'ip' : 'ip6', 'mangle'];
  try {
    const { code, stdout } = await run(['nft', '-j', 'list', 'table', ...table], { timeoutMs: TIME_LIMIT_MS });
    if (code === 0 && isEmpty(stdout)) await run(['nft', 'delete', 'table', ...table], { timeoutMs: TIME_LIMIT_MS });
  } catch (error) {
    if (!(error instanceof SpawnError)) throw error;
  }
}

/** Whether nft lists the table, our base chain without a rule, and nothing else. */
export function isEmpty(json: string): boolean {
  const listing = Listing.safeParse(parseJson(json));
  if (!listing.success) return false;
  const objects = listing.data.nftables.filter((entry) => !('metainfo' in entry));
  const [table, chain, ...more] = objects;
  return more.length === 0 && table !== undefined && 'table' in table && EmptyChain.safeParse(chain?.['chain']).success;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
