// Reads all that a start or a reload needs, and says everything that is wrong at once. Changes nothing.
import type { SecretKey } from '../protocol/identity.ts';
import { CommandError } from './command-error.ts';
import type { Config } from './config/config.ts';
import { loadConfig } from './config/load.ts';
import { interfaceProblems } from './interfaces.ts';
import { formatProblem, type Problem } from './problem.ts';
import { loadRuleBook } from './rules/load.ts';
import type { RuleBook } from './rules/rulebook.ts';
import { readServerKeys } from './server-keys.ts';

export type Setup = {
  readonly config: Config;
  readonly book: RuleBook;
  readonly secrets: readonly SecretKey[];
  readonly warnings: readonly Problem[];
};

/** Throws a CommandError (exit 2) with one line for each problem; warnings come back with the setup. */
export async function readSetup(configFile: string): Promise<Setup> {
  const { config, problems } = await loadConfig(configFile);
  if (config === undefined) throw refuse(problems);
  const rules = await loadRuleBook(config);
  const keys = await readServerKeys(config);
  const all = [...problems, ...(await interfaceProblems(config)), ...rules.problems, ...keys.problems];
  if (rules.book === undefined || all.some(({ severity }) => severity === 'error')) throw refuse(all);
  return { config, book: rules.book, secrets: keys.secrets, warnings: all };
}

function refuse(problems: readonly Problem[]): CommandError {
  const errors = problems.filter(({ severity }) => severity === 'error');
  return new CommandError(2, errors.map(formatProblem).join('\n'));
}
