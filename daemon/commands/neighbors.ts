// What other firewalls of this host do with packets that nobody wants: it decides which answer of the knock port stands out least, and
// whether a granted port is open at all. It only reads, and only what nft lists; a host without nft is not known.
import { z } from 'zod';
import { safeText } from '../safe-text.ts';
import { run, SpawnError } from '../spawn.ts';

export type Neighbors = {
  /** Chains at the input hook that drop by default, as `inet filter input`. */
  readonly dropping: readonly string[];
};

const LISTING = z.object({
  nftables: z.array(
    z.looseObject({
      chain: z
        .looseObject({
          family: z.string(),
          table: z.string(),
          name: z.string(),
          hook: z.string().optional(),
          policy: z.string().optional(),
        })
        .optional(),
    }),
  ),
});

/** Undefined when it cannot be told. */
export async function neighbors(ownTable: string): Promise<Neighbors | undefined> {
  try {
    const { code, stdout } = await run(['nft', '-j', 'list', 'chains'], { timeoutMs: 10_000 });
    return code === 0 ? readChains(stdout, ownTable) : undefined;
  } catch (error) {
    if (error instanceof SpawnError) return undefined;
    throw error;
  }
}

export function readChains(json: string, ownTable: string): Neighbors | undefined {
  const listing = LISTING.safeParse(parse(json));
  if (!listing.success) return undefined;
  const dropping = listing.data.nftables.flatMap(({ chain }) => {
    if (chain?.hook !== 'input' || chain.policy !== 'drop' || (chain.family === 'inet' && chain.table === ownTable)) return [];
    return [safeText(`${chain.family} ${chain.table} ${chain.name}`)];
  });
  return { dropping };
}

/**
 * `pass` always answers like any other closed port. `drop` does so only where the host is silent about those too, and is cheaper there.
 */
export function hidesBest({ dropping }: Neighbors): 'drop' | 'pass' {
  return dropping.length > 0 ? 'drop' : 'pass';
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}
