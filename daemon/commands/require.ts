// For commands that need a good configuration: the configuration, or one error that names everything wrong with it.
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { formatProblem, type Problem } from '../problem.ts';

export type Loaded = { readonly config?: Config | undefined; readonly problems: readonly Problem[] };

export function requireConfig(loaded: Loaded): Config {
  const errors = loaded.problems.filter(({ severity }) => severity === 'error');
  if (loaded.config !== undefined && errors.length === 0) return loaded.config;
  throw new CommandError(2, errors.map(formatProblem).join('\n') || 'the configuration cannot be read');
}
