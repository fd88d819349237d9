// `posternd init`: makes what a first start needs and is not there yet. It never overwrites, and opens or closes no port.

import { randomBytes } from 'node:crypto';
import { lchown, readdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname, resolve } from 'node:path';
import { type SecretKey, secretFromSeed } from '../../protocol/identity.ts';
import { fingerprint, formatPrivateKey, formatPublicLine, parsePrivateKey } from '../../protocol/openssh.ts';
import { CommandError } from '../command-error.ts';
import type { Config } from '../config/config.ts';
import { interpretConfig, loadConfig } from '../config/load.ts';
import { systemServiceNames } from '../config/service-names.ts';
import { readTrustedFile } from '../config/trusted-file.ts';
import { readYaml } from '../config/yaml-source.ts';
import { createLedger } from '../ledger/open.ts';
import { formatProblem } from '../problem.ts';
import { safeText } from '../safe-text.ts';
import { configText, exampleRuleText } from './init-text.ts';
import { listeningSockets } from './listening.ts';
import { makeFile, makeFolder, type Owner } from './new-file.ts';
import { type CommonOptions, DEFAULT_CONFIG, type Output } from './options.ts';

const SSH_HOST_KEY = '/etc/ssh/ssh_host_ed25519_key';
const KNOCK_PORT = 62201;
const SYSTEM_PLACES = { state: '/var/lib/postern', control: '/run/postern/control.sock', audit: '/var/log/postern/audit.jsonl' } as const;
const OWN_PLACES = { state: 'state', control: 'run/control.sock', audit: 'log/audit.jsonl' } as const;

export type InitOptions = CommonOptions & {
  readonly useSshHostKey: boolean;
  /** Elsewhere in tests. */
  readonly sshHostKey?: string;
};

type Made = { readonly path: string; readonly what: string; readonly made: boolean };

/** Makes the folder of the configuration and all that the configuration names: key, rules, state with its ledger. */
export async function initCommand(options: InitOptions, output: Output): Promise<void> {
  if (process.geteuid?.() !== 0)
    throw new CommandError(3, `init makes ${safeText(dirname(options.config))} and a private key: run it as root`);
  const done: Made[] = [];
  const note = (path: string, what: string, made: boolean): void => {
    done.push({ path, what, made });
  };
  try {
    const daemon = await daemonOwner();
    const reader: Owner = { uid: 0, gid: daemon.gid };
    note(dirname(options.config), 'folder', await makeFolder(dirname(options.config), 0o750, reader));
    const text = configText(await listeningSockets(), KNOCK_PORT, options.config === DEFAULT_CONFIG ? SYSTEM_PLACES : OWN_PLACES);
    // Before the key: which key is meant stands in the configuration, if there is one already.
    const config = (await existingConfig(options.config)) ?? (await configOf(text, options.config));
    const keyFile = config.serverKeys[0] ?? resolve(dirname(options.config), 'host_ed25519');
    const secret = await serverKey(keyFile, options, daemon, note);
    note(config.rules, 'folder of rules', await makeFolder(config.rules, 0o750, reader));
    if (await isEmpty(config.rules)) {
      const example = resolve(config.rules, 'example.yaml');
      note(example, 'example, all commented out', await makeFile(example, exampleRuleText(), 0o640, reader));
    }
    note(config.state, 'state', await makeFolder(config.state, 0o700, daemon));
    await ledger(config.state, daemon, note);
    // Last: with it, a start works.
    note(options.config, 'configuration', await makeFile(options.config, text, 0o640, reader));
    report(options, output, config, secret, done);
  } catch (error) {
    throw error instanceof CommandError ? error : asCommandError(error);
  }
}

async function existingConfig(file: string): Promise<Config | undefined> {
  const there = await readFile(file).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOENT',
  );
  if (!there) return undefined;
  const { config, problems } = await loadConfig(file);
  if (config !== undefined) return config;
  const lines = problems.filter(({ severity }) => severity === 'error').map(formatProblem);
  throw new CommandError(2, ['the configuration that stands already cannot be used, so nothing was made:', ...lines].join('\n'));
}

async function configOf(text: string, file: string): Promise<Config> {
  const { draft } = interpretConfig(readYaml(file, Buffer.from(text)), file, await systemServiceNames());
  if (draft === undefined) throw new TypeError('init: our own configuration cannot be read');
  return draft;
}

type Note = (path: string, what: string, made: boolean) => void;

async function serverKey(path: string, options: InitOptions, owner: Owner, note: Note): Promise<SecretKey> {
  const secret = (await standingKey(path, note)) ?? (await newKey(path, options, owner, note));
  // Beside it in any case: an init that was killed may have left it out.
  await makeFile(`${path}.pub`, `${formatPublicLine(secret.publicKey, keyComment())}\n`, 0o644, { uid: 0, gid: 0 });
  return secret;
}

async function standingKey(path: string, note: Note): Promise<SecretKey | undefined> {
  const standing = await readTrustedFile(path, 'secret', 64 * 1024);
  if (!standing.ok) {
    if (standing.code === 'ENOENT') return undefined;
    throw new CommandError(2, `${standing.why}: ${standing.cure}`);
  }
  note(path, 'server key', false);
  return secretOf(standing.bytes, path);
}

async function newKey(path: string, options: InitOptions, owner: Owner, note: Note): Promise<SecretKey> {
  const secret = options.useSshHostKey
    ? await sshHostKey(options.sshHostKey ?? SSH_HOST_KEY)
    : secretFromSeed(new Uint8Array(randomBytes(32)));
  await makeFolder(dirname(path), 0o750, { uid: 0, gid: owner.gid });
  note(path, 'server key', await makeFile(path, formatPrivateKey(secret, keyComment()), 0o600, owner));
  return secret;
}

function keyComment(): string {
  return `postern@${hostname()}`;
}

async function sshHostKey(path: string): Promise<SecretKey> {
  const read = await readTrustedFile(path, 'secret', 64 * 1024);
  if (!read.ok) throw new CommandError(1, `--use-ssh-host-key: ${read.why}: ${read.cure}`);
  return secretOf(read.bytes, path);
}

function secretOf(bytes: Buffer, path: string): SecretKey {
  const key = parsePrivateKey(bytes.toString('latin1'));
  bytes.fill(0);
  if (key.kind === 'key') return key.secret;
  const why = key.kind === 'refused' ? key.why : 'it has a passphrase, and a daemon cannot type one';
  throw new CommandError(2, `${safeText(path)} cannot be the server key: ${why}`);
}

async function ledger(state: string, owner: Owner, note: Note): Promise<void> {
  const path = resolve(state, 'ledger');
  const made = await createLedger(state).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return false;
      throw error;
    },
  );
  // Never what a link leads to: the folder is the daemon's, and may have been for long.
  if (made) await lchown(path, owner.uid, owner.gid);
  note(path, 'replay ledger', made);
}

async function isEmpty(folder: string): Promise<boolean> {
  return !(await readdir(folder)).some((name) => name.endsWith('.yaml'));
}

/** The daemon's own user, where systemd-sysusers has made it; root otherwise. */
async function daemonOwner(): Promise<Owner> {
  const passwd = await readFile('/etc/passwd', 'latin1').catch(() => '');
  const match = /^postern:[^:]*:(\d+):(\d+):/m.exec(passwd);
  return match === null ? { uid: 0, gid: 0 } : { uid: Number(match[1]), gid: Number(match[2]) };
}

function report(options: InitOptions, output: Output, config: Config, secret: SecretKey, done: readonly Made[]): void {
  const line = formatPublicLine(secret.publicKey, keyComment());
  if (options.json) {
    const files = done.map(({ path, what, made }) => ({ path, what, made }));
    output.out(JSON.stringify({ files, server_key: line, fingerprint: fingerprint(secret.publicKey), port: config.port }));
  } else {
    for (const { path, what, made } of done)
      output.out(`${made ? 'made' : 'kept'}  ${safeText(path, 300)} (${what}${made ? '' : ', stands already'})`);
    const standard = options.config === DEFAULT_CONFIG;
    const place = standard ? '' : ` -c ${safeText(options.config, 300)}`;
    // The units know the usual place only.
    const start = standard
      ? 'systemctl enable --now postern-gate posternd   (or, to look at it first: posternd run)'
      : `posternd run${place}`;
    output.out(`
This server's public key, for its clients:
  ${line}
  ${fingerprint(secret.publicKey)}

Next:
  1. ${options.config}: name the ports to close under "protect"
  2. posternd client add NAME --key "ssh-ed25519 AAAA…" --services ssh --host ${hostname()}${place}
     (the public line of the client's "knock keygen" or ~/.ssh/id_ed25519.pub; --host: how clients reach this server)
  3. posternd check${place}
  4. ${start}
  5. on the client, before you close this session: knock add INVITATION, then knock and log in
Locked out? On the console: posternd gate down${place}`);
  }
  if (!options.useSshHostKey) return;
  const took = done.some(({ what, made }) => what === 'server key' && made);
  for (const warning of took ? SSH_KEY_WARNING : ['warning: --use-ssh-host-key changed nothing: a server key stands already'])
    output.err(warning);
}

const SSH_KEY_WARNING = [
  'warning: this server key is a copy of the SSH host key: clients find it in known_hosts, but whoever gets hold of the daemon could then impersonate sshd',
  'warning: a server key belongs to exactly one replay ledger: if another host has the same SSH host key (a cloned image), both would accept the same knock once; make a new key there',
];

function asCommandError(error: unknown): unknown {
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM')
    return new CommandError(3, `no permission to make ${safeText(path ?? 'the files')}: run it as root`);
  if (code === 'EROFS' || code === 'ENOSPC' || code === 'ENOTDIR' || code === 'EEXIST') {
    return new CommandError(
      1,
      `cannot make ${safeText(path ?? 'the files')} (${code}): choose another place with -c, or make room; what was made so far is whole`,
    );
  }
  return error;
}
