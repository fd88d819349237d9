// Black box: the state folder is full, or read-only; then the runtime folder too. Each is a small file system of its own. Knocks go on while one of
// both can be written; a replay opens nothing at any time, kill -9 included; the daemon returns to the disk by itself.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, cpSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { FakeClock, fakeClockMissing } from '../lab/fake-clock.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, knockBy, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? fakeClockMissing() ?? false;

describe('a disk that cannot be written', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  let clock: FakeClock;
  const fillers: string[] = [];
  const mounts: string[] = [];
  const folder = (name: 'state' | 'run') => join(stage.postern.folder, name);
  const start = () => stage.postern.start({ env: clock.env });
  const said = (pattern: RegExp) => waitFor(() => pattern.test(stage.postern.daemon.stdout), { what: String(pattern) });
  const fill = (name: 'state' | 'run') => {
    const path = join(folder(name), 'filler');
    fillers.push(path);
    const file = openSync(path, 'w');
    assert.throws(() => {
      for (;;) writeSync(file, Buffer.alloc(4096));
    }, /ENOSPC/);
    closeSync(file);
  };
  const free = () => {
    for (const path of fillers.splice(0)) rmSync(path, { force: true });
  };
  /** For us, and for a daemon that runs: `ip netns exec` gave it mounts of its own. */
  const remount = (how: 'ro' | 'rw') => {
    const argv = ['mount', '-o', `remount,${how}`, folder('state')];
    execFileSync(argv[0] ?? '', argv.slice(1));
    const { ended, pid } = stage.postern.daemon;
    if (!ended) execFileSync('nsenter', ['-t', String(pid), '-m', ...argv]);
  };
  const knock = async (address: string, ...args: readonly string[]) => {
    const { stdout, stderr } = await stage.alice.knock([profileOf(address), REQUEST, ...args], { mayFail: true, env: clock.env });
    return stdout + stderr;
  };
  const revokeAll = async () => {
    for (const { id } of (await stage.postern.status()).grants) await stage.postern.posternd(['revoke', id]);
  };
  const isDead = async (recorded: Awaited<ReturnType<Stage['recordedKnock']>>, address: string) => {
    await revokeAll();
    await stage.replay(stage.client, recorded);
    await stage.resend(stage.stranger, recorded, address);
    assert.equal(await stage.kernelGrants(), 0, 'a replay opened');
    assert.equal(await stage.door(address), 'timeout');
  };
  const recordedKnock = async (address: string) => {
    const capture = await stage.client.capture({ filter: `udp dst port ${KNOCK_PORT}`, direction: 'out' });
    assert.match(await knock(address, '-t', '60s'), /open after/);
    await capture.waitForFrames(1);
    await capture.stop();
    return capture;
  };

  before(async () => {
    clock = new FakeClock();
    stage = await Stage.create({ label: 'disk', start: false });
    for (const name of ['state', 'run'] as const) {
      const path = folder(name);
      mkdirSync(path, { recursive: true });
      renameSync(path, `${path}.was`);
      mkdirSync(path, { mode: 0o700 });
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=160k,mode=700', 'tmpfs', path]);
      mounts.push(path);
      cpSync(`${path}.was`, path, { recursive: true });
    }
    await start();
  });
  beforeEach(async () => {
    free();
    if (stage.postern.daemon.ended) await start();
    await revokeAll();
  });
  after(async () => {
    await stage?.postern.killHard().catch(() => undefined);
    for (const path of mounts) execFileSync('umount', ['-l', path]);
    await stage?.close();
    clock?.close();
  });

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`full: knocks go on, replays are dead after kill -9, and the daemon returns to the disk by itself, over ${family} (P12)`, async () => {
      const before = await recordedKnock(address());
      fill('state');
      // The last page of the file may have room yet; a restart needs some in any case.
      await stage.postern.stop();
      await start();
      const recorded = await recordedKnock(address());
      await stage.postern.killHard();
      await start();
      for (const each of [before, recorded]) await isDead(each, address());
      assert.match(await knock(address(), '-t', '60s'), /open after/);
      free();
      clock.step(90);
      assert.match(await waitFor(() => knock(address(), '-t', '60s'), { what: 'a knock' }), /open after/);
      await stage.postern.killHard();
      await start();
      for (const each of [before, recorded]) {
        await isDead(each, address());
        await each.close();
      }
    });

    test(`read-only at the start: knocks go on, replays are dead, and the daemon returns to the disk by itself, over ${family} (P12)`, async () => {
      const before = await recordedKnock(address());
      await stage.postern.stop();
      remount('ro');
      try {
        await start();
        await said(/cannot be written \(it is read-only\), marks go to/);
        const recorded = await recordedKnock(address());
        for (const end of [() => stage.postern.killHard(), () => stage.postern.stop()]) {
          await end();
          await start();
          for (const each of [before, recorded]) await isDead(each, address());
          assert.match(await knock(address(), '-t', '60s'), /open after/);
        }
        remount('rw');
        clock.step(90);
        await said(/written to the state folder again/);
        for (const each of [before, recorded]) {
          await isDead(each, address());
          await each.close();
        }
      } finally {
        remount('rw');
      }
    });
  }

  test('both cannot be written: knocks are refused and the log says why, live grants end on time, posternd grant opens; with room again knocks open', async () => {
    const address = stage.server.ipv4();
    assert.match(await knock(address, '-t', '6s'), /open after/);
    await stage.postern.stop();
    remount('ro');
    fill('run');
    try {
      await start();
      await said(/knocks are refused until one of them can be written|replay ledger cannot be written: no new tags are armed/);
      assert.equal(await stage.door(address), 'open');
      await stage.untilShut(address, 8_000);
      const refused = await stage.alice.knock([profileOf(address), REQUEST, '--retries', '0', '--timeout', '1s'], {
        mayFail: true,
        env: clock.env,
      });
      assert.equal(refused.code, 1, refused.stdout);
      assert.equal((await stage.postern.posternd(['grant', stage.client.ipv4(), REQUEST, '-t', '2s'])).code, 0);
      assert.equal(await stage.door(address), 'open');
      await stage.untilShut(address, 4_000);
    } finally {
      free();
      remount('rw');
    }
    clock.step(90);
    await waitFor(async () => /open after/.test(await knock(address, '-t', '2s', '--retries', '0', '--timeout', '1s')), {
      deadlineMs: 20_000,
      what: 'a knock to open again',
    });
  });

  test('a log that nobody can write to (disk full) costs lines, not knocks', async () => {
    const address = stage.server.ipv4();
    await stage.postern.stop();
    const words = stage.postern.command(['run']).map((word) => `'${word}'`);
    const daemon = stage.server.start(['sh', '-c', `exec ${words.join(' ')} > /dev/full`]);
    await waitFor(async () => (await stage.postern.status()).pid === daemon.pid, { what: 'the daemon to answer' });
    assert.match(await knockBy(stage.alice.at(stage.client), address, '-t', '2s').catch(String), /open after/);
    daemon.kill('SIGTERM');
    assert.equal((await daemon.exited).code, 0);
  });
});
