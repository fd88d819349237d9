// Which firewall the tests of this process meet: nftables, unless a test file names another one before it imports the suites. Other programs are shown
// to this process and its children by mounts in a mount namespace of their own: the host's stay as they are. How to read each backend from outside.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { type Ability, type Backend, LACKS } from './backend-table.ts';

const CLONE_NEWNS = 0x20000;

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
  showInstead(DISGUISE[name]);
}

/** As where the kernel lacks xt_time: rules do not end by the wall clock. */
export function hideTimeMatch(): void {
  const [libraries] = ['/usr/lib', '/lib'].flatMap((folder) =>
    readdirSync(folder)
      .map((name) => `${folder}/${name}/xtables/libxt_time.so`)
      .filter((path) => existsSync(path)),
  );
  assert.ok(libraries !== undefined, 'iptables has no libxt_time.so');
  showInstead([['/dev/null', libraries]]);
}

let hasOwnMounts = false;

/** For this process and its children. */
export function showInstead(pairs: readonly (readonly [shown: string, over: string])[]): void {
  if (pairs.length === 0) return;
  if (!hasOwnMounts) {
    const koffi = createRequire(import.meta.url)('koffi') as {
      readonly load: (path: null) => {
        readonly func: (name: string, result: string, args: readonly string[]) => (flags: number) => number;
      };
    };
    assert.equal(koffi.load(null).func('unshare', 'int', ['int'])(CLONE_NEWNS), 0, 'unshare');
    execFileSync('mount', ['--make-rprivate', '/']);
    hasOwnMounts = true;
  }
  for (const [shown, over] of pairs) execFileSync('mount', ['--bind', shown, over]);
}

export function backendName(): Backend {
  return backend;
}

export function isNftables(): boolean {
  return backend === 'nftables';
}

/** False, or why this backend cannot do it: a reason to leave a test out. */
export function lacks(ability: Ability): string | false {
  const { why, where }: { readonly why: string; readonly where: readonly Backend[] } = LACKS[ability];
  return where.includes(backend) && why;
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
  const saved = lacks('sets') === false ? (await exec(['ipset', 'save'])).stdout : '';
  return rules.length + [...saved.matchAll(/^add postern-(?:grant|ending)[46] /gm)].length;
}

/** How many seconds are left to each grant of one family, as the kernel has it. */
export async function readRemaining(exec: Exec, version: 4 | 6): Promise<readonly number[]> {
  if (isNftables()) {
    const { stdout } = await exec(['nft', '-j', 'list', 'set', 'inet', 'postern', `grants${version}`]);
    const { nftables } = JSON.parse(stdout) as { nftables: { set?: { elem?: { elem: { expires: number } }[] } }[] };
    return nftables.flatMap((entry) => entry.set?.elem ?? []).map(({ elem }) => elem.expires);
  }
  if (lacks('sets') === false) {
    const { stdout } = await exec(['ipset', 'save', `postern-grant${version}`]);
    return [...stdout.matchAll(/^add .* timeout (\d+)/gm)].map((match) => Number(match[1]));
  }
  const { stdout } = await exec([version === 4 ? 'iptables-save' : 'ip6tables-save', '--table', 'mangle']);
  const uptimeS = Number(process.hrtime.bigint()) / 1e9;
  return [...stdout.matchAll(/-A POSTERN-OPEN .*"postern grant until (\d+)"/g)].map((match) => Number(match[1]) / 1000 - uptimeS);
}

/** The longest that the kernel counts at once; the daemon renews what is to stand for longer. */
export function longestSeconds(): number {
  return !isNftables() && lacks('sets') === false ? 2_147_483 : Number.POSITIVE_INFINITY;
}

/** Who may come where by a plain grant, as the firewall's own tools list it: `10.77.1.2 tcp 8022`. */
export async function openPorts(exec: Exec): Promise<readonly string[]> {
  if (!isNftables()) {
    const { stdout } = await exec(['ipset', 'save']);
    return [...stdout.matchAll(/^add postern-grant[46] (\S+),(tcp|udp):(\d+) /gm)].map(([, ...parts]) => parts.join(' '));
  }
  const listed = await Promise.all(
    [4, 6].map((version) => exec(['nft', 'list', 'set', 'inet', 'postern', `grants${version}`], { mayFail: true })),
  );
  return listed.flatMap(({ stdout }) =>
    [...stdout.matchAll(/(?:elements = \{|,\n)\s*(\S+) \. (tcp|udp) \. (\S+)/g)].map(([, ...parts]) => parts.join(' ')),
  );
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
