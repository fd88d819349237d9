// A real sshd on the server of a stage, behind its gate, and alice with the ssh configuration to reach it: `ssh web1` as she would type it.
import { appendFileSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { RunOptions, RunResult } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import type { Stage } from '../lab/stage.ts';
import { KNOCK } from './client-doorway.ts';

export class Sshd {
  readonly stage: Stage;
  readonly folder: string;
  readonly #netns: readonly string[];

  private constructor(stage: Stage, folder: string, netns: readonly string[]) {
    this.stage = stage;
    this.folder = folder;
    this.#netns = netns;
  }

  /** Port 22 must be one that the stage's server protects. The host key is posternd's, as with `init --use-ssh-host-key`. */
  static async start(stage: Stage): Promise<Sshd> {
    const folder = scratchFolder('sshd');
    const netns = [stage.server, stage.client].map((host) => join('/etc/netns', host.namespace));
    for (const each of netns) mkdirSync(each, { recursive: true });
    const sshd = new Sshd(stage, folder, netns);
    // sshd refuses users whose password is locked by "!", as root's is on many machines.
    const shadow = readFileSync('/etc/shadow', 'utf8').replace(/^root:[^:]*/m, 'root:*');
    writeFileSync(join(netns[0] ?? '', 'shadow'), shadow, { mode: 0o600 });
    const key = join(folder, 'host_ed25519');
    copyFileSync(join(stage.postern.folder, 'host_ed25519'), key);
    writeFileSync(join(folder, 'authorized_keys'), `${stage.alice.publicLine}\n`);
    const config = [
      `HostKey ${key}`,
      `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
      'Port 22',
      'ListenAddress 0.0.0.0',
      'ListenAddress ::',
      'PermitRootLogin yes',
      'StrictModes no',
      'UsePAM no',
      'PidFile none',
      'UseDNS no',
      'Subsystem sftp internal-sftp',
      'MaxStartups 100',
    ];
    writeFileSync(join(folder, 'sshd_config'), `${config.join('\n')}\n`);
    // Debian's package makes it when it starts its own sshd.
    mkdirSync('/run/sshd', { recursive: true, mode: 0o755 });
    const running = stage.server.start(['/usr/sbin/sshd', '-D', '-e', '-f', join(folder, 'sshd_config')]);
    await running.waitForOutput(/Server listening on :: port 22/);
    sshd.configure();
    // More knocks a minute than a person needs, as the stage's rules give.
    const profiles = ['web1', 'web6', 'both.test'].map((name) => `  ${name}: { slots: 64 }\n`);
    appendFileSync(join(stage.alice.home, '.config', 'knock', 'config.yaml'), profiles.join(''));
    return sshd;
  }

  /** alice's ~/.ssh/config; `proxy` is her ProxyCommand. */
  configure(proxy = `${process.execPath} ${KNOCK} proxy %n %p`, more: readonly string[] = []): void {
    const { alice, server } = this.stage;
    const ssh = join(alice.home, '.ssh');
    const lines = [
      ...more,
      'Host web1 direct',
      `  HostName ${server.ipv4()}`,
      'Host web6 direct6',
      `  HostName ${server.ipv6()}`,
      'Host both.test',
      '  HostKeyAlias web1',
      'Host web1 web6 both.test direct direct6',
      '  User root',
      `  IdentityFile ${ssh}/id_ed25519`,
      '  IdentitiesOnly yes',
      `  UserKnownHostsFile ${ssh}/known_hosts`,
      '  GlobalKnownHostsFile none',
      '  BatchMode yes',
      '  ConnectTimeout 3',
      'Host web1 web6 both.test',
      `  ProxyCommand ${proxy}`,
    ];
    writeFileSync(join(ssh, 'config'), `${lines.join('\n')}\n`, { mode: 0o600 });
    const key = this.stage.postern.publicLine.split(' ').slice(0, 2).join(' ');
    writeFileSync(join(ssh, 'known_hosts'), `${server.addresses().join(',')},web1 ${key}\n`);
    const [ipv4, ipv6] = server.addresses();
    writeFileSync(join(this.#netns[1] ?? '', 'hosts'), `127.0.0.1 localhost\n${ipv4} both.test\n${ipv6} both.test\n`);
  }

  /** ssh takes its home folder from the user's record, not from HOME: the file is named. */
  get option(): readonly string[] {
    return ['-F', join(this.stage.alice.home, '.ssh', 'config')];
  }

  async ssh(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.command(['ssh', ...this.option, ...args], options);
  }

  /** Any command on the client, with alice's HOME. */
  async command(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.stage.client.exec(argv, { timeoutMs: 60_000, ...options, env: { HOME: this.stage.alice.home, ...options.env } });
  }

  close(): void {
    for (const folder of this.#netns) rmSync(folder, { recursive: true, force: true });
    removeScratch(this.folder);
  }
}
