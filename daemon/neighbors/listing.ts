// Asks the host's own tools for every ruleset that is not ours: nft, and iptables-save for what nft cannot show. Reads only.
import { readFile } from 'node:fs/promises';
import { run, SpawnError } from '../spawn.ts';
import { readIptablesSave } from './read-iptables.ts';
import { readNft, readTexts } from './read-nft.ts';
import type { Chain, Ruleset } from './ruleset.ts';

// Tunable
const PATIENCE_MS = 10_000;
/** Sets of others that are read for their elements; a ruleset that needs more is not worked through. */
const MOST_SETS = 64;

export type Listing =
  | { readonly kind: 'read'; readonly ruleset: Ruleset }
  /** A tool that is needed failed; what it said. */
  | { readonly kind: 'unknown'; readonly why: string };

/** Every chain at a hook that a new connection passes, and what they jump to, of all families and backends, but for our own table. */
export async function listRules(ownTable: string): Promise<Listing> {
  try {
    const nft = await nftRules(ownTable);
    const legacy = await Promise.all(([4, 6] as const).map(legacyRules));
    return { kind: 'read', ruleset: [...nft, ...legacy.flat()] };
  } catch (error) {
    if (error instanceof SpawnError || error instanceof ToolError) return { kind: 'unknown', why: error.message };
    throw error;
  }
}

class ToolError extends Error {}

async function nftRules(ownTable: string): Promise<Ruleset> {
  // Terse: without the elements of named sets, of which there may be hundreds of thousands.
  const [json, text] = [await tool(['nft', '-j', '-t', 'list', 'ruleset']), await tool(['nft', '-a', '-t', 'list', 'ruleset'])];
  const reading = readNft(await withElements(json, ownTable), readTexts(text), ownTable);
  if (reading === undefined) throw new ToolError('nft printed what is not its JSON');
  const { ruleset, foreign } = reading;
  if (foreign.size === 0) return ruleset;
  const saved = [
    ...readIptablesSave(await toolOrNothing(['iptables-nft-save']), 4, 'nft'),
    ...readIptablesSave(await toolOrNothing(['ip6tables-nft-save']), 6, 'nft'),
  ].filter((chain) => foreign.has(tableOf(chain)));
  const better = new Set(saved.map(tableOf));
  return [...ruleset.filter((chain) => !better.has(tableOf(chain))), ...saved];
}

function tableOf({ family, table }: Chain): string {
  return `${family} ${table}`;
}

/** Puts the elements of named sets and maps back that rules ask for and that can decide something: none that hold addresses. */
async function withElements(json: string, ownTable: string): Promise<string> {
  const { nftables = [] } = JSON.parse(json) as { nftables?: Record<string, NamedSet>[] };
  const asked = nftables.flatMap((entry) => {
    const [kind, set] = entry['set'] !== undefined ? ['set', entry['set']] : ['map', entry['map']];
    if (set === undefined || (set.family === 'inet' && set.table === ownTable)) return [];
    const types = [set.type].flat();
    return types.some((type) => /addr|mark|expression/.test(String(type))) || !json.includes(`"@${set.name}"`) ? [] : [{ kind, set }];
  });
  const filled = await Promise.all(
    asked.slice(0, MOST_SETS).map(async ({ kind, set }) => {
      const one = JSON.parse(await tool(['nft', '-j', 'list', kind ?? 'set', set.family, set.table, set.name])) as { nftables: unknown[] };
      return one.nftables;
    }),
  );
  return JSON.stringify({ nftables: [...nftables, ...filled.flat()] });
}

type NamedSet = { readonly family: string; readonly table: string; readonly name: string; readonly type?: unknown };

/** Only where the kernel has such tables: asking otherwise could make them. */
async function legacyRules(version: 4 | 6): Promise<Ruleset> {
  const names = await readFile(`/proc/self/net/${version === 4 ? 'ip' : 'ip6'}_tables_names`, 'latin1').catch(() => '');
  if (names.trim() === '') return [];
  return readIptablesSave(await tool([version === 4 ? 'iptables-legacy-save' : 'ip6tables-legacy-save']), version, 'legacy');
}

async function tool(argv: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await run(argv, { timeoutMs: PATIENCE_MS });
  if (code !== 0) throw new ToolError(`${argv.slice(0, 4).join(' ')}: ${stderr.split('\n')[0] ?? ''}`);
  return stdout;
}

/** iptables need not be installed where a container's tool has made such rules: they then count as unknown. */
async function toolOrNothing(argv: readonly string[]): Promise<string> {
  try {
    return (await run(argv, { timeoutMs: PATIENCE_MS })).stdout;
  } catch (error) {
    if (error instanceof SpawnError) return '';
    throw error;
  }
}
