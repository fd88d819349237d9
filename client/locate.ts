// Finds out who is meant and where: the profile, ssh's configuration, the name's addresses. Reads no key, and loads nothing that one would need:
// `knock proxy` has to know no more to find that a door is open.
import type { IpAddress } from '../protocol/address.ts';
import { DEFAULT_SLOTS } from '../protocol/tags.ts';
import { CommandError, isCommandError } from './command-error.ts';
import { type FoundProfile, findProfile, nearestProfile } from './find-profile.ts';
import { localAddresses } from './local-address.ts';
import type { KnockOptions } from './options.ts';
import { clientPaths } from './paths.ts';
import { quote } from './quote.ts';
import { type Resolved, resolveHost } from './resolve.ts';
import { atSshPort, type ProbePlan, parseRequests, planProbes } from './services.ts';
import type { SettledMode } from './source.ts';
import { findSshHost, type SshHost } from './ssh-host.ts';
import { settleMode } from './targets.ts';
import type { World } from './world.ts';

/** What the files of this machine say of a host, before any key is read. */
export type Located = {
  readonly found: FoundProfile;
  readonly ssh: SshHost;
  readonly requests: KnockOptions['requests'];
  readonly source: SettledMode;
  readonly from: readonly IpAddress[];
  readonly slots: number;
  readonly probes: ProbePlan;
  /** The name is being looked up. Its failure is less basic than one of the configuration, and shown after any error about keys. */
  readonly lookup: () => Promise<Resolved>;
};

/** Finds out who is meant, and where. Each `remark` is for `-v`. */
export async function locate(options: KnockOptions, world: World, remark: (text: string) => void): Promise<Located> {
  const paths = clientPaths(world);
  const found = await findProfile(options.host, options.config, paths.configFile);
  const { said } = found;
  const ssh = findSshHost(options.host, said.host, world);
  for (const text of ssh.remarks) remark(text);
  const asked = options.requests.length > 0 ? options.requests : parseRequests(said.services ?? []).requests;
  const requests = atSshPort(asked, ssh.port);
  const source = settleMode(options.source ?? said.source ?? { kind: 'auto' }, said);
  const from = localAddresses(options.via, source);
  const lookup = outcomeOf(
    resolveHost(ssh.host, options.family ?? ssh.family, options.timeoutMs).catch(async (cause: unknown) => {
      const meant =
        isCommandError(cause) && cause.code === 'lookup-failed'
          ? await nearestProfile(ssh.host, options.config ?? paths.configFile)
          : undefined;
      throw meant === undefined || meant === ssh.host ? cause : unknownName(ssh.host, meant);
    }),
  );
  const probes = planProbes(requests, ssh.port, said.offers ?? []);
  return { found, ssh, requests, source, from, slots: said.slots ?? DEFAULT_SLOTS, probes, lookup };
}

function unknownName(host: string, meant: string): CommandError {
  return new CommandError(1, 'lookup-failed', `the name ${quote(host)} is not known: did you mean the profile ${quote(meant)}?`);
}

/** Starts now, throws later: a promise that fails before anyone waits for it would end the process. */
export function outcomeOf<T>(promise: Promise<T>): () => Promise<T> {
  const settled = promise.then(
    (value) => ({ ok: true, value }) as const,
    (cause: unknown) => ({ ok: false, cause }) as const,
  );
  return async () => {
    const result = await settled;
    if (!result.ok) throw result.cause;
    return result.value;
  };
}
