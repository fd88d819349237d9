// Finds the keys of a knock: this user's, the server's, and the pre-shared one. Which places count, and in which order, is decided here.
import { PSK_BYTES } from '../protocol/pairing.ts';
import { CommandError } from './command-error.ts';
import { type Identity, loadIdentity } from './identity-file.ts';
import type { KnockOptions } from './options.ts';
import { type ClientPaths, expandHome } from './paths.ts';
import type { Profile } from './profile-fields.ts';
import { quote } from './quote.ts';
import { readSecretFile } from './secret-file.ts';
import { type KnownAs, type ServerKey, serverKeyFromKnownHosts, serverKeyFromOption } from './server-key.ts';
import type { SshHost } from './ssh-host.ts';
import type { World } from './world.ts';

// Fixed by sshd(8): an alias stands in known_hosts as a name at this port does, without a number.
const SSH_PORT = 22;

/** -i, else the profile's, else knock's own, else those of ssh's configuration, else ssh's usual one. May ask for a passphrase. */
export async function findIdentity(
  options: KnockOptions,
  profile: Readonly<Profile>,
  ssh: SshHost,
  paths: ClientPaths,
  world: World,
): Promise<Identity> {
  const candidates = [
    { path: paths.ownIdentityFile, optional: false },
    ...ssh.identityFiles.map((path) => ({ path: path.replace(/\.pub$/, ''), optional: true })),
    { path: paths.sshIdentityFile, optional: false },
  ];
  const named = options.identity ?? profile.identity;
  return await loadIdentity(named === undefined ? undefined : expandHome(named, world.home), candidates, world);
}

/** --server-key, else the profile's, else what ssh has seen. */
export function findServerKey(host: string, options: KnockOptions, profile: Readonly<Profile>, known: KnownAs): ServerKey {
  if (options.serverKey !== undefined) return serverKeyFromOption(options.serverKey);
  if (profile.serverKey !== undefined) return { publicKey: profile.serverKey, origin: 'profile' };
  return serverKeyFromKnownHosts(host, known);
}

/** ssh's own port first; a service on another port may be an sshd too. */
export function knownAs(ssh: SshHost, requests: KnockOptions['requests']): KnownAs {
  const { name, alias } = ssh.knownAs;
  return { name, ports: alias ? [SSH_PORT] : [ssh.port, SSH_PORT, ...requests.flatMap(tcpPort)], files: ssh.knownHostsFiles };
}

function tcpPort(request: KnockOptions['requests'][number]): readonly number[] {
  return request.kind === 'ports' && request.ports.protocol === 'tcp' ? [request.ports.first] : [];
}

/** The profile's pre-shared key, if it names one. */
export function findPsk(profile: Readonly<Profile>, world: World): Uint8Array | undefined {
  return profile.pskFile === undefined ? undefined : readPsk(expandHome(profile.pskFile, world.home), world);
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
