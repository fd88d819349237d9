// Reads all that a start or a reload needs, and says everything that is wrong at once. Changes nothing.
import type { SecretKey } from '../protocol/identity.ts';
import { CommandError } from './command-error.ts';
import type { Config } from './config/config.ts';
import { loadConfig } from './config/load.ts';
import { interfaceProblems } from './interfaces.ts';
import type { Peer } from './open/peers.ts';
import { formatProblem, type Problem, problemAt } from './problem.ts';
import { readRules } from './reading/read-rules.ts';
import { backendLimits } from './rules/backend-limits.ts';
import type { RuleBook } from './rules/rulebook.ts';
import { readServerKeys } from './server-keys.ts';

/** Tunable. */
const MOST_TOLD = 200;

export type Setup = {
  readonly config: Config;
  readonly book: RuleBook;
  readonly secrets: readonly SecretKey[];
  /** Everybody in the rules, paired with each of the secrets. */
  readonly peers: ReadonlyMap<string, Peer>;
  readonly warnings: readonly Problem[];
};

/** Throws a CommandError (exit 2, or 3 where the configuration may not be read) with one line for each problem; warnings come back with the setup. `known`: peers of an earlier setup. */
export async function readSetup(configFile: string, known: ReadonlyMap<string, Peer> = new Map()): Promise<Setup> {
  const { config, problems, notPermitted } = await loadConfig(configFile);
  if (config === undefined) throw refuse(problems, notPermitted === true ? 3 : 2);
  const keys = await readServerKeys(config);
  const rules = await readRules(config, keys.secrets, known);
  const all = [...problems, ...(await interfaceProblems(config)), ...rules.problems, ...keys.problems];
  if (rules.book !== undefined) all.push(...backendLimits(config.firewall, rules.book, 'error'));
  if (rules.book === undefined || all.some(({ severity }) => severity === 'error')) throw refuse(all);
  return { config, book: rules.book, secrets: keys.secrets, peers: rules.peers, warnings: atMost(all) };
}

function refuse(problems: readonly Problem[], exit: 2 | 3 = 2): CommandError {
  const errors = problems.filter(({ severity }) => severity === 'error');
  return new CommandError(exit, atMost(errors).map(formatProblem).join('\n'));
}

/** Nobody reads ten thousand lines, and writing them would hold up the knocks of others. */
function atMost(problems: readonly Problem[]): readonly Problem[] {
  if (problems.length <= MOST_TOLD) return problems;
  const left = problems.length - MOST_TOLD;
  return [
    ...problems.slice(0, MOST_TOLD),
    problemAt(undefined, `${left} more like these`, 'run "posternd check" for all of them', 'warning'),
  ];
}
