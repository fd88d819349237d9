// What `check` says of the other firewalls of this host: which protected port they would keep closed after a knock, by which rule, and
// which answer of the knock port stands out least among theirs. It looks and changes nothing.
import { formatPortRange } from '../../protocol/ports.ts';
import type { Config } from '../config/config.ts';
import { adviceFor, adviceForKnocks } from '../neighbors/advice.ts';
import { listRules } from '../neighbors/listing.ts';
import type { Ruleset } from '../neighbors/ruleset.ts';
import { surroundings } from '../neighbors/surroundings.ts';
import { type Finding, fateOfUnwanted, findObstacles, type Surroundings } from '../neighbors/verdicts.ts';
import { type Problem, problemAt } from '../problem.ts';
import { safeText } from '../safe-text.ts';

export type Neighbors = {
  /** `unmatched` as it hides best here; undefined when that cannot be told. */
  readonly hidesBest: 'drop' | 'pass' | undefined;
  /** Chains at the input hook that drop by default, as `inet filter input`; undefined when the rules could not be read. */
  readonly dropping: readonly string[] | undefined;
  readonly obstacles: readonly Obstacle[];
  /** For people: what is neither right nor wrong. */
  readonly notes: readonly string[];
  readonly problems: readonly Problem[];
};

/** One line of `check --json`. */
export type Obstacle = {
  readonly kind: Finding['fate']['kind'];
  readonly ports: readonly string[];
  readonly families: readonly number[];
  readonly interfaces: readonly string[];
  readonly network: string | null;
  readonly chain: string;
  readonly rule: string | null;
  readonly message: string;
  readonly cure: string;
};

export async function checkNeighbors(config: Config): Promise<Neighbors> {
  const listing = await listRules(config.table);
  if (listing.kind === 'unknown') {
    const note = `cannot tell whether other firewalls of this host let granted ports in: ${safeText(listing.why)}`;
    return { hidesBest: undefined, dropping: undefined, obstacles: [], notes: [note], problems: [] };
  }
  const { ruleset } = listing;
  const around = await surroundings(config.interfaces.map(({ name }) => name));
  const findings = findObstacles(ruleset, config.protect, config.networks, around);
  const advised = findings.map((finding) => ({ finding, advice: adviceFor(finding) }));
  const knocks = { protocol: 'udp', first: config.port, last: config.port } as const;
  const lost = config.capture === 'udp' ? findObstacles(ruleset, [knocks], [], around).flatMap((each) => adviceForKnocks(each) ?? []) : [];
  const sure = advised.filter(({ finding }) => finding.fate.kind !== 'cannot-tell');
  const dropping = droppingChains(ruleset);
  return {
    hidesBest: hidesBest(ruleset, config.port, around, dropping.length > 0),
    dropping,
    obstacles: advised.map(({ finding, advice }) => ({ ...obstacle(finding), ...advice })),
    notes: [
      ...dropping.map((chain) => `${chain} drops by default${findings.length === 0 ? ', and lets every protected port in' : ''}`),
      ...advised.filter((each) => !sure.includes(each)).map(({ advice }) => safeText(`${advice.message}: ${advice.cure}`, 600)),
    ],
    problems: [...lost, ...sure.map(({ advice }) => advice)].map(({ message, cure }) => problemAt(undefined, message, cure, 'warning')),
  };
}

/**
 * `pass` always answers like any other closed port. `drop` does so only where the host is silent about those too, and is cheaper there.
 * `byDefault`: what counts on a host without an address yet.
 */
function hidesBest(ruleset: Ruleset, port: number, around: Surroundings, byDefault: boolean): Neighbors['hidesBest'] {
  const met = around.interfaces.some(({ outside, own }) => outside && own.length > 0);
  const fate = met ? fateOfUnwanted(ruleset, port, around) : byDefault ? 'dropped' : 'answered';
  if (fate === 'cannot-tell') return undefined;
  return fate === 'dropped' ? 'drop' : 'pass';
}

function droppingChains(ruleset: Ruleset): readonly string[] {
  return ruleset
    .filter(({ base }) => base?.hook === 'input' && base.policy === 'drop')
    .map(({ backend, family, table, name }) => safeText(`${backend === 'legacy' ? 'iptables-legacy ' : ''}${family} ${table} ${name}`));
}

function obstacle({ fate, ports, versions, interfaces, network }: Finding): Omit<Obstacle, 'message' | 'cure'> {
  const { chain, rule } = fate.at;
  return {
    kind: fate.kind,
    ports: ports.map(formatPortRange),
    families: versions,
    interfaces,
    network: network?.text ?? null,
    chain: `${chain.family} ${chain.table} ${chain.name}`,
    rule: rule?.text ?? null,
  };
}
