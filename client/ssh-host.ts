// What ssh's configuration says of a host: which name and port it really has, and where its keys are. Opens ssh's files; runs nothing.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import type { Family } from '../protocol/address.ts';
import { matchesPattern } from '../protocol/known-hosts.ts';
import { CommandError, usageError } from './command-error.ts';
import { expandHome } from './paths.ts';
import { quote } from './quote.ts';
import { readSshConfig, type SshConfigFile } from './ssh-config.ts';
import type { World } from './world.ts';

export type SshHost = {
  readonly host: string;
  /** Where sshd listens. */
  readonly port: number;
  readonly family: Family | undefined;
  /** Private keys that the configuration names for this host. */
  readonly identityFiles: readonly string[];
  /** Under which name known_hosts has it; an alias stands there without a port. */
  readonly knownAs: { readonly name: string; readonly alias: boolean };
  /** The files that know hosts, in order; undefined when the configuration does not say. */
  readonly knownHostsFiles: readonly string[];
  /** The host that ssh goes through (ProxyJump), if any: then this machine may not reach it itself. */
  readonly jump: string | undefined;
  readonly remarks: readonly string[];
};

// Fixed by OpenSSH.
const SSH_PORT = 22;

/** `hostName` is one that stands before the configuration's, as a profile's. */
export function findSshHost(host: string, hostName: string | undefined, world: World): SshHost {
  const files = configFiles(world);
  const user = () => localUser(world);
  const { settings, problems, remarks } = readSshConfig(files.found, {
    host,
    hostName,
    localUser: user,
    expandHostName: (text) => withTokens(text, { h: () => host }, {}),
    include: (pattern, from) => included(pattern, from, from.ofUser ? files.userFolder : files.systemFolder, world),
  });
  if (problems.length > 0) throw usageError(problems);
  const name = settings.hostName === undefined ? host : tokensOrRefusal('HostName', settings.hostName, { h: () => host });
  const port = settings.port ?? SSH_PORT;
  const tokens: Tokens = {
    h: () => name,
    n: () => host,
    p: () => String(port),
    d: () => world.home,
    u: user,
    r: () => settings.user ?? user(),
    k: () => settings.hostKeyAlias ?? host,
  };
  const path = (keyword: string) => (text: string) =>
    resolve(world.home, expandHome(tokensOrRefusal(keyword, text, tokens, world.env), world.home));
  const folder = join(world.home, '.ssh');
  const own = settings.userKnownHosts ?? [join(folder, 'known_hosts'), join(folder, 'known_hosts2')];
  const shared = settings.globalKnownHosts ?? [join(files.systemFolder, 'ssh_known_hosts'), join(files.systemFolder, 'ssh_known_hosts2')];
  return {
    host: name.toLowerCase(),
    port,
    family: settings.family === 'any' ? undefined : settings.family,
    identityFiles: settings.identityFiles.filter(isFile).map(path('IdentityFile')),
    knownAs: { name: settings.hostKeyAlias ?? name, alias: settings.hostKeyAlias !== undefined },
    knownHostsFiles: [...own.filter(isFile).map(path('UserKnownHostsFile')), ...shared.filter(isFile).map(path('GlobalKnownHostsFile'))],
    jump: settings.proxyJump === undefined || settings.proxyJump.toLowerCase() === 'none' ? undefined : settings.proxyJump,
    remarks,
  };
}

type Files = { readonly found: readonly SshConfigFile[]; readonly userFolder: string; readonly systemFolder: string };

function configFiles(world: World): Files {
  const userFolder = join(world.home, '.ssh');
  const systemFolder = world.platform === 'win32' ? join(world.env['PROGRAMDATA'] ?? 'C:\\ProgramData', 'ssh') : '/etc/ssh';
  const found = [readConfig(join(userFolder, 'config'), true, world), readConfig(join(systemFolder, 'ssh_config'), false, world)];
  return { found: found.filter((file) => file !== undefined), userFolder, systemFolder };
}

/** Undefined when it cannot be read, as for ssh. What others could have written is refused, as by ssh: it says which keys are believed. */
function readConfig(path: string, ofUser: boolean, world: World): SshConfigFile | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  if (ofUser && world.platform !== 'win32') {
    const { uid, mode } = statSync(path);
    if ((uid !== 0 && uid !== process.getuid?.()) || (mode & 0o022) !== 0)
      throw new CommandError(
        2,
        'ssh-config-refused',
        `others can write ${quote(path)}, so neither ssh nor knock reads it: make it yours and run chmod go-w on it`,
      );
  }
  return { path, text, ofUser };
}

/** ssh_config(5), Include: relative to ~/.ssh or /etc/ssh, with wildcards, in the order of the names. */
function included(pattern: string, from: SshConfigFile, folder: string, world: World): readonly SshConfigFile[] {
  const full = expandHome(pattern, world.home);
  return wildcardPaths(isAbsolute(full) ? full : join(folder, full))
    .map((path) => readConfig(path, from.ofUser, world))
    .filter((file) => file !== undefined);
}

function wildcardPaths(pattern: string): readonly string[] {
  if (!/[*?]/.test(pattern)) return [pattern];
  const parent = dirname(pattern);
  const last = pattern.slice(parent.length).replace(/^[/\\]/, '');
  return wildcardPaths(parent).flatMap((folder) => {
    try {
      const names = readdirSync(folder).filter((name) => matchesPattern(last, name) && (last.startsWith('.') || !name.startsWith('.')));
      return names.sort().map((name) => join(folder, name));
    } catch {
      return [];
    }
  });
}

function isFile(path: string): boolean {
  return path.toLowerCase() !== 'none' && path !== '/dev/null';
}

/** Lazily: asking for the user's name may mean a question to a directory server. */
type Tokens = Readonly<Record<string, () => string>>;

function tokensOrRefusal(keyword: string, text: string, tokens: Tokens, env: World['env'] = {}): string {
  try {
    return withTokens(text, tokens, env);
  } catch (cause) {
    throw usageError([`${keyword} ${quote(text)} of the ssh configuration: ${cause instanceof Error ? cause.message : ''}`]);
  }
}

/** ssh_config(5), TOKENS and ENVIRONMENT VARIABLES. Throws for what it does not know: half a path would be another file. */
function withTokens(text: string, tokens: Tokens, env: World['env']): string {
  return text.replace(/%(.?)|\$\{([^}]*)\}/gs, (whole, token: string | undefined, variable: string | undefined) => {
    if (token === '%') return '%';
    const value = token === undefined ? env[variable ?? ''] : Object.hasOwn(tokens, token) ? tokens[token]?.() : undefined;
    if (value === undefined) throw new Error(`${whole} has no meaning here`);
    return value;
  });
}

function localUser(world: World): string {
  try {
    return userInfo().username;
  } catch {
    return world.env['USER'] ?? '';
  }
}
