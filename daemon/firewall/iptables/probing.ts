// What this kernel takes of that which the gate is made of, tried for real: iptables-restore --test asks the kernel nothing. In a chain to which
// nobody jumps, and in sets that nobody else uses; all of it is gone at the end.
import type { Family } from '../../../protocol/address.ts';
import { FirewallError } from '../firewall.ts';
import type { FamilyTools } from './tools.ts';

type Part = readonly [module: string, rule: string];

const NEEDED: readonly Part[] = [
  ['xt_comment', '-m comment --comment trial -j RETURN'],
  ['xt_addrtype', '-m addrtype --dst-type LOCAL -j RETURN'],
  ['xt_multiport', '-p tcp -m multiport --dports 1,2:3 -j RETURN'],
  ['xt_conntrack', '-m conntrack --ctstate ESTABLISHED --ctdir REPLY -j RETURN'],
  ['xt_connlabel', '-m connlabel --label 117 --set -j RETURN'],
  ['xt_length', '-m length --length 220:476 -j RETURN'],
  ['xt_NFLOG', '-j NFLOG --nflog-group 5 --nflog-prefix trial --nflog-threshold 1'],
];

// Tunable
/** Rules of the form for nf_tables are taken out a moment after the transaction: sets are in use that long. */
const DESTROY_ATTEMPTS = 50;
const DESTROY_PAUSE_MS = 20;

/** Throws FirewallError (UNUSABLE) with the names of what is missing. */
export async function requireModules(tools: FamilyTools): Promise<void> {
  const missing = await missingModules(tools, NEEDED);
  if (missing.length === 0) return;
  throw new FirewallError(
    'UNUSABLE',
    `could not use the iptables backend: this kernel lacks ${missing.join(', ')} for IPv${tools.family}`,
    `load them ("modprobe ${missing.join(' ')}"), or use a kernel that has them`,
  );
}

export async function missingModules(tools: FamilyTools, parts: readonly Part[]): Promise<readonly string[]> {
  if ((await tools.attempt(parts.map(([, rule]) => rule))) === undefined) return [];
  const missing: string[] = [];
  for (const [module, rule] of parts) if ((await tools.attempt([rule])) !== undefined) missing.push(module);
  return missing;
}

/** Undefined, or why rules cannot end by the wall clock. */
export function lacksTime(families: readonly FamilyTools[]): Promise<string | undefined> {
  return firstRefusal(families, () => ['-m time --datestop 2037-01-01T00:00:00 -j RETURN']);
}

/** Undefined, or why there can be no sets, or no rules that match them. */
export async function lacksSets(
  families: readonly FamilyTools[],
  changeSets: (lines: readonly string[], doing: string) => Promise<void>,
): Promise<string | undefined> {
  const name = (family: Family, type: 'pairs' | 'flows'): string => `postern-trial-${process.pid}-${type}${family}`;
  const all = families.flatMap(({ family }) => (['pairs', 'flows'] as const).map((type) => [family, type] as const));
  try {
    const lines = all.map(
      ([family, type]) =>
        `create ${name(family, type)} hash:ip,port${type === 'flows' ? ',ip' : ''} family ${family === 4 ? 'inet' : 'inet6'} timeout 30`,
    );
    await changeSets(lines, 'make sets');
    return await firstRefusal(families, ({ family }) => [
      `-m set --match-set ${name(family, 'pairs')} src,dst -j RETURN`,
      `-p tcp -m tcp ! --syn -m set --match-set ${name(family, 'flows')} src,src,dst -j RETURN`,
    ]);
  } catch (error) {
    if (error instanceof FirewallError && error.code !== 'LOCKED') return error.message;
    throw error;
  } finally {
    for (const each of all) await destroyed(() => changeSets([`destroy ${name(...each)}`], 'remove sets'));
  }
}

async function firstRefusal(
  families: readonly FamilyTools[],
  rules: (tools: FamilyTools) => readonly string[],
): Promise<string | undefined> {
  for (const tools of families) {
    const why = await tools.attempt(rules(tools));
    if (why !== undefined) return why;
  }
  return undefined;
}

/** Absent is as good; without ipset there is nothing. */
async function destroyed(destroy: () => Promise<void>): Promise<void> {
  for (let attempt = 1; attempt <= DESTROY_ATTEMPTS; attempt += 1) {
    try {
      return await destroy();
    } catch (error) {
      if (!(error instanceof FirewallError) || error.code !== 'SET_IN_USE') return;
    }
    await new Promise((resolve) => setTimeout(resolve, DESTROY_PAUSE_MS));
  }
}
