// Answers the shells' completion of `knock`: the definitions know the words, this machine's files know hosts, profiles and services. Loaded
// for completion only. Reads as little as it can, and says nothing about what it cannot read.
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { formatPortRange } from '../protocol/ports.ts';
import type { Before, Candidate, Sources } from '../shell/complete.ts';
import { answerShell, completionScript, type Shell } from '../shell/completion-script.ts';
import { clientPaths } from './paths.ts';
import { parseProfiles } from './profile.ts';
import type { Profile } from './profile-fields.ts';
import { knockProgram } from './program.ts';
import { serviceNames } from './services.ts';
import type { World } from './world.ts';

/** Prints the script for a shell. */
export function printCompletion(shell: Shell, world: Pick<World, 'out'>): number {
  world.out(completionScript(shell, 'knock'));
  return 0;
}

/** Prints what may stand next; `args` come from the script. Never fails: no answer is an empty one. */
export async function completeKnock(args: readonly string[], world: World): Promise<number> {
  const found = await answerShell(knockProgram(), args, sourcesOf(world));
  for (const line of found) world.out(`${line}\n`);
  return 0;
}

function sourcesOf(world: World): Sources {
  const hosts = async (before: Before) => [...profileWords(world, before), ...knownHosts(world)];
  return {
    HOST: hosts,
    NAME: async (before) => profileWords(world, before),
    SERVICE: async (before) => services(world, before),
    PORT: async () => [],
    WHICH: async () => ['auto', 'none'].map((word) => ({ word, about: '' })),
    'INTERFACE|ADDRESS': async () => Object.keys(networkInterfaces()).map((word) => ({ word, about: 'interface' })),
  };
}

function profilesOf(world: World, before: Before): ReadonlyMap<string, Readonly<Profile>> {
  const file = before.options['config'] ?? clientPaths(world).configFile;
  return parseProfiles(textOf(file), file).profiles;
}

function profileWords(world: World, before: Before): readonly Candidate[] {
  return [...profilesOf(world, before)].map(([word, { host }]) => ({ word, about: host === undefined ? 'profile' : `profile of ${host}` }));
}

/** Names of `known_hosts` that are not hashed, and those of ~/.ssh/config that are no patterns. */
function knownHosts(world: World): readonly Candidate[] {
  const fromKeys = ['known_hosts', 'known_hosts2'].flatMap((file) =>
    textOf(join(world.home, '.ssh', file))
      .split('\n')
      .filter((line) => /^[^#@|\s]/.test(line))
      .flatMap((line) => (line.split(/\s/, 1)[0] ?? '').split(','))
      .map((name) => name.replace(/^\[([^\]]+)\](:\d+)?$/, '$1'))
      .map((word) => ({ word, about: 'known host' })),
  );
  const fromConfig = textOf(join(world.home, '.ssh', 'config'))
    .split('\n')
    .map((line) => /^\s*Host\s*[\s=]\s*(.+)$/i.exec(line)?.[1] ?? '')
    .flatMap((names) => names.split(/\s+/))
    .filter((name) => name !== '' && !/[*?!"]/.test(name))
    .map((word) => ({ word, about: 'host of ssh' }));
  return [...fromConfig, ...fromKeys.filter(({ word }) => !/[*?!]/.test(word))];
}

function services(world: World, before: Before): readonly Candidate[] {
  const [host = ''] = before.operands;
  const { services: asked = [], offers } = profilesOf(world, before).get(host) ?? {};
  const own = asked.map((word) => ({ word, about: `of the profile ${host}` }));
  // The server has said what it offers: other names would be guesses.
  if (offers !== undefined && offers.length > 0)
    return [...own, ...offers.map(({ name, ports }) => ({ word: name, about: ports.map(formatPortRange).join(' ') }))];
  return [...own, ...serviceNames().map(({ name, port }) => ({ word: name, about: `tcp/${port}` }))];
}

function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
