// A posternd with its files on one laboratory host, and knocking users on others: both as a person would set them up, by the
// commands of this build and by ssh-keygen. What is in the files is the test's business.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { firewallSetting } from './backend.ts';
import type { Host } from './host.ts';
import { type Running, type RunOptions, type RunResult, run } from './process.ts';
import { removeScratch, scratchFolder } from './scratch.ts';

/** The two commands as package.json ships them. */
const { posternd: POSTERND, knock: KNOCK } = shippedCommands();

/** A `postern.yaml` or rule file: an object (YAML 1.2 reads JSON), or the text of a YAML mapping. */
export type Document = Readonly<Record<string, unknown>> | string;

export type Status = {
  readonly uptime_seconds: number;
  readonly pid: number;
  readonly kernel: { readonly knocks: number; readonly junk: number; readonly refused: number; readonly ended: number };
  readonly knocks: { readonly granted: number; readonly closed: number; readonly dropped: Readonly<Record<string, number>> };
  readonly audit: { readonly state: string; readonly waiting: number; readonly lost: number; readonly note: string } | null;
  readonly capture: { readonly name: string; readonly seen: number; readonly lost: number };
  readonly grants: readonly {
    readonly id: string;
    readonly client: string;
    readonly address: string;
    readonly remaining_seconds: number;
  }[];
};

export type StartOptions = {
  /** Words before node: `setpriv …`, say. */
  readonly before?: readonly string[];
  /** Options of node itself. */
  readonly node?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly ipc?: boolean;
  readonly deadlineMs?: number;
};

/** A server: its folder holds configuration, rules, host key, state and control socket. */
export class Installation {
  readonly host: Host;
  readonly folder: string;
  readonly configFile: string;
  readonly rulesFile: string;
  #daemon: Running | undefined;

  private constructor(host: Host, folder: string) {
    this.host = host;
    this.folder = folder;
    this.configFile = join(folder, 'postern.yaml');
    this.rulesFile = join(folder, 'rules.d', 'people.yaml');
  }

  /** `config` is added to what names the folder's own paths. The ledger is made by `posternd init`. */
  static async create(host: Host, config: Document, rules: Document): Promise<Installation> {
    const installation = new Installation(host, scratchFolder('server'));
    mkdirSync(join(installation.folder, 'rules.d'));
    await makeKey(join(installation.folder, 'host_ed25519'), `root@${host.name}`);
    installation.writeConfig(config);
    installation.writeRules(rules);
    await installation.posternd(['init']);
    return installation;
  }

  get auditFile(): string {
    return join(this.folder, 'log', 'audit.jsonl');
  }

  /** The file that `node` runs as posternd, for a process that a test watches itself. */
  get main(): string {
    return POSTERND;
  }

  writeConfig(config: Document): void {
    const paths = {
      ...firewallSetting(),
      server_key: join(this.folder, 'host_ed25519'),
      rules: join(this.folder, 'rules.d'),
      state: join(this.folder, 'state'),
      control: join(this.folder, 'run', 'control.sock'),
    };
    const log = { level: 'info', audit: this.auditFile };
    const asLines = (keys: object) =>
      Object.entries(keys)
        .map(([key, value]) => `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}\n`)
        .join('');
    writeFileSync(
      this.configFile,
      // A test that says a line and a column counts from the paths.
      typeof config === 'string'
        ? `${asLines(paths)}${config.trimEnd()}\n${asLines({ log })}`
        : asYaml({ ...paths, ...config, log: { ...log, ...Object(config['log']) } }),
    );
  }

  writeRules(rules: Document): void {
    writeFileSync(this.rulesFile, asYaml(rules));
  }

  /** The server's public line, as clients get it. */
  get publicLine(): string {
    return readFileSync(join(this.folder, 'host_ed25519.pub'), 'utf8').trim();
  }

  /** Runs a subcommand of posternd on this host, with this configuration. */
  async posternd(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.host.exec(this.command(args), options);
  }

  /** The command line of that, for what is put in front of it. */
  command(args: readonly string[]): readonly string[] {
    const [command = '', ...more] = args;
    const isGroup = command === 'gate' || command === 'client';
    const words = isGroup ? [command, ...more.slice(0, 1)] : [command];
    const rest = isGroup ? more.slice(1) : more;
    return [process.execPath, POSTERND, ...words, '-c', this.configFile, ...rest];
  }

  /** Starts the daemon and comes back when it answers on its control socket with the gate up. */
  async start(options: StartOptions = {}): Promise<Running> {
    const { before = [], node = [], deadlineMs = 20_000, ...rest } = options;
    const daemon = this.host.start([...before, process.execPath, ...node, POSTERND, 'run', '-c', this.configFile], rest);
    this.#daemon = daemon;
    await daemon.waitForOutput(READY, deadlineMs);
    return daemon;
  }

  get daemon(): Running {
    if (this.#daemon === undefined) throw new Error('posternd was not started');
    return this.#daemon;
  }

  async status(): Promise<Status> {
    return JSON.parse((await this.posternd(['status', '--json'])).stdout) as Status;
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
  }

  /** As the out-of-memory killer would. */
  async killHard(): Promise<void> {
    this.daemon.kill('SIGKILL');
    await this.daemon.exited;
  }

  async close(): Promise<void> {
    this.#daemon?.kill('SIGKILL');
    await this.#daemon?.exited;
    removeScratch(this.folder);
  }
}

/** The line that the daemon logs when the gate is up and knocks are seen. */
const READY = /"msg":"ready|ready/;

/** Somebody with a key of their own on some host. */
export class Knocker {
  readonly host: Host;
  readonly name: string;
  readonly home: string;

  private constructor(host: Host, name: string, home: string) {
    this.host = host;
    this.name = name;
    this.home = home;
  }

  static async create(host: Host, name: string): Promise<Knocker> {
    const knocker = new Knocker(host, name, scratchFolder('client'));
    mkdirSync(join(knocker.home, '.ssh'), { mode: 0o700 });
    await makeKey(join(knocker.home, '.ssh', 'id_ed25519'), `${name}@${host.name}`);
    return knocker;
  }

  get publicLine(): string {
    return readFileSync(join(this.home, '.ssh', 'id_ed25519.pub'), 'utf8').trim();
  }

  /**
   * Puts a server's key where ssh would have put it (for `knock ADDRESS`), and into profiles called by the host's name and
   * family (`knock server4`, `knock server6`) with 64 knocks a minute.
   */
  trust(server: Installation): void {
    const key = server.publicLine.split(' ').slice(0, 2).join(' ');
    const addresses = server.host.addresses();
    writeFileSync(join(this.home, '.ssh', 'known_hosts'), `${addresses.join(',')} ${key}\n`, { flag: 'a' });
    const folder = join(this.home, '.config', 'knock');
    const file = join(folder, 'config.yaml');
    if (!existsSync(file)) {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      writeFileSync(file, 'profiles:\n');
    }
    const profiles = addresses.map((address, at) => {
      const fields = { host: address, server_key: key, slots: 64 };
      return `  ${server.host.name}${at === 0 ? 4 : 6}: ${JSON.stringify(fields)}\n`;
    });
    writeFileSync(file, profiles.join(''), { flag: 'a' });
  }

  /** Runs `knock …` on this host, as this person. */
  async knock(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.host.exec(this.command(args), { ...options, env: { HOME: this.home, ...options.env } });
  }

  /** The command line of that, for what is put in front of it. HOME is the caller's to set. */
  command(args: readonly string[]): readonly string[] {
    return [process.execPath, KNOCK, ...args];
  }

  /** The same on another host: a person who moved, or a client behind the same NAT. */
  at(host: Host): Knocker {
    return new Knocker(host, this.name, this.home);
  }

  close(): void {
    removeScratch(this.home);
  }
}

function shippedCommands(): { readonly posternd: string; readonly knock: string } {
  const root = new URL('../../../', import.meta.url);
  const { bin } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { bin: { posternd: string; knock: string } };
  return { posternd: fileURLToPath(new URL(bin.posternd, root)), knock: fileURLToPath(new URL(bin.knock, root)) };
}

function asYaml(document: Document): string {
  return typeof document === 'string' ? document : `${JSON.stringify(document, null, 2)}\n`;
}

async function makeKey(file: string, comment: string): Promise<void> {
  await run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', comment, '-f', file]);
}

/** Processor time that a process has used so far, in milliseconds (fields 14 and 15 of proc(5) stat, in ticks of 10 ms). */
export function cpuMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
