// Gathers all that a knock needs (profile, keys, addresses, slots) into a plan. Sends nothing to the host; asks for a passphrase if it must.
import type { IpAddress } from '../protocol/address.ts';
import type { SecretKey } from '../protocol/identity.ts';
import type { Action } from '../protocol/knock.ts';
import { pairAsClient } from '../protocol/pairing.ts';
import { DEFAULT_SLOTS } from '../protocol/tags.ts';
import { isCommandError } from './command-error.ts';
import { findIdentity, findPsk, findServerKey, knownAs } from './find-keys.ts';
import type { Identity } from './identity-file.ts';
import { type Located, locate, outcomeOf } from './locate.ts';
import type { KnockOptions } from './options.ts';
import { clientPaths } from './paths.ts';
import { budgetAttempts, DEFAULT_KNOCK_PORT, type KnockPlan } from './plan.ts';
import type { Profile } from './profile-fields.ts';
import { quote } from './quote.ts';
import { type Resolved, resolveHost } from './resolve.ts';
import type { ServerKey } from './server-key.ts';
import { type ProbePlan, planProbes } from './services.ts';
import { SlotDrawer } from './slots.ts';
import type { SettledMode } from './source.ts';
import type { SshHost } from './ssh-host.ts';
import { reachable } from './targets.ts';
import { type Clock, correctionMs, offsetText, type TimeSource } from './time-source.ts';
import type { World } from './world.ts';

export type Prepared = {
  readonly plan: KnockPlan;
  readonly serverKeyOrigin: ServerKey['origin'];
  readonly identityPath: string;
  readonly clock: Clock;
  /** The host that ssh goes through to this one, if its configuration says so. */
  readonly jump: string | undefined;
  /** Looks the host up again. */
  readonly lookUp: () => Promise<Resolved>;
};

export type Keys = { readonly profile: Readonly<Profile>; readonly serverKey: ServerKey; readonly identity: Identity };

/** Reads the keys, while the name is still looked up. Asks for a passphrase if it must. */
export async function readKeys(
  { found, ssh, requests, lookup }: Located,
  options: KnockOptions,
  world: World,
  remark: (text: string) => void,
): Promise<Keys> {
  const profile = await found.whole();
  const findKey = () => findServerKey(ssh.host, options, profile, knownAs(ssh, requests));
  const serverKey = await rather(findKey, lookup);
  const identity = await findIdentity(options, profile, ssh, clientPaths(world), world);
  remark(`key ${quote(identity.path)}, server key from ${serverKey.origin}`);
  return { profile, serverKey, identity };
}

/** `kind` says whether to open or to close. */
export async function planKnock(
  kind: Action['kind'],
  { ssh, requests, source, from, lookup }: Located,
  keys: Keys,
  options: KnockOptions,
  world: World,
  remark: (text: string) => void,
): Promise<Prepared> {
  const time: TimeSource = options.time ?? keys.profile.time ?? { kind: 'system' };
  const asking = time.kind === 'system' || options.dryRun ? undefined : outcomeOf(askClock(time, from, options, world));
  const resolved = reachable(await lookup(), source, from);
  remark(`${quote(ssh.host)} is ${resolved.targets.map((target) => target.text).join(', ')}`);
  const clock: Clock = (await asking?.()) ?? { kind: 'system' };
  if (clock.kind !== 'system')
    remark(clock.kind === 'unknown' ? clock.why : `this machine's clock is ${offsetText(clock.offsetMs)} ${clock.source}`);
  return assembleKnock({ kind, options, ...keys, ssh, requests, source, from, resolved, time, clock }, world, remark);
}

/** All of it, one after the other. */
export async function prepareKnock(
  kind: Action['kind'],
  options: KnockOptions,
  world: World,
  remark: (text: string) => void,
): Promise<Prepared> {
  const located = await locate(options, world, remark);
  const keys = await readKeys(located, options, world, remark);
  return await planKnock(kind, located, keys, options, world, remark);
}

/** All that was found, and nothing that has to be asked for. */
export type KnockParts = {
  readonly kind: Action['kind'];
  readonly options: KnockOptions;
  readonly profile: Readonly<Profile>;
  readonly ssh: SshHost;
  readonly requests: KnockOptions['requests'];
  readonly serverKey: ServerKey;
  readonly identity: Identity;
  readonly source: SettledMode;
  readonly from: readonly IpAddress[];
  readonly resolved: Resolved;
  readonly time: TimeSource;
  readonly clock: Clock;
};

/** Puts the plan together. Reads the pre-shared key, if the profile names one. */
export function assembleKnock(parts: KnockParts, world: World, remark: (text: string) => void): Prepared {
  const { kind, options, profile, ssh, requests, serverKey, identity, source, from, resolved, time, clock } = parts;
  const slots = profile.slots ?? DEFAULT_SLOTS;
  const probes = planProbes(requests, ssh.port, profile.offers ?? []);
  const plan: KnockPlan = {
    host: options.host,
    resolved,
    knockPort: options.port ?? profile.port ?? DEFAULT_KNOCK_PORT,
    action: kind === 'close' ? { kind } : { kind, lifetimeSeconds: options.ttlSeconds ?? profile.ttlSeconds ?? 0, once: options.once },
    requests,
    source,
    from,
    sourcePort: options.sourcePort,
    time,
    correctionMs: correctionMs(clock),
    secret: identity.secret,
    pairing: pairAsClient(identity.secret, serverKey.publicKey, findPsk(profile, world)),
    slots: drawer(clientPaths(world).stateDir, identity.secret, serverKey, slots, world, remark),
    attempts: budgetAttempts(resolved.targets.length, slots, options.retries),
    timeoutMs: options.timeoutMs,
    probes,
    unchecked: whyUnchecked(options, source, probes),
  };
  const lookUp = async () => reachable(await resolveHost(ssh.host, options.family ?? ssh.family, options.timeoutMs), source, from);
  return { plan, serverKeyOrigin: serverKey.origin, identityPath: identity.path, clock, jump: ssh.jump, lookUp };
}

/** Of the sources of time only those that the user named: see ask-time.ts, which a plain knock never loads. */
export async function askClock(time: TimeSource, from: readonly IpAddress[], options: KnockOptions, world: World): Promise<Clock> {
  const { askTime } = await import('./ask-time.ts');
  return await askTime(time, { now: world.now, from, timeoutMs: options.timeoutMs });
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

function whyUnchecked(options: KnockOptions, source: SettledMode, probes: ProbePlan): string | undefined {
  if (!options.verify) return '--no-verify';
  if (source.kind === 'on-behalf') return `it is for ${source.address.text}, not for this machine`;
  // SPEC: the check would spend the one connection that the grant admits.
  if (options.once || probes.once) return 'a check would use up the one connection';
  return probes.ports.length === 0 ? 'nothing that was asked for can be checked' : undefined;
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
