// A Debian of its own, booted by systemd-nspawn with its own systemd, network and boot id, from a folder that debootstrap made once.
// Knows nothing of Postern; see postern-machine.ts.
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Running, type RunOptions, type RunResult, run, runNow } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';

// Debootstrap takes 40 to 60 s: kept for the next run. The name changes with what is in it.
const CACHE = '/var/cache/postern-test';
const BASE = join(CACHE, 'bookworm-1');
const PACKAGES = ['systemd', 'systemd-sysv', 'nftables', 'iproute2', 'procps', 'libstdc++6', 'util-linux'];
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Why no machine can be booted here; undefined: one can. Tries it, with nothing of ours in it. */
export async function whyNoMachine(): Promise<string | undefined> {
  if (process.geteuid?.() !== 0) return 'needs root';
  for (const command of ['systemd-nspawn', 'debootstrap', 'nsenter']) {
    if (runNow(['sh', '-c', `PATH=$PATH:${PATH} command -v ${command}`]) === '') return `${command} is not installed`;
  }
  let machine: Machine | undefined;
  try {
    machine = await Machine.create();
    await machine.boot();
    return undefined;
  } catch (error) {
    const lines = (error instanceof Error ? error.message : String(error)).trim().split('\n');
    return `no Debian can be made or booted here: ${lines[0]} … ${lines.at(-1)}`;
  } finally {
    await machine?.destroy();
  }
}

/** Makes the base folder if it is not there yet. */
async function prepareBase(): Promise<void> {
  if (existsSync(BASE)) return;
  mkdirSync(CACHE, { recursive: true });
  const made = mkdtempSync(join(CACHE, 'making-'));
  const argv = ['debootstrap', '--variant=minbase', `--include=${PACKAGES.join(',')}`, 'bookworm', made];
  try {
    await run(argv, { timeoutMs: 600_000, env: { PATH } });
    renameSync(made, BASE);
  } catch (error) {
    rmSync(made, { recursive: true, force: true });
    // Another run may have been faster.
    if (!existsSync(BASE)) throw error;
  }
}

export class Machine {
  /** Its root folder, as seen from here. */
  readonly root: string;
  readonly #folder: string;
  readonly #isOverlay: boolean;
  #nspawn: Running | undefined;
  #pid = 0;

  private constructor(folder: string, isOverlay: boolean) {
    this.#folder = folder;
    this.root = join(folder, 'root');
    this.#isOverlay = isOverlay;
  }

  /** A fresh machine, not yet booted. Its folder lies beside the base, outside of a /tmp that may be small. */
  static async create(): Promise<Machine> {
    await prepareBase();
    const folder = mkdtempSync(join(CACHE, 'machine-'));
    for (const name of ['root', 'upper', 'work']) mkdirSync(join(folder, name));
    const options = `lowerdir=${BASE},upperdir=${join(folder, 'upper')},workdir=${join(folder, 'work')}`;
    const mounted = await run(['mount', '-t', 'overlay', 'overlay', '-o', options, join(folder, 'root')], { mayFail: true });
    if (mounted.code !== 0) cpSync(BASE, join(folder, 'root'), { recursive: true, verbatimSymlinks: true });
    return new Machine(folder, mounted.code === 0);
  }

  async boot(): Promise<void> {
    const argv = ['systemd-nspawn', '-D', this.root, '--register=no', '--keep-unit', '--boot', '--private-network'];
    // /dev/kmsg and the like are of no use here; capabilities are, as on real hardware.
    this.#nspawn = new Running([...argv, '--capability=all', '--console=read-only'], { env: { SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: '1' } });
    const nspawn = this.#nspawn.child.pid;
    this.#pid = await waitFor(() => initOf(nspawn), { what: 'the first process of the machine' });
    await waitFor(() => this.isUp(), { deadlineMs: 60_000, intervalMs: 100, what: 'the end of the boot' }).catch((error: Error) => {
      throw new Error(`${error.message}\n${this.#nspawn?.stdout.slice(-4000)}`);
    });
  }

  async isUp(): Promise<boolean> {
    const { stdout } = await this.exec(['systemctl', 'is-system-running'], { mayFail: true });
    return /^(running|degraded)/.test(stdout);
  }

  /** Runs a command in all of the machine's namespaces. */
  exec(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run([...this.entry(), ...argv], options);
  }

  /** The words before a command that make it run in the machine. */
  entry(): string[] {
    return ['nsenter', '-t', String(this.#pid), '-a', '--', 'env', '-i', `PATH=${PATH}`, 'LC_ALL=C.UTF-8', 'HOME=/root'];
  }

  async shutDown(): Promise<void> {
    await this.exec(['systemctl', 'poweroff'], { mayFail: true });
    await this.#end();
  }

  /** Like pulling the plug: nothing in the machine gets to run again. */
  async cutPower(): Promise<void> {
    try {
      process.kill(this.#pid, 'SIGKILL');
    } finally {
      await this.#end();
    }
  }

  async destroy(): Promise<void> {
    if (this.#nspawn !== undefined) await this.cutPower().catch(() => undefined);
    if (this.#isOverlay) await run(['umount', '-l', this.root], { mayFail: true });
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #end(): Promise<void> {
    const nspawn = this.#nspawn;
    this.#nspawn = undefined;
    if (nspawn === undefined) return;
    const timer = setTimeout(() => nspawn.kill('SIGKILL'), 30_000);
    await nspawn.exited;
    clearTimeout(timer);
  }
}

/** The machine's init: nspawn's child that is the first process of its own pid namespace (an earlier child only prepares it). */
function initOf(nspawn: number | undefined): number | undefined {
  const children = readFileSync(`/proc/${nspawn}/task/${nspawn}/children`, 'utf8')
    .split(' ')
    .filter((pid) => pid !== '');
  return children.map(Number).find((pid) => /^NSpid:\t\d+\t1$/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')));
}
