// Which firewall the tests of this process meet: nftables, unless a test file names another one before it imports the suites. Other programs are shown
// to this process and its children by mounts in a mount namespace of their own: the host's stay as they are. How to read each backend from outside.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';

const CLONE_NEWNS = 0x20000;

export type Backend = 'nftables' | 'iptables-nft' | 'iptables-legacy' | 'iptables-without-ipset';

let backend: Backend = 'nftables';

/** What is bound over what, for each backend. The links of update-alternatives lead to one of the two multi-call programs. */
const DISGUISE: Readonly<Record<Backend, readonly (readonly [shown: string, over: string])[]>> = {
  nftables: [],
  'iptables-nft': [],
  'iptables-legacy': [['/usr/sbin/xtables-legacy-multi', '/usr/sbin/xtables-nft-multi']],
  'iptables-without-ipset': [['/dev/null', '/usr/sbin/ipset']],
};

export function useBackend(name: Backend): void {
  backend = name;
  if (DISGUISE[name].length === 0) return;
  const koffi = createRequire(import.meta.url)('koffi') as {
    readonly load: (path: null) => { readonly func: (name: string, result: string, args: readonly string[]) => (flags: number) => number };
  };
  assert.equal(koffi.load(null).func('unshare', 'int', ['int'])(CLONE_NEWNS), 0, 'unshare');
  execFileSync('mount', ['--make-rprivate', '/']);
  for (const [shown, over] of DISGUISE[name]) execFileSync('mount', ['--bind', shown, over]);
}

export function backendName(): Backend {
  return backend;
}

export function isNftables(): boolean {
  return backend === 'nftables';
}

/** What a backend cannot do, it refuses: those tests are left out for it, and iptables-limits.test.ts has the refusals. */
export function hasOneShots(): boolean {
  return isNftables();
}

/** Replays and junk die in the kernel; without a sieve they die in the daemon. */
export function hasSieve(): boolean {
  return isNftables();
}

/** A set can be full; rules cannot. */
export function hasSets(): boolean {
  return backend !== 'iptables-without-ipset';
}

/** For `postern.yaml`. */
export function firewallSetting(): Readonly<Record<string, unknown>> {
  return isNftables() ? {} : { firewall: 'iptables' };
}

export type Exec = (
  argv: readonly string[],
  options?: { readonly mayFail?: boolean },
) => Promise<{ readonly code: number; readonly stdout: string }>;

/** A counter of the gate, as nft or iptables-save show it. */
export async function readCounter(exec: Exec, name: string): Promise<number> {
  if (isNftables()) {
    const { stdout } = await exec(['nft', 'list', 'counter', 'inet', 'postern', name]);
    return Number(/packets (\d+)/.exec(stdout)?.[1] ?? Number.NaN);
  }
  const lines = await savedLines(exec);
  return lines
    .filter((line) => line.includes(`--comment "postern ${name}"`))
    .reduce((sum, line) => sum + Number(/^\[(\d+):/.exec(line)?.[1] ?? Number.NaN), 0);
}

/** The grants that stand in the kernel: elements of sets, or rules. */
export async function countGrants(exec: Exec): Promise<number> {
  if (isNftables()) return countElements(exec);
  const rules = (await savedLines(exec)).filter((line) =>
    /-A POSTERN-OPEN .*--comment "postern (grant|ending|bound|bound-ending) until/.test(line),
  );
  const saved = hasSets() ? (await exec(['ipset', 'save'])).stdout : '';
  return rules.length + [...saved.matchAll(/^add postern-(?:grant|ending)[46] /gm)].length;
}

/** Whether the gate stands, whoever put it up. */
export async function stands(exec: Exec): Promise<boolean> {
  if (isNftables()) return (await exec(['nft', 'list', 'table', 'inet', 'postern'], { mayFail: true })).code === 0;
  const jumps = (await savedLines(exec)).filter((line) => line.endsWith('-A PREROUTING -j POSTERN'));
  return jumps.length === 2;
}

/** What an administrator or another firewall would do to all rules. */
export function flushCommands(): readonly (readonly string[])[] {
  if (backend !== 'iptables-legacy') return [['nft', 'flush', 'ruleset']];
  return ['iptables', 'ip6tables'].map((program) => [program, '--table', 'mangle', '--flush']);
}

async function savedLines(exec: Exec): Promise<readonly string[]> {
  const saved = await Promise.all(['iptables-save', 'ip6tables-save'].map((program) => exec([program, '--counters', '--table', 'mangle'])));
  return saved.flatMap(({ stdout }) => stdout.split('\n'));
}

async function countElements(exec: Exec): Promise<number> {
  let count = 0;
  for (const base of ['grants', 'ending', 'bound', 'boundending', 'once', 'onceending']) {
    for (const version of [4, 6]) {
      const listed = await exec(['nft', '-j', 'list', 'set', 'inet', 'postern', `${base}${version}`], { mayFail: true });
      if (listed.code !== 0) continue;
      const { nftables } = JSON.parse(listed.stdout) as { nftables: { set?: { elem?: unknown[] } }[] };
      count += nftables.flatMap((entry) => entry.set?.elem ?? []).length;
    }
  }
  return count;
}
