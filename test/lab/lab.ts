// A laboratory: hosts as network namespaces, joined by veth pairs, with nothing of the machine's own network in it.
//
//   createLab ── host('server') ──┐ lan(server, client, stranger): one switch, 10.77.N.k and fd00:77:N::k
//             ── host('client') ──┤ link(a, b): a cable between two hosts, the same numbering
//             ── host('nat') ─────┘ route(router): forwards; masquerade(router, link): clients behind one address
//
// It is gone when the test closes it, when the process ends in any way, or at the next laboratory's start (sweep).
import { existsSync, readdirSync } from 'node:fs';
import { Host } from './host.ts';
import { run, runNow } from './process.ts';

const PREFIX = 'pt-';
const NAMESPACES = '/run/netns';
const DEADLINE_MS = 300_000;

const live = new Set<Lab>();
let lastLab = 0;

export type LabOptions = {
  /** Appears in the namespaces' names. */
  readonly label?: string;
  /** The laboratory is torn down after this time, whatever the test does. */
  readonly deadlineMs?: number;
};

/** Why no laboratory can be made here, or undefined. For `test(…, { skip })`. */
export function labMissing(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces need Linux';
  if (process.getuid?.() !== 0) return 'network namespaces need root: sudo npm test';
  if (runNow(['ip', '-V']) === '') return 'the command ip is missing: scripts/install-needs test';
  const probe = `${PREFIX}${process.pid}-probe`;
  runNow(['ip', 'netns', 'add', probe]);
  const works = runNow(['ip', 'netns', 'exec', probe, 'echo', 'works']).includes('works');
  runNow(['ip', 'netns', 'del', probe]);
  return works ? undefined : 'this machine does not allow network namespaces (a container without CAP_SYS_ADMIN?)';
}

export async function createLab(options: LabOptions = {}): Promise<Lab> {
  if (live.size === 0) {
    sweep();
    process.on('exit', closeAllNow);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, endBySignal);
  }
  lastLab += 1;
  const lab = new Lab(`${PREFIX}${process.pid}-${options.label ?? 'lab'}${lastLab}-`, options.deadlineMs ?? DEADLINE_MS);
  live.add(lab);
  return lab;
}

/** Removes what laboratories of processes that no longer live left behind. */
export function sweep(): void {
  if (!existsSync(NAMESPACES)) return;
  for (const name of readdirSync(NAMESPACES)) {
    const owner = /^pt-(\d+)-/.exec(name)?.[1];
    if (owner !== undefined && !existsSync(`/proc/${owner}`)) removeNow(name);
  }
}

export class Lab {
  readonly hosts: Host[] = [];
  readonly #prefix: string;
  readonly #timer: NodeJS.Timeout;
  #segments = 0;

  constructor(prefix: string, deadlineMs: number) {
    this.#prefix = prefix;
    this.#timer = setTimeout(() => {
      process.stderr.write(`laboratory ${prefix}: ${deadlineMs} ms are over\n`);
      this.closeNow();
    }, deadlineMs);
    this.#timer.unref();
  }

  /** A new host without any link. */
  async host(name: string): Promise<Host> {
    const host = new Host(name, `${this.#prefix}${name}`);
    await run(['ip', 'netns', 'add', host.namespace]);
    this.hosts.push(host);
    await host.exec(['ip', 'link', 'set', 'lo', 'up']);
    // Addresses work at once and nothing is said that the test did not ask for.
    await host.sysctl({
      'net.ipv6.conf.default.accept_dad': 0,
      'net.ipv6.conf.default.accept_ra': 0,
      'net.ipv6.conf.default.router_solicitations': 0,
      'net.ipv6.conf.all.forwarding': 0,
      'net.ipv4.conf.all.rp_filter': 0,
      'net.ipv4.conf.default.rp_filter': 0,
    });
    return host;
  }

  /** A cable between two hosts. */
  async link(a: Host, b: Host): Promise<void> {
    const segment = this.#nextSegment();
    const [nameA, nameB] = [`eth${a.interfaces.length}`, `eth${b.interfaces.length}`];
    await run(['ip', 'link', 'add', nameA, 'netns', a.namespace, 'type', 'veth', 'peer', 'name', nameB, 'netns', b.namespace]);
    await plug(a, nameA, segment, 1);
    await plug(b, nameB, segment, 2);
  }

  /** All on one switch, numbered 1, 2, 3 … in the order given. Any of them can send with any source address. */
  async lan(...hosts: readonly Host[]): Promise<void> {
    const segment = this.#nextSegment();
    const fabric = await this.host(`switch${segment}`);
    await fabric.exec(['ip', 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0', 'forward_delay', '0']);
    await fabric.exec(['ip', 'link', 'set', 'br0', 'up']);
    // A switch looks into no packet; where br_netfilter is loaded, the bridge would.
    await fabric.exec(['sysctl', '-qew', 'net.bridge.bridge-nf-call-iptables=0', 'net.bridge.bridge-nf-call-ip6tables=0'], {
      mayFail: true,
    });
    for (const [at, host] of hosts.entries()) {
      const name = `eth${host.interfaces.length}`;
      const port = `port${at + 1}`;
      await run(['ip', 'link', 'add', name, 'netns', host.namespace, 'type', 'veth', 'peer', 'name', port, 'netns', fabric.namespace]);
      await fabric.exec(['ip', 'link', 'set', port, 'master', 'br0', 'up']);
      await plug(host, name, segment, at + 1);
    }
  }

  /** Makes `router` forward, and the default route of each of `hosts` on that router's link number `link`. */
  async route(router: Host, link: number, hosts: readonly Host[]): Promise<void> {
    await router.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    for (const host of hosts) {
      await host.exec(['ip', 'route', 'replace', 'default', 'via', router.ipv4(link)]);
      await host.exec(['ip', '-6', 'route', 'replace', 'default', 'via', router.ipv6(link)]);
    }
  }

  /** Everything that leaves `router` by its link number `link` has the router's own address there. */
  async masquerade(router: Host, link: number): Promise<void> {
    const out = router.interfaces[link]?.name ?? '';
    await router.nft(`table inet lab_nat { chain out { type nat hook postrouting priority srcnat; oifname "${out}" masquerade; }\n}`);
  }

  /** A second address for a host on its first link. */
  async addAddress(host: Host, address: string): Promise<void> {
    const plain = [address.includes(':') ? `${address}/64` : `${address}/24`, 'dev', host.interfaces[0]?.name ?? ''];
    await host.exec(['ip', 'address', 'add', ...plain, ...(address.includes(':') ? ['nodad'] : [])]);
  }

  /** Ends every process in it and removes it. */
  async close(): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.stopAll()));
    this.closeNow();
  }

  closeNow(): void {
    clearTimeout(this.#timer);
    for (const host of this.hosts) host.killAllNow();
    for (const host of this.hosts) removeNow(host.namespace);
    this.hosts.length = 0;
    live.delete(this);
  }

  #nextSegment(): number {
    this.#segments += 1;
    return this.#segments;
  }
}

async function plug(host: Host, name: string, segment: number, number: number): Promise<void> {
  const [ipv4, ipv6] = [`10.77.${segment}.${number}`, `fd00:77:${segment}::${number.toString(16)}`];
  const batch = [`address add ${ipv4}/24 dev ${name}`, `address add ${ipv6}/64 dev ${name} nodad`, `link set ${name} up`];
  await run(['ip', '-n', host.namespace, '-batch', '-'], { stdin: batch.join('\n') });
  const shown = JSON.parse((await run(['ip', '-n', host.namespace, '-json', 'link', 'show', name])).stdout) as { address: string }[];
  host.interfaces.push({ name, ipv4, ipv6, mac: shown[0]?.address ?? '' });
}

/** Kills what still runs inside (grandchildren that went their own way), then the namespace. */
function removeNow(namespace: string): void {
  for (const pid of runNow(['ip', 'netns', 'pids', namespace]).split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch {
      // it ended by itself meanwhile
    }
  }
  runNow(['ip', 'netns', 'del', namespace]);
}

function closeAllNow(): void {
  for (const lab of live) lab.closeNow();
}

function endBySignal(signal: NodeJS.Signals): void {
  closeAllNow();
  process.exit(signal === 'SIGINT' ? 130 : 143);
}
