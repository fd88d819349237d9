// Postern as a service on a booted Debian: its units, its sandbox, its boot order, and what stops and crashes of it leave behind.
//
//   machine (systemd-nspawn)                 namespace "outside"
//   posternd, a TCP service on 2222   eth0 ------- eth0   knock
//                               10.98.0.1         10.98.0.2
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { Running } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';
import { Machine, whyNoMachine } from './machine.ts';
import { FOLDER, FROM_OUTSIDE, INSIDE, installPackage, plugIn, setUp } from './postern-machine.ts';

const CONFIG = `
server_key: host_ed25519
protect: [tcp/2222]
services: { shell: tcp/2222 }
rules: rules.d
state: /var/lib/postern
control: /run/postern/control.sock
`;
const rules = (key: string) => `
name: people
clients:
  - { name: alice, key: ${key} }
allow:
  - { services: [shell], ttl: 10m, max_ttl: 10m, on_open: [/usr/local/bin/look, "{client}", "{event}"] }
`;
// A hook that tells the journal what it can do in the sandbox.
const LOOK = `#!/bin/sh
{
  grep -E '^(CapPrm|CapEff|CapAmb|NoNewPrivs):' /proc/self/status
  for file in /etc/x /root/x /usr/x /home/x /run/postern/x /var/lib/postern/x /tmp/x; do touch $file && echo "writes $file"; rm -f $file; done
  nft list tables && echo 'reads the firewall'
  echo "done: $1 $2"
} 2>/dev/null | logger -t look
`;
// Asks the kernel directly: a unit between the network's gate and the network itself.
const EARLY = `
[Unit]
DefaultDependencies=no
After=network-pre.target
Before=network.target sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/usr/sbin/nft list table inet postern >/run/early 2>&1'
[Install]
WantedBy=sysinit.target
`;
const BOOT_ID = '/proc/sys/kernel/random/boot_id';
const LISTEN = "require('net').createServer((s)=>s.on('error',()=>0).end('hello')).listen(2222,'0.0.0.0',()=>console.log('listening'))";

const reason = await whyNoMachine();

describe('postern on a booted Debian', { skip: reason ?? false, concurrency: 1, timeout: 600_000 }, () => {
  let machine: Machine;
  let service: Running | undefined;

  before(async () => {
    machine = await Machine.create();
    await installPackage(machine);
    await machine.boot();
    await setUp(machine, CONFIG, rules);
    // The watchdog in seconds rather than half a minute, so that the test of a hung daemon is short.
    await put('/etc/systemd/system/posternd.service.d/test.conf', '[Service]\nWatchdogSec=3\n');
    await put('/etc/systemd/system/early.service', EARLY);
    await put('/usr/local/bin/look', LOOK);
    await machine.exec(['chmod', '755', '/usr/local/bin/look']);
    await machine.exec(['systemctl', 'daemon-reload']);
    await machine.exec(['systemctl', 'enable', '--quiet', 'nftables', 'early']);
    await connectAndListen();
  });

  after(async () => {
    service?.kill('SIGKILL');
    await machine?.destroy();
  });

  async function put(path: string, text: string): Promise<void> {
    await machine.exec(['mkdir', '-p', join(path, '..')]);
    writeFileSync(join(machine.root, path), text);
  }

  async function connectAndListen(): Promise<void> {
    await plugIn(machine);
    service = new Running([...machine.entry(), 'node', '-e', LISTEN]);
    await service.waitForOutput(/listening/);
  }

  async function stdout(...argv: string[]): Promise<string> {
    return (await machine.exec(argv)).stdout.trim();
  }

  const property = async (unit: string, name: string) => stdout('systemctl', 'show', '-P', name, unit);
  const mainPid = async () => Number(await property('posternd', 'MainPID'));
  /** Never 0: `kill 0` would end the whole test run. */
  async function signalDaemon(signal: string): Promise<number> {
    const pid = await mainPid();
    assert.ok(pid > 1, await journal());
    await machine.exec(['kill', `-${signal}`, String(pid)]);
    return pid;
  }

  /** A TCP connection from outside that gets its greeting. */
  async function isOpen(): Promise<boolean> {
    const script = `const s=require('net').connect(2222,'${INSIDE}');s.on('data',()=>process.exit(0));s.on('error',()=>process.exit(1));setTimeout(()=>process.exit(2),1000)`;
    return (await machine.exec([...FROM_OUTSIDE, 'node', '-e', script], { mayFail: true })).code === 0;
  }

  async function knock(...options: string[]): Promise<string> {
    const key = readFileSync(join(machine.root, 'etc/postern/host_ed25519.pub'), 'utf8').trim();
    const argv = [...FROM_OUTSIDE, 'knock', INSIDE, 'tcp/2222', '--server-key', key, '-i', '/root/.config/knock/id_ed25519', ...options];
    const { code, stdout, stderr } = await machine.exec(argv, { mayFail: true });
    assert.equal(code, 0, `${stdout}${stderr}${await journal()}`);
    return stdout;
  }

  const journal = async () => stdout('journalctl', '-u', 'posternd', '-u', 'postern-gate', '-o', 'cat', '--no-pager', '-n', '40');

  /** Waits until systemd has a daemon that said READY, other than `before`. */
  async function newDaemon(before: number): Promise<number> {
    return waitFor(
      async () => {
        const pid = await mainPid();
        return pid !== 0 && pid !== before && (await property('posternd', 'SubState')) === 'running' && pid;
      },
      { deadlineMs: 20_000, intervalMs: 50, what: 'a new daemon' },
    );
  }

  it('installs by the commands of docs/install.md, and check finds nothing that keeps it from starting', async () => {
    assert.equal(await isOpen(), true, 'the service answers before there is a gate');
    const { code, stdout, stderr } = await machine.exec(['posternd', 'check'], { mayFail: true });
    assert.equal(code, 0, stdout + stderr);
  });

  it('check names what the daemon may not read, though root may, and its cure is one', async () => {
    const rules = '/etc/postern/rules.d/people.yaml';
    const owner = await stdout('stat', '-c', '%U:%G %a', rules);
    const folder = '/etc/postern/rules.d';
    for (const [path, cure] of [
      [rules, `chgrp postern ${rules} && chmod g+r ${rules}`],
      ['/etc/postern/host_ed25519', 'chown postern /etc/postern/host_ed25519'],
    ] as const) {
      await machine.exec(['chown', 'root:root', path]);
      await machine.exec(['chmod', '600', path]);
      const { code, stderr } = await machine.exec(['posternd', 'check'], { mayFail: true });
      assert.equal(code, 2, stderr);
      assert.ok(stderr.includes(`no permission to read ${path}: the daemon runs as the user postern: run: ${cure}\n`), stderr);
      await machine.exec(['sh', '-c', cure]);
      const again = await machine.exec(['posternd', 'check'], { mayFail: true });
      assert.equal(again.code, 0, again.stderr);
    }
    for (const [closed, says] of [
      [folder, `cannot read the folder of rules ${folder} (EACCES)`],
      ['/etc/postern', 'configuration: no permission to read /etc/postern/postern.yaml'],
    ] as const) {
      const cure = `chgrp postern ${closed} && chmod g+rx ${closed}`;
      await machine.exec(['chown', 'root:root', closed]);
      await machine.exec(['chmod', '700', closed]);
      const { code, stderr } = await machine.exec(['posternd', 'check'], { mayFail: true });
      assert.equal(code, 2, stderr);
      assert.ok(stderr.includes(`${says}: the daemon runs as the user postern: run: ${cure}\n`), stderr);
      await machine.exec(['sh', '-c', cure]);
    }
    await put('/etc/postern/postern.yaml', CONFIG.replace('/run/postern/', '/run/nowhere/'));
    const nowhere = await machine.exec(['posternd', 'check'], { mayFail: true });
    assert.equal(nowhere.code, 2, nowhere.stderr);
    assert.match(
      nowhere.stderr,
      /no control socket can be made at \/run\/nowhere\/control\.sock: \/run is not writable for the daemon's user: make /,
    );
    assert.notEqual((await machine.exec(['systemctl', 'start', 'posternd'], { mayFail: true })).code, 0);
    await machine.exec(['systemctl', 'stop', 'posternd']);
    assert.match(
      await journal(),
      /posternd: the folder of the control socket \/run\/nowhere\/control\.sock cannot be made \(EACCES\): make \/run\/nowhere, owned by /,
    );
    assert.doesNotMatch(await journal(), /^\s+at /m);
    await put('/etc/postern/postern.yaml', CONFIG);
    const right = await machine.exec(['posternd', 'check'], { mayFail: true });
    assert.equal(right.code, 0, right.stderr);
    await machine.exec(['sh', '-c', `chown ${owner.split(' ')[0]} ${rules} && chmod ${owner.split(' ')[1]} ${rules}`]);
  });

  it('reaches READY in its whole sandbox, as its own user with CAP_NET_ADMIN alone, and closes the port', async () => {
    const { code } = await machine.exec(['systemctl', 'enable', '--now', 'posternd'], { mayFail: true });
    assert.equal(code, 0, await journal());
    assert.equal(await property('postern-gate', 'ActiveState'), 'active');
    assert.equal(await isOpen(), false);
    const status = await stdout('cat', `/proc/${await mainPid()}/status`);
    const [, uid] = /^Uid:\t(\d+)/m.exec(status) ?? [];
    assert.equal(uid, await stdout('id', '-u', 'postern'));
    assert.match(status, /^CapEff:\t0000000000001000$/m);
    assert.match(status, /^CapBnd:\t0000000000001000$/m);
    assert.match(status, /^CapAmb:\t0000000000000000$/m, 'children inherit nothing');
    assert.match(status, /^NoNewPrivs:\t1$/m);
    assert.match(status, /^Seccomp:\t2$/m);
    assert.match(await journal(), /nflog/);
  });

  it('listens on nothing but its control socket', async () => {
    assert.doesNotMatch(await stdout('ss', '-lntupH'), /62201|posternd/);
    assert.equal(await stdout('stat', '-c', '%U:%G %a', '/run/postern/control.sock'), 'postern:postern 660');
  });

  it('opens the port for who knocks', async () => {
    assert.match(await knock(), /open after/);
    assert.equal(await isOpen(), true);
  });

  it('keeps the audit log, which members of the group postern can read and verify, and nobody else', async () => {
    assert.equal(
      await stdout('stat', '-c', '%U:%G %a', '/var/log/postern', '/var/log/postern/audit.jsonl'),
      'postern:postern 750\npostern:postern 640',
    );
    await waitFor(async () => (await stdout('posternd', 'log')).includes('alice from'), { what: 'the entry' });
    const member = ['setpriv', '--reuid=nobody', '--regid=postern', '--clear-groups'];
    const verified = await machine.exec([...member, 'posternd', 'log', 'verify'], { mayFail: true });
    assert.equal(verified.code, 0, verified.stdout + verified.stderr);
    assert.match(verified.stdout, /1 signature of a knock holds, for server SHA256:.*\n.*\(alice\)\n.*\ncompared with the running daemon/);
    const stranger = ['setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'];
    for (const command of [['status'], ['log'], ['log', 'verify']]) {
      const { code, stderr } = await machine.exec([...stranger, 'posternd', ...command], { mayFail: true });
      assert.equal(code, 3, stderr);
      assert.match(stderr, /join the group that owns it \("postern"\)/);
    }
  });

  it('runs the hook in the same sandbox, without a capability (docs/hooks.md)', async () => {
    const look = async () => stdout('journalctl', '-t', 'look', '-o', 'cat', '--no-pager');
    await waitFor(async () => (await look()).includes('done: '), { what: 'the hook', deadlineMs: 10_000 });
    const said = await look();
    for (const set of ['CapPrm', 'CapEff', 'CapAmb']) assert.match(said, new RegExp(`^${set}:\\s+0+$`, 'm'), said);
    assert.match(said, /^NoNewPrivs:\s+1$/m);
    assert.deepEqual(
      said.split('\n').filter((line) => /^(writes|reads|done)/.test(line)),
      ['writes /run/postern/x', 'writes /var/lib/postern/x', 'writes /tmp/x', 'done: alice open'],
    );
  });

  it('keeps the grant when it is restarted', async () => {
    const before = await mainPid();
    await machine.exec(['systemctl', 'restart', 'posternd']);
    assert.notEqual(await mainPid(), before);
    assert.equal(await isOpen(), true);
    assert.match(await stdout('posternd', 'grants'), /alice/);
  });

  it('tells systemctl reload when the new rules are wrong, and keeps the old ones', async () => {
    const path = join(machine.root, 'etc/postern/rules.d/people.yaml');
    const good = readFileSync(path, 'utf8');
    writeFileSync(path, `${good}  - { services: [shell], ttl: never }\n`);
    assert.notEqual((await machine.exec(['systemctl', 'reload', 'posternd'], { mayFail: true })).code, 0);
    assert.match(await journal(), /people\.yaml:\d+:\d+/);
    writeFileSync(path, good);
    await machine.exec(['systemctl', 'reload', 'posternd']);
    assert.equal(await isOpen(), true);
  });

  it('is started again after kill -9, with its grants', async () => {
    const before = await signalDaemon('KILL');
    assert.equal(await isOpen(), true, 'the kernel keeps the door');
    await newDaemon(before);
    assert.match(await stdout('posternd', 'grants'), /alice/);
    assert.match(await knock(), /open after/);
  });

  it('is killed and started again when it hangs', async () => {
    const before = await signalDaemon('STOP');
    await newDaemon(before);
    assert.match(await stdout('posternd', 'grants'), /alice/);
  });

  it('follows nftables.service, which flushes the ruleset', async () => {
    await machine.exec(['systemctl', 'restart', 'nftables']);
    assert.match(await stdout('nft', 'list', 'set', 'inet', 'postern', 'grants4'), /10\.98\.0\.2/);
    await machine.exec(['systemctl', 'reload', 'nftables']);
    assert.equal(await isOpen(), true);
    assert.equal(await property('posternd', 'ActiveState'), 'active');
  });

  it('leaves the gate closed when both units are stopped', async () => {
    await machine.exec(['posternd', 'revoke', 'alice']);
    await machine.exec(['systemctl', 'stop', 'posternd', 'postern-gate']);
    assert.equal(await isOpen(), false);
    await machine.exec(['systemctl', 'stop', 'nftables']);
    await machine.exec(['systemctl', 'start', 'nftables', 'posternd']);
    assert.equal(await isOpen(), false);
    assert.match(await knock(), /open after/);
  });

  it('has the gate up before the network at the next boot, and takes a fresh knock at once after a clean stop', async () => {
    service?.kill('SIGKILL');
    await machine.shutDown();
    await machine.boot();
    assert.match(await stdout('cat', '/run/early'), /chain gate/);
    const [gateUp = 0, networkPre = 0] = (
      await Promise.all(['postern-gate.service', 'network-pre.target'].map((unit) => property(unit, 'ActiveEnterTimestampMonotonic')))
    ).map(Number);
    assert.ok(gateUp > 0 && gateUp <= networkPre, `${gateUp} ${networkPre}`);
    await connectAndListen();
    assert.equal(await isOpen(), false, 'grants end with the boot');
    assert.match(await knock(), /open after/);
  });

  it('starts by itself after the power was cut, says what that means, and stays closed', async () => {
    service?.kill('SIGKILL');
    // A container's crash loses no page cache, so the daemon rightly goes by the host's boot id; a machine of its own would have a new one.
    await put('/etc/boot-id', '11111111-2222-3333-4444-555555555555\n');
    await put('/etc/systemd/system/posternd.service.d/boot-id.conf', `[Service]\nBindReadOnlyPaths=/etc/boot-id:${BOOT_ID}\n`);
    await machine.cutPower();
    await machine.boot();
    assert.equal(await property('posternd', 'ActiveState'), 'active');
    assert.match(await journal(), /the machine went down without stopping the daemon/);
    await connectAndListen();
    assert.equal(await isOpen(), false);
  });

  it('is upgraded and removed by the commands of docs/install.md: not while the gate is up', async () => {
    assert.match(
      await stdout(`${FOLDER}/systemd/install`),
      /The daemon that runs is still the old one.*\n.*check\n {2}systemctl restart posternd/,
    );
    const page = (await property('posternd', 'Documentation')).replace('file://', '');
    assert.ok(existsSync(join(machine.root, page)), page);
    const early = await machine.exec([`${FOLDER}/systemd/uninstall`], { mayFail: true });
    assert.equal(early.code, 1);
    assert.match(early.stderr, /^systemd\/uninstall: the gate is up, nothing was changed: "posternd gate down" opens .*\n$/);
    assert.equal(await property('posternd', 'ActiveState'), 'active');
    assert.equal(await isOpen(), false);
    await machine.exec(['posternd', 'gate', 'down']);
    assert.match(await stdout(`${FOLDER}/systemd/uninstall`), /npm uninstall -g postern/);
    assert.equal(await property('posternd', 'LoadState'), 'not-found');
    assert.equal(await property('postern-gate', 'LoadState'), 'not-found');
    assert.equal(
      await stdout('sh', '-c', 'find /usr/local /etc/systemd -name "*postern*" -o -name "*knock*"'),
      '/etc/systemd/system/posternd.service.d',
    );
    assert.match(await stdout('ls', '/etc/postern'), /host_ed25519/);
    assert.equal(await isOpen(), true);
  });
});
