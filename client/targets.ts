// Which addresses of a host a knock goes to, after what was said about this machine's own. Asks nobody.
import type { IpAddress } from '../protocol/address.ts';
import { CommandError, usageError } from './command-error.ts';
import type { Profile } from './profile-fields.ts';
import type { Resolved } from './resolve.ts';
import type { SettledMode, SourceMode } from './source.ts';

/** No server is asked that the user did not name: there is no default one. */
export function settleMode(source: SourceMode, profile: Readonly<Profile>): SettledMode {
  if (source.kind !== 'stun') return source;
  const server = source.server ?? profile.stunServer;
  if (server !== undefined) return { kind: 'stun', server };
  throw usageError([
    '--source stun: no STUN server was named, and none is asked on its own: write --source stun:SERVER, or stun_server: in the profile',
  ]);
}

/** Those that can be knocked at from `from` with this source. Throws when none is left. */
export function reachable(resolved: Resolved, source: SettledMode, from: readonly IpAddress[]): Resolved {
  return ofLocalFamily(ofSourceFamily(resolved, source), from);
}

/** A named source address can only stand for targets of its own family. */
function ofSourceFamily(resolved: Resolved, source: SettledMode): Resolved {
  if (source.kind !== 'address') return resolved;
  const targets = resolved.targets.filter((target) => target.family === source.address.family);
  if (targets.length > 0) return { ...resolved, targets };
  throw new CommandError(2, 'usage', `--source ${source.address.text} is IPv${source.address.family}, but the host has no such address`);
}

/** What is sent from a certain address can only reach its own family. */
function ofLocalFamily(resolved: Resolved, from: readonly IpAddress[]): Resolved {
  const [first] = from;
  if (first === undefined) return resolved;
  const targets = resolved.targets.filter((target) => from.some((address) => address.family === target.family));
  if (targets.length > 0) return { ...resolved, targets };
  throw new CommandError(2, 'usage', `${first.text} is to be sent from, which is IPv${first.family}, but the host has no such address`);
}
