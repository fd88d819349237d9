// Black box: posternd try. The gate stands for a while and is gone again, whatever is killed meanwhile, unless somebody who got in while it
// stood says that it shall stay.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { notNew } from '../../daemon/trial-note.ts';
import { stands } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import { neighborMissing } from '../lab/neighbors.ts';
import type { Running } from '../lab/process.ts';
import { PORT, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
const HERE = { SSH_CONNECTION: '10.9.9.9 50001 10.0.0.1 22' };
const ELSEWHERE = { SSH_CONNECTION: '10.9.9.9 50002 10.0.0.1 22' };

describe('posternd try', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'try', start: false });
  });
  after(() => stage?.close());

  const address = () => stage.server.ipv4();
  const stranger = () => stage.door(address(), stage.stranger);
  const tryIt = (args: readonly string[], env: Record<string, string> = HERE) =>
    stage.postern.posternd(['try', ...args], { mayFail: true, env });
  const hasGate = () => stands((argv, options) => stage.server.exec(argv, options));

  /** Begins a trial and comes back when the gate stands. */
  async function begin(...args: readonly string[]): Promise<Running> {
    const { main, configFile } = stage.postern;
    const running = stage.server.start([process.execPath, main, 'try', '-c', configFile, ...args], { env: HERE });
    await running.waitForOutput(/try --confirm/, 20_000);
    return running;
  }
  /** The processes of this stage's posternd that are not the given one. */
  function holders(): readonly number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`--for-trial\0-c\0${stage.postern.configFile}`);
        } catch {
          return false;
        }
      })
      .map(Number);
  }
  async function nothingLeft(): Promise<void> {
    await waitFor(() => holders().length === 0, { what: 'the process of the trial to end' });
    assert.equal(existsSync(join(stage.postern.folder, 'run', 'trial.json')), false);
  }

  describe('without a daemon', () => {
    afterEach(async () => {
      for (const pid of holders()) process.kill(pid, 'SIGKILL');
      await waitFor(() => holders().length === 0);
      await stage.postern.posternd(['gate', 'down']);
    });

    test('not confirmed in time: closed meanwhile, knocks open, then open as before, exit 1', async () => {
      assert.equal(await stranger(), 'open');
      const began = performance.now();
      const trial = await begin('--for', '4s');
      assert.equal(await stranger(), 'timeout');
      assert.match(await stage.knock(address()), /open after/);
      assert.equal((await trial.exited).code, 1);
      assert.ok(performance.now() - began >= 3_900);
      assert.match(trial.stderr, /^posternd: not confirmed: the gate is down again/m);
      assert.equal(await stranger(), 'open');
      assert.equal(await hasGate(), false);
      await nothingLeft();
    });

    test("a link that the daemon's user laid in its folder is not followed: root writes nothing through it", async () => {
      const [victim, run] = [join(stage.postern.folder, 'victim'), join(stage.postern.folder, 'run')];
      writeFileSync(victim, 'as it was');
      mkdirSync(run, { recursive: true });
      rmSync(join(run, 'trial.log'), { force: true });
      symlinkSync(victim, join(run, 'trial.log'));
      const trial = await begin('--for', '1s');
      assert.equal((await trial.exited).code, 1);
      assert.equal(readFileSync(victim, 'utf8'), 'as it was');
      await nothingLeft();
    });

    test('confirmed from a new connection: the gate stays, exit 0, and a daemon can be started at once', async () => {
      const trial = await begin('--for', '30s');
      await stage.knock(address(), '-t', '60s');
      const confirmed = await tryIt(['--confirm'], ELSEWHERE);
      assert.equal(confirmed.code, 0, confirmed.stderr);
      assert.match(confirmed.stdout, /^confirmed: the gate stays\nno daemon runs now, so nobody can knock: start it/);
      assert.equal((await trial.exited).code, 0);
      assert.equal(await stranger(), 'timeout');
      await nothingLeft();
      await stage.postern.start();
      assert.equal(await stranger(), 'timeout');
      assert.equal(await stage.door(address()), 'open');
      await stage.postern.posternd(['revoke', 'alice']);
      await stage.postern.stop();
      assert.equal(await stranger(), 'timeout');
    });

    test('a connection that proves nothing does not confirm', async () => {
      const trial = await begin('--for', '20s');
      const same = await tryIt(['--confirm']);
      assert.deepEqual(
        [same.code, same.stderr],
        [1, 'posternd: this is the connection from which the trial was begun: open a new one, and confirm there\n'],
      );
      assert.match((await stage.postern.posternd(['gate', 'up'], { mayFail: true })).stderr, /a trial is under way/);
      const cancelled = await tryIt(['--cancel'], ELSEWHERE);
      assert.equal(cancelled.code, 0);
      assert.equal((await trial.exited).code, 1);
      assert.equal(await stranger(), 'open');
      await nothingLeft();
      assert.match((await tryIt(['--confirm'], ELSEWHERE)).stderr, /^posternd: no trial is under way/);
    });

    test('killed with -9 in the middle, terminal and all: the gate is down after the time', async () => {
      const trial = await begin('--for', '3s');
      trial.kill('SIGKILL');
      await trial.exited;
      assert.equal(await stranger(), 'timeout');
      await waitFor(async () => (await stranger()) === 'open', { deadlineMs: 6_000 });
      await nothingLeft();
    });

    test('everything killed with -9 in the middle: the kernel takes the gate down', async () => {
      const trial = await begin('--for', '60s');
      assert.equal(holders().length, 1);
      for (const pid of [...holders(), trial.pid]) process.kill(pid, 'SIGKILL');
      await waitFor(async () => !(await hasGate()), { deadlineMs: 5_000 });
      assert.equal(await stranger(), 'open');
    });

    test('Ctrl-C: down at once, exit 130', async () => {
      const trial = await begin('--for', '60s');
      trial.kill('SIGINT');
      assert.equal((await trial.exited).code, 130);
      assert.equal(await stranger(), 'open');
      await nothingLeft();
    });

    test('warns when the session that asks would not get back in', async () => {
      stage.postern.writeConfig({ protect: ['tcp/22', `tcp/${PORT}`] });
      try {
        const { code, stderr } = await tryIt(['--for', '1s']);
        assert.equal(code, 1);
        assert.match(stderr, /warning: your own SSH session \(from 10\.9\.9\.9 to tcp\/22\) would not get back in/);
      } finally {
        stage.postern.writeConfig({ protect: [`tcp/${PORT}`, 'tcp/8023', 'udp/8053'] });
      }
    });

    test('a wrong configuration, a wrong time: exit 2, and nothing is changed', async () => {
      assert.match((await tryIt(['--for', '2h'])).stderr, /^posternd: --for: 1s to 1h, not 2h$/m);
      assert.match((await tryIt(['--for', '60'])).stderr, /^posternd: --for: not a duration: "60"/m);
      stage.postern.writeConfig({ protect: ['nonsense'] });
      try {
        const wrong = await tryIt(['--for', '5s']);
        assert.equal(wrong.code, 2);
        assert.match(wrong.stderr, /postern\.yaml:\d+:\d+: .*nonsense/);
      } finally {
        stage.postern.writeConfig({ protect: [`tcp/${PORT}`, 'tcp/8023', 'udp/8053'] });
      }
      assert.equal(await hasGate(), false);
      assert.deepEqual(holders(), []);
    });
  });

  describe('with the daemon', () => {
    beforeEach(async () => {
      await stage.postern.start();
      await stage.postern.posternd(['gate', 'down']);
    });
    afterEach(async () => {
      await stage.postern.stop();
      await stage.postern.posternd(['gate', 'down']);
    });

    test('not confirmed: down again after the time, and the daemon goes on', async () => {
      const trial = await begin('--for', '3s');
      assert.equal(await stranger(), 'timeout');
      assert.match(await stage.knock(address()), /open after/);
      assert.equal((await trial.exited).code, 1);
      assert.equal(await stranger(), 'open');
      assert.equal(stage.postern.daemon.ended, false);
      await stage.postern.posternd(['gate', 'up']);
      assert.equal(await stranger(), 'timeout');
    });

    test('confirmed: it stays, also when the daemon is killed then', async () => {
      const trial = await begin('--for', '30s');
      const confirmed = await tryIt(['--confirm'], ELSEWHERE);
      assert.deepEqual([confirmed.code, confirmed.stdout], [0, 'confirmed: the gate stays\n'], confirmed.stderr);
      assert.equal((await trial.exited).code, 0);
      await stage.postern.killHard();
      assert.equal(await hasGate(), true);
      assert.equal(await stranger(), 'timeout');
    });

    test('a gate that is up already is no trial', async () => {
      await stage.postern.posternd(['gate', 'up']);
      const refused = await tryIt([]);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /^posternd: the gate is up already, there is nothing to try/m);
      assert.equal(await stranger(), 'timeout');
    });

    test('the daemon killed with -9 in the middle: down at once; started again it goes on with the trial, and ends it in time', async () => {
      const began = performance.now();
      const trial = await begin('--for', '8s');
      await stage.postern.killHard();
      await waitFor(async () => !(await hasGate()));
      assert.equal(await stranger(), 'open');
      await stage.postern.start();
      assert.equal(await stranger(), 'timeout');
      assert.equal((await trial.exited).code, 1);
      assert.ok(performance.now() - began < 10_000);
      assert.equal(await stranger(), 'open', trial.stderr);
    });

    test('the daemon killed with -9 and started after the time: the gate stays down', async () => {
      const trial = await begin('--for', '1s');
      await stage.postern.killHard();
      await trial.exited;
      await stage.postern.start();
      assert.equal(await stranger(), 'open');
      assert.equal(await hasGate(), false);
      // Told once: who starts the daemon then gets a gate.
      await stage.postern.stop();
      await stage.postern.start();
      assert.equal(await stranger(), 'timeout');
    });

    test('the daemon restarted in order in the middle: the trial goes on', async () => {
      const trial = await begin('--for', '6s');
      await stage.postern.stop();
      assert.equal(await stranger(), 'open');
      await stage.postern.start();
      assert.equal(await stranger(), 'timeout');
      assert.equal((await trial.exited).code, 1);
      assert.equal(await stranger(), 'open');
    });
  });
});

describe('posternd try over ssh', { skip: skip || (neighborMissing('ssh', 'sshd') ?? false), timeout: 60_000 }, () => {
  const SSH_PORT = 2222;
  let stage: Stage;
  let ssh: readonly string[];
  before(async () => {
    const allow = [{ services: [`tcp/${SSH_PORT}`], ttl: '60s' }];
    stage = await Stage.create({ label: 'tryssh', start: false, config: { protect: [`tcp/${SSH_PORT}`] }, allow });
    const { postern, server, alice } = stage;
    mkdirSync('/run/sshd', { recursive: true });
    const keys = join(postern.folder, 'authorized_keys');
    writeFileSync(keys, `${alice.publicLine}\n`);
    const options = {
      HostKey: join(postern.folder, 'host_ed25519'),
      AuthorizedKeysFile: keys,
      UsePAM: 'no',
      StrictModes: 'no',
      PidFile: 'none',
    };
    const lines = Object.entries({ ...options, Port: SSH_PORT, PermitRootLogin: 'prohibit-password' }).map(
      ([key, value]) => `${key} ${value}\n`,
    );
    writeFileSync(join(postern.folder, 'sshd_config'), lines.join(''));
    const sshd = server.start(['/usr/sbin/sshd', '-D', '-e', '-f', join(postern.folder, 'sshd_config')]);
    await sshd.waitForOutput(/listening on 0\.0\.0\.0/);
    const known = ['-o', 'StrictHostKeyChecking=no', '-o', `UserKnownHostsFile=${join(alice.home, 'known')}`, '-o', 'LogLevel=ERROR'];
    ssh = ['ssh', '-F', 'none', '-i', join(alice.home, '.ssh', 'id_ed25519'), ...known, '-p', String(SSH_PORT)];
  });
  after(() => stage?.close());

  const command = (...args: readonly string[]) =>
    [process.execPath, stage.postern.main, 'try', '-c', stage.postern.configFile, ...args].join(' ');

  test('only a connection that came in through the gate confirms: not the same one, not an older one', async () => {
    const { client, server, alice } = stage;
    const where = `root@${server.ipv4()}`;
    const shared = ['-o', 'ControlMaster=auto', '-o', `ControlPath=${join(alice.home, 'control')}`];
    const old = client.start([...ssh, where, 'echo in; sh']);
    await old.waitForOutput(/^in$/m);
    const trial = client.start([...ssh, ...shared, where, command('--for', '40s')]);
    await trial.waitForOutput(/try --confirm/, 20_000);
    assert.doesNotMatch(trial.stderr, /would not get back in/);

    const again = await client.exec([...ssh, ...shared, where, command('--confirm')], { mayFail: true });
    assert.match(again.stderr, /this is the connection from which the trial was begun/);
    old.child.stdin?.write(`${command('--confirm')} 2>&1\n`);
    await old.waitForOutput(/this connection is older than the trial/, 10_000);
    // The gate stands: without a knock there is no new connection.
    assert.equal(await stage.door(server.ipv4(), client, SSH_PORT), 'timeout');
    await alice.knock(['server4', `tcp/${SSH_PORT}`]);
    const confirmed = await client.exec([...ssh, where, command('--confirm')], { mayFail: true });
    assert.match(confirmed.stdout, /^confirmed: the gate stays/, confirmed.stderr);
    assert.equal((await trial.exited).code, 0);
    assert.equal(await stage.door(server.ipv4(), stage.stranger, SSH_PORT), 'timeout');
  });
});

describe('a connection confirms a trial', () => {
  const trial = { beganBootMs: 1000, connection: { text: HERE.SSH_CONNECTION, sinceBootMs: 10 } };
  for (const [what, connection, expected] of [
    ['the one that began it', { text: HERE.SSH_CONNECTION, sinceBootMs: 2000 }, /was begun/],
    ['another, older than the trial', { text: ELSEWHERE.SSH_CONNECTION, sinceBootMs: 999 }, /older than the trial/],
    ['another, begun while the gate stood', { text: ELSEWHERE.SSH_CONNECTION, sinceBootMs: 1000 }, undefined],
    ['no SSH: a console, where nobody is locked out', null, undefined],
  ] as const) {
    test(`${what}: ${expected === undefined ? 'yes' : 'no'}`, () => {
      const why = notNew(trial, connection);
      if (expected === undefined) assert.equal(why, undefined);
      else assert.match(why ?? '', expected);
    });
  }
});
