// Installs this build on a machine as docs/install.md says, and puts somebody outside who knocks.
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../lab/process.ts';
import type { Machine } from './machine.ts';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
export const FOLDER = '/usr/lib/node_modules/postern';
export const INSIDE = '10.98.0.1';
export const OUTSIDE = '10.98.0.2';

type Package = {
  readonly bin?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
};

/** What `npm install -g ./postern-*.tgz` does, without a registry: the packed files, and the production modules of this build. */
export async function installPackage(machine: Machine): Promise<void> {
  copyFileSync(process.execPath, join(machine.root, 'usr/bin/node'));
  chmodSync(join(machine.root, 'usr/bin/node'), 0o755);
  const target = join(machine.root, FOLDER);
  mkdirSync(target, { recursive: true });
  const packed = mkdtempSync(join(tmpdir(), 'pt-ledger-pack-'));
  try {
    await run(['npm', 'pack', '--ignore-scripts', '--pack-destination', packed], { cwd: PROJECT, timeoutMs: 120_000 });
    await run(['sh', '-c', `tar -xzf ${packed}/*.tgz --strip-components=1 -C ${target}`]);
  } finally {
    rmSync(packed, { recursive: true, force: true });
  }
  const manifest = readPackage(target);
  copyModules(manifest, join(target, 'node_modules'), new Set());
  for (const [name, path] of Object.entries(manifest.bin ?? {})) {
    chmodSync(join(target, path), 0o755);
    symlinkSync(join(FOLDER, path), join(machine.root, 'usr/bin', name));
  }
}

/** The rest of docs/install.md up to the start. `config` and `rules` replace what init wrote. */
export async function setUp(machine: Machine, config: string, rules: (clientKey: string) => string): Promise<void> {
  await machine.exec([`${FOLDER}/systemd/install`]);
  await machine.exec(['posternd', 'init']);
  writeFileSync(join(machine.root, 'etc/postern/postern.yaml'), config);
  await machine.exec(['knock', 'keygen', '--no-passphrase']);
  const key = readFileSync(join(machine.root, 'root/.config/knock/id_ed25519.pub'), 'utf8').trim();
  writeFileSync(join(machine.root, 'etc/postern/rules.d/people.yaml'), rules(key));
}

/** A network namespace inside of the machine that is the outside world, on the other end of eth0. Gone after a reboot. */
export async function plugIn(machine: Machine): Promise<void> {
  for (const line of [
    'ip netns add outside',
    'ip link add eth0 type veth peer name eth0 netns outside',
    `ip address add ${INSIDE}/24 dev eth0`,
    'ip link set eth0 up',
    `ip -n outside address add ${OUTSIDE}/24 dev eth0`,
    'ip -n outside link set eth0 up',
    'ip -n outside link set lo up',
  ]) {
    await machine.exec(line.split(' '));
  }
}

export const FROM_OUTSIDE = ['ip', 'netns', 'exec', 'outside'] as const;

function readPackage(folder: string): Package {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Package;
}

function copyModules(manifest: Package, target: string, done: Set<string>): void {
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies })) {
    const source = join(PROJECT, 'node_modules', name);
    // Optional ones of other platforms are not there.
    if (done.has(name) || !existsSync(source)) continue;
    done.add(name);
    cpSync(source, join(target, name), { recursive: true, dereference: true });
    copyModules(readPackage(source), target, done);
  }
}
