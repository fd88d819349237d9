// Gathers all that a knock needs (profile, keys, addresses, slots) into a plan. Sends nothing; asks for a passphrase if it must.
import { readFileSync } from 'node:fs';
import type { IpAddress } from '../protocol/address.ts';
import type { SecretKey } from '../protocol/identity.ts';
import type { Action } from '../protocol/knock.ts';
import { PSK_BYTES, pairAsClient } from '../protocol/pairing.ts';
import { DEFAULT_SLOTS } from '../protocol/tags.ts';
import { CommandError, isCommandError, usageError } from './command-error.ts';
import { loadIdentity } from './identity-file.ts';
import { localAddresses } from './local-address.ts';
import type { KnockOptions } from './options.ts';
import { clientPaths, expandHome } from './paths.ts';
import { budgetAttempts, type KnockPlan } from './plan.ts';
import type { Profile } from './profile.ts';
import { quote } from './quote.ts';
import { type Resolved, resolveHost } from './resolve.ts';
import { readSecretFile } from './secret-file.ts';
import { type KnownAs, type ServerKey, serverKeyFromKnownHosts, serverKeyFromOption } from './server-key.ts';
import { atSshPort, parseRequests, planProbes } from './services.ts';
import { SlotDrawer } from './slots.ts';
import type { SettledMode, SourceMode } from './source.ts';
import { findSshHost, type SshHost } from './ssh-host.ts';
import type { World } from './world.ts';

// Fixed by cli.md.
const DEFAULT_KNOCK_PORT = 62201;
// Fixed by sshd(8): an alias stands in known_hosts as a name at this port does, without a number.
const SSH_PORT = 22;

export type Prepared = {
  readonly plan: KnockPlan;
  readonly serverKeyOrigin: ServerKey['origin'];
  readonly identityPath: string;
  /** The host that ssh goes through to this one, if its configuration says so. */
  readonly jump: string | undefined;
};

/** `action` says whether to open or to close. Each `remark` is for `-v`. */
export async function prepareKnock(
  kind: Action['kind'],
  options: KnockOptions,
  world: World,
  remark: (text: string) => void,
): Promise<Prepared> {
  const paths = clientPaths(world);
  const profile = await findProfile(options.host, options.config, paths.configFile);
  const ssh = findSshHost(options.host, profile.host, world);
  for (const text of ssh.remarks) remark(text);
  const { host } = ssh;
  const asked = options.requests.length > 0 ? options.requests : parseRequests(profile.services ?? []).requests;
  const requests = atSshPort(asked, ssh.port);
  // The name is looked up while the keys are read. Its failure is looked at below, after any error about keys.
  const lookup = outcomeOf(resolveHost(host, options.family ?? ssh.family, options.timeoutMs));
  const findKey = () => findServerKey(host, options, profile, knownAs(ssh, requests));
  const serverKey = await rather(findKey, lookup);
  const candidates = [
    { path: paths.ownIdentityFile, optional: false },
    ...ssh.identityFiles.map((path) => ({ path: path.replace(/\.pub$/, ''), optional: true })),
    { path: paths.sshIdentityFile, optional: false },
  ];
  const named = options.identity ?? profile.identity;
  const identity = await loadIdentity(named === undefined ? undefined : expandHome(named, world.home), candidates, world);
  remark(`key ${quote(identity.path)}, server key from ${serverKey.origin}`);
  const source = settleMode(options.source ?? profile.source ?? { kind: 'auto' }, profile);
  const from = localAddresses(options.via, source);
  const resolved = ofLocalFamily(ofSourceFamily(await lookup(), source), from);
  remark(`${quote(host)} is ${resolved.targets.map((target) => target.text).join(', ')}`);
  const slots = profile.slots ?? DEFAULT_SLOTS;
  const psk = profile.pskFile === undefined ? undefined : readPsk(expandHome(profile.pskFile, world.home), world);
  const probes = planProbes(requests, ssh.port);
  const plan: KnockPlan = {
    host: options.host,
    resolved,
    knockPort: options.port ?? profile.port ?? DEFAULT_KNOCK_PORT,
    action: kind === 'close' ? { kind } : { kind, lifetimeSeconds: options.ttlSeconds ?? profile.ttlSeconds ?? 0, once: options.once },
    requests,
    source,
    from,
    sourcePort: options.sourcePort,
    secret: identity.secret,
    pairing: pairAsClient(identity.secret, serverKey.publicKey, psk),
    slots: drawer(paths.stateDir, identity.secret, serverKey, slots, world, remark),
    attempts: budgetAttempts(resolved.targets.length, slots, options.retries),
    timeoutMs: options.timeoutMs,
    probes,
    unchecked: whyUnchecked(options, source, probes.ports.length),
  };
  return { plan, serverKeyOrigin: serverKey.origin, identityPath: identity.path, jump: ssh.jump };
}

async function findProfile(name: string, named: string | undefined, standard: string): Promise<Readonly<Profile>> {
  const file = named ?? standard;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (named === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return {};
    throw new CommandError(2, 'config-unreadable', `cannot read the configuration ${quote(file)} (${code})`);
  }
  const { parseProfiles } = await import('./profile.ts');
  const { profiles, problems } = parseProfiles(text, file);
  if (problems.length > 0) throw usageError(problems);
  return profiles.get(name) ?? {};
}

function findServerKey(host: string, options: KnockOptions, profile: Readonly<Profile>, known: KnownAs): ServerKey {
  if (options.serverKey !== undefined) return serverKeyFromOption(options.serverKey);
  if (profile.serverKey !== undefined) return { publicKey: profile.serverKey, origin: 'profile' };
  return serverKeyFromKnownHosts(host, known);
}

/** ssh's own port first; a service on another port may be an sshd too. */
function knownAs(ssh: SshHost, requests: KnockOptions['requests']): KnownAs {
  const { name, alias } = ssh.knownAs;
  return { name, ports: alias ? [SSH_PORT] : [ssh.port, SSH_PORT, ...requests.flatMap(tcpPort)], files: ssh.knownHostsFiles };
}

function tcpPort(request: KnockOptions['requests'][number]): readonly number[] {
  return request.kind === 'ports' && request.ports.protocol === 'tcp' ? [request.ports.first] : [];
}

/** A named source address can only stand for targets of its own family. */
function ofSourceFamily(resolved: Resolved, source: SettledMode): Resolved {
  if (source.kind !== 'address') return resolved;
  const targets = resolved.targets.filter((target) => target.family === source.address.family);
  if (targets.length > 0) return { ...resolved, targets };
  throw new CommandError(2, 'usage', `--source ${source.address.text} is IPv${source.address.family}, but the host has no such address`);
}

/** No server is asked that the user did not name: there is no default one. */
function settleMode(source: SourceMode, profile: Readonly<Profile>): SettledMode {
  if (source.kind !== 'stun') return source;
  const server = source.server ?? profile.stunServer;
  if (server !== undefined) return { kind: 'stun', server };
  throw usageError([
    '--source stun: no STUN server was named, and none is asked on its own: write --source stun:SERVER, or stun_server: in the profile',
  ]);
}

/** What is sent from a certain address can only reach its own family. */
function ofLocalFamily(resolved: Resolved, from: readonly IpAddress[]): Resolved {
  const [first] = from;
  if (first === undefined) return resolved;
  const targets = resolved.targets.filter((target) => from.some((address) => address.family === target.family));
  if (targets.length > 0) return { ...resolved, targets };
  throw new CommandError(2, 'usage', `${first.text} is to be sent from, which is IPv${first.family}, but the host has no such address`);
}

function readPsk(path: string, world: World): Uint8Array {
  const content = readSecretFile(path, 'psk_file', world);
  if (content === undefined) throw new CommandError(2, 'psk-refused', `there is no psk_file ${quote(path)}`);
  const base64 = content.toString('latin1').trim();
  const psk = Buffer.from(base64, 'base64');
  if (psk.length !== PSK_BYTES || psk.toString('base64') !== base64)
    throw new CommandError(
      2,
      'psk-refused',
      `the psk_file ${quote(path)} must hold ${PSK_BYTES} bytes in base64 (openssl rand -base64 32)`,
    );
  return psk;
}

function drawer(
  stateDir: string,
  secret: SecretKey,
  serverKey: ServerKey,
  slots: number,
  world: World,
  remark: (text: string) => void,
): SlotDrawer {
  return new SlotDrawer({
    stateDir,
    client: secret.publicKey,
    server: serverKey.publicKey,
    slots,
    random: world.random,
    onTrouble: remark,
  });
}

function whyUnchecked(options: KnockOptions, source: SettledMode, portCount: number): string | undefined {
  if (!options.verify) return '--no-verify';
  if (source.kind === 'on-behalf') return `it is for ${source.address.text}, not for this machine`;
  // SPEC: the check would spend the one connection that the grant admits.
  if (options.once) return 'a check would use up the one connection';
  return portCount === 0 ? 'nothing that was asked for can be checked' : undefined;
}

/** Of two failures the more basic one is shown: nobody has a key for a name that was mistyped. */
async function rather<T>(attempt: () => T, basic: () => Promise<unknown>): Promise<T> {
  try {
    return attempt();
  } catch (cause) {
    if (isCommandError(cause) && cause.code === 'server-key-unknown') await basic();
    throw cause;
  }
}

/** Starts now, throws later: a promise that fails before anyone waits for it would end the process. */
function outcomeOf<T>(promise: Promise<T>): () => Promise<T> {
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
