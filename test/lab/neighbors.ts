// The other firewalls that a host may have, the real ones, each with folders of its own: the machine's own are never read or written.
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { backendName } from './backend.ts';
import type { Host } from './host.ts';
import { type Running, type RunOptions, type RunResult, runNow } from './process.ts';
import { removeScratch, scratchFolder } from './scratch.ts';
import { waitFor } from './wait.ts';

/** Why a neighbor cannot be tried here, or undefined. For `test(…, { skip })`. */
export function neighborMissing(...commands: readonly string[]): string | undefined {
  const absent = commands.filter((command) => runNow(['sh', '-c', `command -v ${command}`]) === '');
  return absent.length === 0 ? undefined : `not installed: ${absent.join(', ')} (scripts/install-needs test)`;
}

/** ufw in a mount namespace of its own for each call: /etc/ufw, its defaults and its lock are copies. */
export class Ufw {
  readonly #host: Host;
  readonly #folder = scratchFolder('ufw');

  constructor(host: Host) {
    this.#host = host;
    cpSync('/etc/ufw', join(this.#folder, 'etc'), { recursive: true });
    cpSync('/etc/default/ufw', join(this.#folder, 'default'));
    mkdirSync(join(this.#folder, 'run'));
    const binds = ['etc /etc/ufw', 'default /etc/default/ufw', 'run /run'].map((bind) => `mount --bind "$0"/${bind}`);
    writeFileSync(join(this.#folder, 'inside'), ['mount --make-rprivate /', ...binds, 'exec ufw "$@"', ''].join('\n'));
  }

  /** `ufw …`, as root would type it. */
  async ufw(...args: readonly string[]): Promise<string> {
    const script = `. ${join(this.#folder, 'inside')}`;
    return (await this.#host.exec(['unshare', '--mount', 'sh', '-e', '-c', script, this.#folder, ...args])).stdout;
  }

  close(): void {
    removeScratch(this.#folder);
  }
}

/** firewalld with a message bus and a configuration of its own. */
export class Firewalld {
  readonly #host: Host;
  readonly #folder = scratchFolder('firewalld');
  readonly #env: Readonly<Record<string, string>>;
  #daemon: Running | undefined;

  private constructor(host: Host) {
    this.#host = host;
    this.#env = { DBUS_SYSTEM_BUS_ADDRESS: `unix:path=${this.#bus}` };
    cpSync('/etc/firewalld', join(this.#folder, 'etc'), { recursive: true });
    writeFileSync(join(this.#folder, 'bus.conf'), busConfiguration(this.#bus));
  }

  static async create(host: Host): Promise<Firewalld> {
    const firewalld = new Firewalld(host);
    host.start(['dbus-daemon', `--config-file=${join(firewalld.#folder, 'bus.conf')}`, '--nofork', '--nopidfile']);
    await waitFor(() => existsSync(firewalld.#bus), { what: 'the message bus' });
    await firewalld.start();
    return firewalld;
  }

  get #bus(): string {
    return join(this.#folder, 'bus');
  }

  async start(): Promise<void> {
    const argv = ['firewalld', '--nofork', '--nopid', `--system-config=${join(this.#folder, 'etc')}`, '--log-target=console'];
    this.#daemon = this.#host.start(argv, { env: this.#env });
    await waitFor(async () => (await this.cmd(['--state'], { mayFail: true })).stdout.startsWith('running'), {
      deadlineMs: 30_000,
      intervalMs: 200,
      what: 'firewalld',
    });
  }

  /** As `systemctl stop firewalld`: it takes its rules along. */
  async stop(): Promise<void> {
    await this.#daemon?.stop(20_000);
  }

  async cmd(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.#host.exec(['firewall-cmd', ...args], { ...options, env: this.#env });
  }

  close(): void {
    removeScratch(this.#folder);
  }
}

/** The rules that dockerd makes for `-p published:inside`, in the way and the order in which it makes them, with its own iptables calls. */
export class DockerLike {
  readonly #host: Host;
  readonly #bridge: string;
  readonly #publish: { readonly published: number; readonly container: readonly string[]; readonly inside: number };

  /** `bridge`: the interface towards the container; its addresses, one for each family. */
  constructor(host: Host, bridge: string, publish: { published: number; container: readonly string[]; inside: number }) {
    this.#host = host;
    this.#bridge = bridge;
    this.#publish = publish;
  }

  /** What starting dockerd and a container does. */
  async up(): Promise<void> {
    for (const at of [0, 1] as const) await this.#restore(at, this.#rules(at));
  }

  /** What the start of dockerd does first with the chains of the one before: they are empty for a moment. */
  async restart(): Promise<void> {
    for (const at of [0, 1] as const) {
      await this.#restore(at, ['*nat', '-F DOCKER', 'COMMIT', '*filter', '-F DOCKER', '-F DOCKER-USER', 'COMMIT']);
      await this.#restore(at, this.#rules(at));
    }
  }

  async #restore(at: 0 | 1, lines: readonly string[]): Promise<void> {
    await this.#host.exec([at === 0 ? 'iptables-nft-restore' : 'ip6tables-nft-restore', '-n'], { stdin: `${lines.join('\n')}\n` });
  }

  #rules(at: 0 | 1): readonly string[] {
    const { published, inside, container } = this.#publish;
    const address = container[at] ?? '';
    const target = at === 0 ? `${address}:${inside}` : `[${address}]:${inside}`;
    const bridge = this.#bridge;
    const loopback = at === 0 ? '127.0.0.0/8' : '::1/128';
    return [
      '*nat',
      ':DOCKER - [0:0]',
      '-F PREROUTING',
      '-F OUTPUT',
      '-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER',
      `-A OUTPUT ! -d ${loopback} -m addrtype --dst-type LOCAL -j DOCKER`,
      `-A DOCKER -i ${bridge} -j RETURN`,
      `-A DOCKER ! -i ${bridge} -p tcp -m tcp --dport ${published} -j DNAT --to-destination ${target}`,
      'COMMIT',
      '*filter',
      ':FORWARD DROP [0:0]',
      ':DOCKER - [0:0]',
      ':DOCKER-USER - [0:0]',
      '-F FORWARD',
      '-A FORWARD -j DOCKER-USER',
      `-A FORWARD -o ${bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
      `-A FORWARD -o ${bridge} -j DOCKER`,
      `-A FORWARD -i ${bridge} ! -o ${bridge} -j ACCEPT`,
      `-A DOCKER -d ${address} ! -i ${bridge} -o ${bridge} -p tcp -m tcp --dport ${inside} -j ACCEPT`,
      '-A DOCKER-USER -j RETURN',
      'COMMIT',
    ];
  }
}

const TOOLS = [
  ['nft', '-s', 'list', 'ruleset'],
  ['iptables-nft-save'],
  ['ip6tables-nft-save'],
  ['iptables-legacy-save'],
  ['ip6tables-legacy-save'],
  ['ipset', 'save'],
] as const;

/** Everything that six tools print, ours too: without counts of packets, dates and what the time leaves of elements. */
export async function allRules(host: Host): Promise<string> {
  const listings: string[] = [];
  // Where iptables is shown as the old form the programs of the new one are not there, and nft lists what they would.
  const tools = TOOLS.filter(([program]) => backendName() !== 'iptables-legacy' || !program.endsWith('-nft-save'));
  for (const argv of tools) listings.push(`# ${argv.join(' ')}\n${(await host.exec(argv)).stdout}`);
  return listings
    .join('\n')
    .replaceAll(/ \[\d+:\d+\]/g, '')
    .replaceAll(/^# (?:Generated by|Completed on).*\n/gm, '');
}

/** Everybody else's rules, byte for byte: without our table, our chains and sets, and a mangle table that holds nothing else. */
export async function rulesOfOthers(host: Host, ownTable = 'postern'): Promise<string> {
  return (await allRules(host))
    .replace(new RegExp(`^table inet ${ownTable} \\{.*\\n(?:.*\\n)*?\\}\\n`, 'm'), '')
    .replaceAll(/^\tchain POSTERN\S* \{\n(?:\t\t.*\n)*\t\}\n\n?/gm, '')
    .replaceAll(/^.*\bPOSTERN\b.*\n/gm, '')
    .replaceAll(/\n\n\}/g, '\n}')
    .replaceAll(/^(?::|-A )POSTERN.*\n/gm, '')
    .replaceAll(/^(?:create|add) postern-.*\n/gm, '')
    .replaceAll(/^table ip6? mangle \{\n\tchain PREROUTING \{\n\t\ttype .*\n\t\}\n\n?\}\n/gm, '')
    .replaceAll(/^\*mangle\n(?::\w+ ACCEPT\n)+COMMIT\n/gm, '');
}

function busConfiguration(path: string): string {
  const everything = ['user', 'own', 'send_destination', 'receive_sender'].map((what) => `<allow ${what}="*"/>`).join('');
  const messages = ['method_call', 'signal', 'method_return', 'error'];
  const types = messages.map((type) => `<allow send_type="${type}"/><allow receive_type="${type}"/>`).join('');
  return `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=${path}</listen>
<policy context="default">${everything}${types}</policy></busconfig>
`;
}
