// For the caller that turns a refusal of the kernel into the end of a command.
import { CommandError, type ExitCode } from '../command-error.ts';
import { FirewallError } from './firewall.ts';

/** A host that cannot run the backend is a wrong configuration; all else that the kernel refuses did not work. */
const EXIT_OF: Readonly<Record<string, ExitCode>> = { NO_PERMISSION: 3, KERNEL_TOO_OLD: 2, NATIVE_MISSING: 2, UNUSABLE: 2, UNREADABLE: 2 };

/** Anything but a FirewallError comes back as it is. */
export function asCommandError(error: unknown): unknown {
  if (!(error instanceof FirewallError)) return error;
  return new CommandError(EXIT_OF[error.code] ?? 1, `${error.message}: ${error.cure}`);
}
