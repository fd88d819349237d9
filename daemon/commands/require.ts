// For commands that need a good configuration: the configuration, or one error that names everything wrong with it.
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { hasNetAdmin } from '../netlink/capabilities.ts';
import { formatProblem, type Problem } from '../problem.ts';

export type Loaded = { readonly config?: Config | undefined; readonly problems: readonly Problem[]; readonly notPermitted?: boolean };

export function requireConfig(loaded: Loaded): Config {
  const errors = loaded.problems.filter(({ severity }) => severity === 'error');
  if (loaded.config !== undefined && errors.length === 0) return loaded.config;
  throw new CommandError(loaded.notPermitted === true ? 3 : 2, errors.map(formatProblem).join('\n') || 'the configuration cannot be read');
}

/** Before anything is read or opened: a missing capability is the cause of all that would fail after it. */
export function requireNetAdmin(what: string): void {
  if (hasNetAdmin()) return;
  throw new CommandError(3, `${what} needs root or the capability CAP_NET_ADMIN: use sudo, or "systemctl start posternd"`);
}
