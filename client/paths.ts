// Where the client keeps and finds its files on each platform. Pure: looks at nothing but its arguments.
import { posix, win32 } from 'node:path';
import type { World } from './world.ts';

export type ClientPaths = {
  readonly configFile: string;
  readonly stateDir: string;
  /** Where keys are looked for: knock's own, then (after those that ssh's configuration names) ssh's. */
  readonly ownIdentityFile: string;
  readonly sshIdentityFile: string;
};

/** XDG folders on Linux and macOS, %APPDATA% and %LOCALAPPDATA% on Windows; ssh's own files everywhere. */
export function clientPaths(world: Pick<World, 'env' | 'platform' | 'home'>): ClientPaths {
  const windows = world.platform === 'win32';
  const { join, isAbsolute } = windows ? win32 : posix;
  // The XDG specification: a relative path in these variables is to be ignored.
  const base = (variable: string, fallback: string) => {
    const value = world.env[variable];
    return value !== undefined && isAbsolute(value) ? value : fallback;
  };
  const configDir = windows
    ? join(base('APPDATA', join(world.home, 'AppData', 'Roaming')), 'knock')
    : join(base('XDG_CONFIG_HOME', join(world.home, '.config')), 'knock');
  const stateDir = windows
    ? join(base('LOCALAPPDATA', join(world.home, 'AppData', 'Local')), 'knock', 'state')
    : join(base('XDG_STATE_HOME', join(world.home, '.local', 'state')), 'knock');
  return {
    configFile: join(configDir, 'config.yaml'),
    stateDir,
    ownIdentityFile: join(configDir, 'id_ed25519'),
    sshIdentityFile: join(world.home, '.ssh', 'id_ed25519'),
  };
}

/** `~` and `~/…` mean the home folder, as in a shell; anything else is taken as it stands. */
export function expandHome(path: string, home: string): string {
  return path === '~' ? home : /^~[/\\]/.test(path) ? `${home}${path.slice(1)}` : path;
}
