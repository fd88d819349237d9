// `knock add INVITE`: stores a profile from the line that `posternd client add` printed. Overwrites no key without being told to.
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { keyId, secretFromSeed } from '../protocol/identity.ts';
import { INVITATION_PREFIX, parseInvitation } from '../protocol/invitation.ts';
import type { Invitation } from '../protocol/invitation-body.ts';
import { fingerprint, formatPrivateKey, formatPublicLine, parsePrivateKey } from '../protocol/openssh.ts';
import { formatPortRange } from '../protocol/ports.ts';
import { DEFAULT_SLOTS } from '../protocol/tags.ts';
import { CommandError, usageError } from './command-error.ts';
import { writeKeyPair } from './keygen.ts';
import { clientPaths, expandHome } from './paths.ts';
import { DEFAULT_KNOCK_PORT } from './plan.ts';
import { PROFILE_NAME } from './profile-fields.ts';
import { type ProfileFields, ProfileFile } from './profile-file.ts';
import { quote } from './quote.ts';
import { readSecretFile } from './secret-file.ts';
import type { World } from './world.ts';

export type AddOptions = {
  readonly name?: string;
  readonly replace?: boolean;
  readonly config?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
};

export async function addCommand(given: string | undefined, options: AddOptions, world: World): Promise<number> {
  const read = parseInvitation(await readLine(given, world));
  if (!read.ok) throw new CommandError(2, `invitation-${read.fault}`, read.why);
  const invitation = read.value;
  const name = options.name ?? nameFor(invitation.host);
  if (!PROFILE_NAME.test(name))
    throw usageError([`--name: not a profile name: ${quote(name)} (letters, digits, "_", "." and "-", at most 64)`]);
  const paths = clientPaths(world);
  const file = ProfileFile.open(options.config === undefined ? paths.configFile : expandHome(options.config, world.home));
  const existed = refuseOtherKey(file, name, invitation, options);
  const folder = dirname(paths.configFile);
  const identity = invitation.seed === undefined ? undefined : join(folder, `${name}_ed25519`);
  if (identity !== undefined && invitation.seed !== undefined) keepKey(identity, invitation.seed, invitation.host, world);
  const psk = invitation.needsPsk ? (file.profiles.get(name)?.pskFile ?? join(folder, `${name}.psk`)) : undefined;
  file.set(name, fieldsOf(invitation, fromHome(identity, world), fromHome(psk, world)));
  file.save();
  const says = notes(invitation, name, given, psk);
  const key = fingerprint(invitation.serverKey);
  if (options.json === true) {
    const report = {
      ok: true,
      name,
      file: file.path,
      existed,
      host: invitation.host,
      fingerprint: key,
      identity: identity ?? null,
      notes: says,
    };
    world.out(`${JSON.stringify(report)}\n`);
    return 0;
  }
  if (options.quiet === true) return 0;
  world.out(`${existed ? 'changed' : 'added'} the profile ${name}: ${invitation.host}, ${key}\n`);
  for (const offer of invitation.services) world.out(`  ${offerText(offer)}\n`);
  world.out(`now: knock ${name}\n`);
  for (const note of says) world.err(`knock: ${note}\n`);
  return 0;
}

/** The argument itself, what the file that it names holds, or (with "-" or nothing) a line from standard input. */
async function readLine(given: string | undefined, world: World): Promise<string> {
  if (given === undefined || given === '-') return await firstLine(world);
  if (given.startsWith('postern') || INVITATION_PREFIX.startsWith(given)) return given;
  try {
    return readFileSync(given, 'utf8').trim();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    if (code === 'ENOENT' || code === 'ENAMETOOLONG' || code === 'ENOTDIR')
      throw new CommandError(2, 'invitation-no-invitation', `neither an invitation (${INVITATION_PREFIX}…) nor a file: ${quote(given)}`);
    throw new CommandError(code === 'EACCES' ? 3 : 2, 'invitation-unreadable', `cannot read the invitation from ${quote(given)} (${code})`);
  }
}

async function firstLine(world: World): Promise<string> {
  if (process.stdin.isTTY === true) world.err('Paste the invitation: ');
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) if (line.trim() !== '') return line;
  throw new CommandError(2, 'invitation-missing', 'standard input holds no invitation: knock add INVITATION, or knock add - < FILE');
}

/** `web1` for web1.example.org; an address as it is. */
function nameFor(host: string): string {
  return /^[\d.]+$|:/.test(host) ? host.replaceAll(':', '-') : (host.split('.', 1)[0] ?? host);
}

/** Gives whether the profile is there already. Another key under a known name may be an attack, or a server that was made anew. */
function refuseOtherKey(file: ProfileFile, name: string, { serverKey, host }: Invitation, options: AddOptions): boolean {
  const old = file.profiles.get(name);
  if (old === undefined) return false;
  if (options.replace === true || (old.serverKey !== undefined && keyId(old.serverKey) === keyId(serverKey))) return true;
  const has =
    old.serverKey === undefined ? 'no server key' : `another server key (${fingerprint(old.serverKey)}, not ${fingerprint(serverKey)})`;
  throw new CommandError(
    1,
    'profile-exists',
    `the profile ${quote(name)} has ${has} and is not overwritten: ask whether ${quote(host)} has a new key, then give --replace; or keep both with --name NAME`,
  );
}

/** `~/…` for what is in the home folder: a configuration may be taken along. */
function fromHome(path: string | undefined, world: World): string | undefined {
  return path?.startsWith(`${world.home}/`) === true ? `~${path.slice(world.home.length)}` : path;
}

/** Only what differs from what knock does anyway. */
function fieldsOf(invitation: Invitation, identity: string | undefined, psk: string | undefined): ProfileFields {
  const { host, port, serverKey, slots, source, services } = invitation;
  const offers = services.map(({ name, ports, once, byDefault }) => [
    name ?? ports.map(formatPortRange).join(' '),
    {
      ...(name === undefined ? {} : { ports: ports.map(formatPortRange) }),
      ...(once ? { once } : {}),
      ...(byDefault ? { default: true } : {}),
    },
  ]);
  return {
    host,
    server_key: formatPublicLine(serverKey, ''),
    port: port === DEFAULT_KNOCK_PORT ? undefined : port,
    slots: slots === DEFAULT_SLOTS ? undefined : slots,
    source: source === 'auto' ? undefined : source,
    ...(identity === undefined ? {} : { identity }),
    ...(psk === undefined ? {} : { psk_file: psk }),
    offers: offers.length === 0 ? undefined : Object.fromEntries(offers),
  };
}

function offerText({ name, ports, once, byDefault }: Invitation['services'][number]): string {
  const where = ports.map(formatPortRange).join(' ');
  const marks = [...(byDefault ? ['by default'] : []), ...(once ? ['one connection for each grant'] : [])];
  return `${name === undefined ? where : `${name} (${where})`}${marks.length === 0 ? '' : `: ${marks.join(', ')}`}`;
}

/** The key that the server made. The same key twice is no mistake. */
function keepKey(file: string, seed: Uint8Array, host: string, world: World): void {
  const secret = secretFromSeed(seed);
  const there = readSecretFile(file, 'key file', world);
  if (there !== undefined) {
    const old = parsePrivateKey(there.toString('utf8'));
    if (old.kind === 'key' && keyId(old.secret.publicKey) === keyId(secret.publicKey)) return;
  }
  writeKeyPair(file, formatPrivateKey(secret, `made by ${host}`), formatPublicLine(secret.publicKey, `made by ${host}`));
}

function notes({ seed, needsPsk }: Invitation, name: string, given: string | undefined, psk: string | undefined): readonly string[] {
  return [
    ...(seed === undefined ? [] : ["this invitation held your private key: the server's administrator has seen it; destroy the line"]),
    ...(seed !== undefined && given?.startsWith(INVITATION_PREFIX) === true
      ? ['it stands in the history of your shell too: knock add - reads it from standard input']
      : []),
    ...(needsPsk
      ? [
          `the server wants a pre-shared key too, which no invitation holds: put it into ${quote(psk ?? '')} (chmod 600), then knock ${name}`,
        ]
      : []),
  ];
}
