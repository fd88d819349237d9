// The stage of the client's tests: a server with a doorman and a shut door, a client with a home folder, a wire between them.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import type { Host } from '../lab/host.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import type { Running, RunOptions, RunResult } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';
import type { DoormanOptions, Heard } from './client-doorman.ts';

export const PORT = 8022;
export const REQUEST = `tcp/${PORT}`;
/** Protected like PORT, but nothing listens. */
export const DEAD_PORT = 8099;
export const KNOCK_PORT = 62201;

const DOORMAN = fileURLToPath(new URL('./client-doorman.js', import.meta.url));
const BUNDLE = fileURLToPath(new URL('../../client/knock.cjs', import.meta.url));
const MAIN = fileURLToPath(new URL('../../client/main.js', import.meta.url));
/** What users run; the unbundled program where nobody has bundled. */
export const KNOCK = existsSync(BUNDLE) ? BUNDLE : MAIN;

const SERVER = secretFromSeed(Buffer.alloc(32, 1));
export const SERVER_LINE = formatPublicLine(SERVER.publicKey, 'server');

export class Doorway {
  readonly lab: Lab;
  readonly server: Host;
  readonly client: Host;
  readonly home: string;
  readonly #doorman: Running;

  private constructor(lab: Lab, server: Host, client: Host, home: string, doorman: Running) {
    this.lab = lab;
    this.server = server;
    this.client = client;
    this.home = home;
    this.#doorman = doorman;
  }

  static async create(): Promise<Doorway> {
    const lab = await createLab({ label: 'client' });
    const [server, client] = [await lab.host('server'), await lab.host('client')];
    await lab.link(server, client);
    await server.listen({ tcp: [PORT] });
    const home = mkdtempSync(join(tmpdir(), 'postern-knock-'));
    mkdirSync(join(home, '.config', 'knock'), { recursive: true });
    nameHosts(client, server);
    const asked: DoormanOptions = { serverSeed: Buffer.from(SERVER.seed).toString('hex'), port: KNOCK_PORT };
    const doorman = server.start([process.execPath, DOORMAN, JSON.stringify(asked)]);
    await doorman.waitForOutput(/"ready"/);
    const doorway = new Doorway(lab, server, client, home, doorman);
    await doorway.begin();
    return doorway;
  }

  /** A shut door and a client whose key has never been used: a test must not run out of slots because of those before it. */
  async begin(): Promise<void> {
    await this.shut();
    const secret = secretFromSeed(randomBytes(32));
    const publicHex = Buffer.from(secret.publicKey).toString('hex');
    writeFileSync(join(this.home, '.config', 'knock', 'id_ed25519'), formatPrivateKey(secret, 'alice'), { mode: 0o600 });
    this.#doorman.child.stdin?.write(`${publicHex}\n`);
    await this.#doorman.waitForOutput(new RegExp(publicHex));
  }

  /** Shuts the door for everyone; `refusal` is what a shut door answers. */
  async shut(refusal: 'drop' | 'reject with tcp reset' = 'drop'): Promise<void> {
    const ports = `tcp dport { ${PORT}, ${DEAD_PORT} }`;
    await this.server.nft(`table inet door {}
delete table inet door
table inet door {
  set open4 { type ipv4_addr; }
  set open6 { type ipv6_addr; }
  chain in { type filter hook input priority 0;
    ${ports} ip saddr @open4 accept
    ${ports} ip6 saddr @open6 accept
    ${ports} ${refusal}
  }
}
`);
  }

  /** Runs `knock …` to its end. By default a failure is a result, not an exception. */
  async knock(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.client.exec([process.execPath, KNOCK, ...args], { mayFail: true, ...options, env: { ...this.env(), ...options.env } });
  }

  /** The same with the key of this server. */
  async knockHere(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.knock(['--server-key', SERVER_LINE, ...args], options);
  }

  env(): Record<string, string> {
    return { HOME: this.home, XDG_CONFIG_HOME: '', XDG_STATE_HOME: '', KNOCK_PASSPHRASE_FILE: '', NO_COLOR: '1' };
  }

  /** Everything that the doorman has heard so far. */
  heard(): readonly Heard[] {
    return this.#doorman.stdout
      .split('\n')
      .filter((line) => line.includes('"heard"'))
      .map((line) => JSON.parse(line) as Heard);
  }

  /** What the doorman hears while `act` runs; waits until it has heard `count` datagrams. */
  async hearing(count: number, act: () => Promise<unknown>): Promise<readonly Heard[]> {
    const before = this.heard().length;
    await act();
    return waitFor(() => this.heard().length >= before + count && this.heard().slice(before), { what: `${count} knocks to be heard` });
  }

  async close(): Promise<void> {
    rmSync(join('/etc/netns', this.client.namespace), { recursive: true, force: true });
    rmSync(this.home, { recursive: true, force: true });
    await this.lab.close();
  }
}

/** Names for the client alone: `ip netns exec` shows these files instead of /etc's. No name server is asked. */
function nameHosts(client: Host, server: Host): void {
  const folder = join('/etc/netns', client.namespace);
  mkdirSync(folder, { recursive: true });
  const [ipv4, ipv6] = server.addresses();
  writeFileSync(join(folder, 'hosts'), `127.0.0.1 localhost\n${ipv4} both.test four.test\n${ipv6} both.test six.test\n`);
  writeFileSync(join(folder, 'resolv.conf'), 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n');
}
