// The links of `knock doctor` that lie on this machine: configuration, name, keys, clock. Each gives a finding and what the later ones need.
import { fingerprint } from '../protocol/openssh.ts';
import { isCommandError } from './command-error.ts';
import type { Finding, Link, State } from './doctor-findings.ts';
import { clockNote } from './explain-clock.ts';
import { findIdentity, findPsk, findServerKey, knownAs } from './find-keys.ts';
import { findProfile } from './find-profile.ts';
import type { Identity } from './identity-file.ts';
import { localAddressFor } from './local-address.ts';
import type { KnockOptions } from './options.ts';
import { clientPaths } from './paths.ts';
import { askClock } from './prepare.ts';
import type { Profile } from './profile-fields.ts';
import { quote } from './quote.ts';
import { type Resolved, resolveHost } from './resolve.ts';
import { type ServerKey, serverKeyFromKnownHosts } from './server-key.ts';
import { findSshHost, type SshHost } from './ssh-host.ts';
import { type Clock, correctionMs, offsetText, type TimeSource } from './time-source.ts';
import type { World } from './world.ts';

// Fixed by the protocol's default: clocks may differ by this much.
const TOLERANCE_MS = 60_000;

export type Found<T> = { readonly finding: Finding; readonly value: T | undefined };

/** A finding without an address. */
export function about(link: Link, state: State, code: string, says: string, cures: readonly string[] = []): Finding {
  return { link, state, code, address: null, says, cures };
}

/** What was thrown, as the finding of a link. Anything but a CommandError is a bug and is thrown on. */
export function failure(link: Link, cause: unknown, address: string | null = null): Finding {
  if (!isCommandError(cause)) throw cause;
  return { link, state: 'failed', code: cause.code, address, says: cause.message, cures: cause.hints };
}

export async function examineConfiguration(
  options: KnockOptions,
  world: World,
): Promise<Found<{ readonly profile: Readonly<Profile>; readonly ssh: SshHost }>> {
  try {
    const file = options.config ?? clientPaths(world).configFile;
    const profile = await (await findProfile(options.host, options.config, file)).whole();
    const ssh = findSshHost(options.host, profile.host, world);
    const parts = [
      Object.keys(profile).length > 0 ? `profile ${quote(options.host)} in ${quote(file)}` : 'no profile of that name',
      ...(ssh.host === options.host ? [] : [`host ${quote(ssh.host)}`]),
      ...(ssh.port === 22 ? [] : [`ssh's port ${ssh.port}`]),
      ...(ssh.jump === undefined ? [] : [`ssh goes through ${quote(ssh.jump)}, a knock does not`]),
    ];
    return { finding: about('configuration', 'ok', 'read', parts.join(', '), ssh.remarks), value: { profile, ssh } };
  } catch (cause) {
    return { finding: failure('configuration', cause), value: undefined };
  }
}

export async function examineName(ssh: SshHost, options: KnockOptions): Promise<Found<Resolved>> {
  try {
    const resolved = await resolveHost(ssh.host, options.family ?? ssh.family, options.timeoutMs);
    const says = `${quote(ssh.host)} is ${resolved.targets.map(({ text }) => text).join(', ')}`;
    return { finding: about('name', 'ok', resolved.literal ? 'literal' : 'resolved', says), value: resolved };
  } catch (cause) {
    return { finding: failure('name', cause), value: undefined };
  }
}

export async function examineIdentity(
  options: KnockOptions,
  profile: Readonly<Profile>,
  ssh: SshHost,
  world: World,
): Promise<Found<Identity>> {
  try {
    const identity = await findIdentity(options, profile, ssh, clientPaths(world), world);
    const psk = findPsk(profile, world) === undefined ? '' : ', and the pre-shared key';
    const says = `${fingerprint(identity.secret.publicKey)} in ${quote(identity.path)}${psk}`;
    return { finding: about('client-key', 'ok', 'read', says), value: identity };
  } catch (cause) {
    return { finding: failure('client-key', cause), value: undefined };
  }
}

/** Also says when ssh knows another key for this host than the one that is meant: right or wrong, a person should see it. */
export function examineServerKey(
  options: KnockOptions,
  profile: Readonly<Profile>,
  ssh: SshHost,
  requests: KnockOptions['requests'],
): Found<ServerKey> {
  const known = knownAs(ssh, requests);
  try {
    const key = findServerKey(ssh.host, options, profile, known);
    const origin = { option: '--server-key', profile: 'the profile', known_hosts: 'known_hosts' }[key.origin];
    const says = `${fingerprint(key.publicKey)} from ${origin}`;
    if (key.origin === 'known_hosts')
      return { finding: about('server-key', 'ok', 'known-hosts', `${says}: right only if posternd uses the SSH host key`), value: key };
    const other = otherKnownKey(key, () => serverKeyFromKnownHosts(ssh.host, known));
    return { finding: about('server-key', 'ok', other === '' ? 'given' : 'differs', `${says}${other}`), value: key };
  } catch (cause) {
    return { finding: failure('server-key', cause), value: undefined };
  }
}

function otherKnownKey(key: ServerKey, look: () => ServerKey): string {
  try {
    const seen = fingerprint(look().publicKey);
    return seen === fingerprint(key.publicKey)
      ? ''
      : `; known_hosts has another one (${seen}), which is sshd's: right if posternd has a key of its own`;
  } catch (cause) {
    // ssh knows none, or several: that is not what is asked here.
    if (!isCommandError(cause)) throw cause;
    return '';
  }
}

/** Asks the clock that the user named; else compares with the host's own web server, if it has one. Nobody else. */
export async function examineClock(
  time: TimeSource,
  from: Parameters<typeof askClock>[1],
  resolved: Resolved | undefined,
  options: KnockOptions,
  world: World,
): Promise<{ readonly finding: Finding; readonly clock: Clock; readonly hostClock: (Clock & { readonly kind: 'measured' }) | undefined }> {
  const says = `this machine says ${new Date(world.now()).toISOString().replace(/\.\d+Z$/, 'Z')}`;
  if (time.kind !== 'system') {
    const clock = await askClock(time, from, options, world);
    return { finding: namedClock(clock, says), clock, hostClock: undefined };
  }
  const clock: Clock = { kind: 'system' };
  const [target] = resolved?.targets ?? [];
  if (target === undefined)
    return { finding: about('clock', 'skipped', 'clock-unknown', `${says}; nobody to compare with`), clock, hostClock: undefined };
  const { hostClock: ask } = await import('./host-clock.ts');
  const hostClock = await ask(target, localAddressFor(from, target.family), world.now);
  return { finding: comparedClock(hostClock, options.host, says), clock, hostClock };
}

function namedClock(clock: Clock, says: string): Finding {
  const cure = ["set this machine's clock (timedatectl set-ntp true)"];
  if (clock.kind !== 'measured') {
    const why = clock.kind === 'unknown' ? clock.why : 'nobody was asked';
    return about('clock', 'unsure', 'clock-unanswered', `${says}; ${why}`, ['name another clock with --time, or compare by hand']);
  }
  const note = clockNote(clock);
  if (note === undefined || correctionMs(clock) === 0) return about('clock', 'ok', 'clock-right', `${says}, as ${clock.source} does`);
  return about('clock', 'ok', 'clock-corrected', note, cure);
}

function comparedClock(hostClock: Clock | undefined, host: string, says: string): Finding {
  if (hostClock?.kind !== 'measured')
    return about(
      'clock',
      'skipped',
      'clock-unknown',
      `${says}; not compared: ${quote(host)} tells no time by HTTP, and no clock was named`,
      ['compare it by hand, or name a clock that you trust: --time sntp:SERVER or --time https://HOST'],
    );
  const off = Math.abs(hostClock.offsetMs) - hostClock.uncertaintyMs;
  if (off < TOLERANCE_MS / 2)
    return about('clock', 'ok', 'clock-right', `${says}, about as ${quote(host)} does (${hostClock.source} says so)`);
  return about(
    'clock',
    'unsure',
    'clock-off',
    `this machine's clock is ${offsetText(hostClock.offsetMs)} that of ${quote(host)} (${hostClock.source} says so)`,
    ['a server takes knocks up to a minute off: set the clock of the one that is wrong, or name a clock that you trust with --time'],
  );
}
