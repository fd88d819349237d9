// The replay ledger against real faults: kill -9 at any moment, disks that fill up or turn read-only, a second daemon (P12).
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createLedger } from '../../daemon/ledger/open.ts';
import { around, crashCopy, type Ground, ledgerPath, markOf, NOW, newGround, openIn } from '../unit/ledger-ground.ts';

const PROGRAM = fileURLToPath(new URL('./ledger-program.js', import.meta.url));
const needsRoot = process.geteuid?.() === 0 ? false : 'needs root';
// Tunable: each round kills one child at another moment.
const ROUNDS = 25;

/** Lets a child mark, kills it `delayMs` after its first mark, and gives back every mark that it said was taken. */
async function killAfter(ground: Ground, client: number, delayMs: number, mode: string): Promise<[number, number][]> {
  const child = spawn(process.execPath, [PROGRAM, ground.stateDir, ground.runtimeDir, String(client), mode], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const closed = once(child, 'close');
  await Promise.race([once(child.stdout, 'data'), closed.then(() => assert.fail('the child died by itself'))]);
  // Not a wait for something to happen, but the moment at which it is interrupted.
  await new Promise((resolve) => setTimeout(resolve, delayMs));
  child.kill('SIGKILL');
  await closed;
  const lines = said.split('\n').slice(0, -1);
  return lines.map((line) => {
    const [who = Number.NaN, slot = Number.NaN] = line.split(' ').map(Number);
    return [who, slot];
  });
}

describe('replay ledger and kill -9', () => {
  for (const mode of ['marking', 'renewing']) {
    it(`loses no mark that it took, whenever it is killed while ${mode}`, async (test) => {
      const ground = newGround(test);
      await createLedger(ground.stateDir);
      let taken: [number, number][] = [];
      for (let round = 1; round <= ROUNDS; round++) {
        const now = await killAfter(ground, round, (round * 7) % 40, mode);
        assert.ok(now.length > 0);
        // A renewal drops what is older than 400 days, which is all that earlier rounds left.
        taken = mode === 'renewing' ? now : [...taken, ...now];
        const { ledger, problems } = await openIn(crashCopy(ground));
        assert.deepEqual(problems, []);
        await ledger.openWindows(around(NOW));
        for (const [client, slot] of taken)
          assert.equal(ledger.mark(markOf(client, NOW, slot)), 'already-used', `round ${round}: ${client} ${slot}`);
        assert.equal(ledger.mark(markOf(999_999, NOW)), 'marked');
        await ledger.close();
      }
    });
  }
});

describe('replay ledger and its lock', () => {
  it('refuses a second daemon and says who holds it, until that one is killed', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const child = spawn(process.execPath, [PROGRAM, ground.stateDir, ground.runtimeDir, '1'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    child.stdout.resume();
    await assert.rejects(openIn(ground), (error: Error) => {
      assert.match(error.message, new RegExp(`in use by process ${child.pid} `));
      return true;
    });
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
    const { ledger } = await openIn(ground);
    await ledger.close();
    assert.equal(fs.lstatSync(join(ground.stateDir, 'ledger.lock'), { throwIfNoEntry: false }), undefined);
  });

  const STALE = [
    { what: 'of an earlier boot', link: () => `${process.pid}:1:boot-0` },
    { what: 'of a process that is gone', link: () => `${spawnSync('true').pid}:1:boot-1` },
    { what: 'of a pid that another process has now', link: () => `1:1:boot-1` },
    { what: 'that says nothing', link: () => 'rubbish' },
  ];
  for (const { what, link } of STALE) {
    it(`takes over a lock ${what}`, async (test) => {
      const ground = newGround(test);
      await createLedger(ground.stateDir);
      fs.symlinkSync(link(), join(ground.stateDir, 'ledger.lock'));
      const { ledger } = await openIn(ground);
      await ledger.close();
    });
  }
});

/** A small tmpfs in place of one of the folders. */
function mountSmall(ground: Ground, path: string): void {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=96k,mode=700', 'tmpfs', path]);
  ground.mounts.push(path);
}

/** Fills the disk to the last byte; removing the file frees it. */
function fill(folder: string): string {
  const path = join(folder, 'filler');
  const fd = fs.openSync(path, 'w');
  try {
    for (;;) fs.writeSync(fd, Buffer.alloc(4096));
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
  } finally {
    fs.closeSync(fd);
  }
  return path;
}

/** Marks until the ledger has left the state folder, which has room for the rest of a page. Gives back the number of marks. */
function markUntil(ground: Awaited<ReturnType<typeof openIn>>, place: string, from: number): number {
  let client = from;
  while (ground.ledger.health().place !== place) {
    assert.notEqual(ground.ledger.mark(markOf(client, NOW)), 'already-used');
    client++;
    assert.ok(client < from + 10_000, `never came to ${place}`);
  }
  return client - from;
}

describe('replay ledger on a disk that cannot be written', { skip: needsRoot }, () => {
  it('goes on in the runtime folder when the state disk is full, refuses replays after kill -9 and after a reboot, and returns', async (test) => {
    const ground = newGround(test);
    mountSmall(ground, ground.stateDir);
    await createLedger(ground.stateDir);
    const opened = await openIn(ground);
    const { ledger } = opened;
    await ledger.openWindows(around(NOW));
    const filler = fill(ground.stateDir);
    const marks = markUntil(opened, 'runtime', 0);
    assert.match(ledger.health().note, /ENOSPC: no space left on device.*marks go to .*run\/ledger/);
    assert.equal(ledger.health().marks, marks, 'not one was refused');
    assert.equal(await ledger.openWindows(around(NOW + 1)), true);
    assert.equal(ledger.mark(markOf(5000, NOW + 3)), 'marked');

    const { ledger: killed } = await openIn(crashCopy(ground));
    await killed.openWindows(around(NOW + 1));
    for (let client = 0; client < marks; client++) assert.equal(killed.mark(markOf(client, NOW)), 'already-used');
    assert.equal(killed.mark(markOf(5000, NOW + 3)), 'already-used');
    assert.equal(killed.mark(markOf(5001, NOW + 3)), 'marked');
    await killed.close();

    // Somebody empties the runtime folder, or it went with a container: the kernel has not rebooted, but marks are missing.
    const { ledger: emptied, problems: emptiedProblems } = await openIn(crashCopy(ground, true), { now: NOW - 1000 });
    assert.match(emptiedProblems[0]?.message ?? '', /marks of the replay ledger that were in .* are gone/);
    await emptied.openWindows(around(NOW + 1));
    assert.equal(emptied.mark(markOf(5000, NOW + 3)), 'window-closed');
    await emptied.close();

    // The runtime folder is gone; that NOW + 3 was open stands on the full disk, where it needed no room.
    const { ledger: rebooted } = await openIn(crashCopy(ground, true), { boot: 'boot-2', now: NOW - 1000 });
    await rebooted.openWindows(around(NOW + 1));
    assert.equal(rebooted.mark(markOf(5000, NOW + 3)), 'window-closed');
    await rebooted.close();

    fs.rmSync(filler);
    assert.equal(await ledger.openWindows(around(NOW + 1)), true);
    assert.deepEqual(ledger.health(), { place: 'state', marks: marks + 1, note: '' });
    assert.equal(fs.existsSync(join(ground.runtimeDir, 'ledger')), false);
    assert.deepEqual(opened.reports.length, 2, 'once when it left, once when it returned');
    const { ledger: later, problems } = await openIn(crashCopy(ground));
    assert.deepEqual(problems, []);
    for (let client = 0; client < marks; client++) assert.equal(later.isUsed(markOf(client, NOW)), true);
    assert.equal(later.isUsed(markOf(5000, NOW + 3)), true);
    await later.close();
    await ledger.close();
  });

  it('does not call a stop clean whose marks are not on the full disk', async (test) => {
    const ground = newGround(test);
    mountSmall(ground, ground.stateDir);
    await createLedger(ground.stateDir);
    const opened = await openIn(ground);
    await opened.ledger.openWindows(around(NOW));
    fill(ground.stateDir);
    const marks = markUntil(opened, 'runtime', 0);
    await opened.ledger.close();
    const restarted = await openIn(crashCopy(ground));
    await restarted.ledger.openWindows(around(NOW));
    for (let client = 0; client < marks; client++) assert.notEqual(restarted.ledger.mark(markOf(client, NOW)), 'marked');
    await restarted.ledger.close();
    const rebooted = await openIn(crashCopy(ground, true), { boot: 'boot-2', now: NOW - 1000 });
    await rebooted.ledger.openWindows(around(NOW));
    assert.equal(rebooted.ledger.mark(markOf(marks - 1, NOW)), 'window-closed');
    await rebooted.ledger.close();
  });

  it('refuses knocks only when both places fail, and recovers by itself', async (test) => {
    const ground = newGround(test);
    mountSmall(ground, ground.stateDir);
    mountSmall(ground, ground.runtimeDir);
    await createLedger(ground.stateDir);
    const opened = await openIn(ground);
    const { ledger } = opened;
    await ledger.openWindows(around(NOW));
    const fillers = [fill(ground.stateDir), fill(ground.runtimeDir)];
    const marks = markUntil(opened, 'none', 0);
    const refused = markOf(marks - 1, NOW);
    assert.equal(ledger.mark(markOf(9000, NOW)), 'unwritable');
    assert.match(ledger.health().note, /knocks are refused until one of them can be written/);
    assert.equal(await ledger.openWindows(around(NOW)), false);
    assert.equal(ledger.mark(markOf(9001, NOW)), 'window-closed');
    for (const filler of fillers) fs.rmSync(filler);
    assert.equal(await ledger.openWindows(around(NOW)), true);
    assert.equal(ledger.health().place, 'state');
    assert.equal(ledger.mark(refused), 'already-used', 'a refused knock stays used (P15)');
    assert.equal(ledger.mark(markOf(9002, NOW)), 'marked');
    await ledger.close();
  });

  it('starts on a read-only disk, refuses replays across restarts there, and returns when the disk does', async (test) => {
    const ground = newGround(test);
    mountSmall(ground, ground.stateDir);
    await createLedger(ground.stateDir);
    const before = await openIn(ground);
    await before.ledger.openWindows(around(NOW));
    assert.equal(before.ledger.mark(markOf(1, NOW)), 'marked');
    await before.ledger.close();
    execFileSync('mount', ['-o', 'remount,ro', ground.stateDir]);
    const first = await openIn(ground);
    assert.match(first.problems[0]?.message ?? '', /cannot be written \(it is read-only\), marks go to/);
    assert.equal(await first.ledger.openWindows(around(NOW)), true);
    assert.equal(first.ledger.mark(markOf(1, NOW)), 'already-used');
    assert.equal(first.ledger.mark(markOf(2, NOW)), 'marked');
    await assert.rejects(openIn(ground), { code: 'LEDGER_HELD' });
    await first.ledger.close();
    const second = await openIn(ground);
    await second.ledger.openWindows(around(NOW));
    for (const client of [1, 2]) assert.equal(second.ledger.mark(markOf(client, NOW)), 'already-used');
    assert.equal(second.ledger.mark(markOf(3, NOW)), 'marked');
    execFileSync('mount', ['-o', 'remount,rw', ground.stateDir]);
    assert.equal(await second.ledger.openWindows(around(NOW)), true);
    assert.equal(second.ledger.health().place, 'state');
    await second.ledger.close();
    const third = await openIn(crashCopy(ground, true), { boot: 'boot-2' });
    assert.deepEqual(third.problems, []);
    await third.ledger.openWindows(around(NOW));
    for (const client of [1, 2, 3]) assert.equal(third.ledger.mark(markOf(client, NOW)), 'already-used');
    await third.ledger.close();
  });

  it('begins in the runtime folder when the ledger is damaged and the disk read-only, and mends it later', async (test) => {
    const ground = newGround(test);
    mountSmall(ground, ground.stateDir);
    fs.writeFileSync(ledgerPath(ground), 'not a ledger');
    execFileSync('mount', ['-o', 'remount,ro', ground.stateDir]);
    const { ledger } = await openIn(ground);
    assert.equal(await ledger.openWindows(around(NOW)), true);
    assert.equal(ledger.mark(markOf(1, NOW)), 'window-closed');
    await ledger.openWindows(around(NOW + 4));
    assert.equal(ledger.mark(markOf(1, NOW + 4)), 'marked');
    execFileSync('mount', ['-o', 'remount,rw', ground.stateDir]);
    await ledger.openWindows(around(NOW + 4));
    assert.equal(ledger.health().place, 'state');
    const after = await openIn(crashCopy(ground));
    assert.deepEqual(after.problems, []);
    assert.equal(after.ledger.isBarred(NOW), true);
    assert.equal(after.ledger.isUsed(markOf(1, NOW + 4)), true);
    await after.ledger.close();
    await ledger.close();
  });

  it('goes on when the file system of the state folder fails under it', async (test) => {
    const ground = newGround(test);
    const image = join(ground.root, 'disk');
    fs.writeFileSync(image, '');
    fs.truncateSync(image, 8 << 20);
    execFileSync('mkfs.ext4', ['-q', '-F', image]);
    if (spawnSync('mount', ['-o', 'loop', image, ground.stateDir]).status !== 0) return test.skip('no loop devices here');
    ground.mounts.push(ground.stateDir);
    await createLedger(ground.stateDir);
    const { ledger } = await openIn(ground);
    await ledger.openWindows(around(NOW));
    assert.equal(ledger.mark(markOf(1, NOW)), 'marked');
    // What ext4 does by itself after an error of the disk.
    spawnSync('mount', ['-o', 'remount,abort', ground.stateDir]);
    assert.equal(ledger.mark(markOf(2, NOW)), 'marked');
    assert.equal(await ledger.openWindows(around(NOW + 1)), true);
    assert.equal(ledger.health().place, 'runtime');
    assert.equal(ledger.mark(markOf(3, NOW + 1)), 'marked');
    const after = await openIn(crashCopy(ground));
    await after.ledger.openWindows(around(NOW + 1));
    for (const mark of [markOf(1, NOW), markOf(2, NOW), markOf(3, NOW + 1)]) assert.notEqual(after.ledger.mark(mark), 'marked');
    await after.ledger.close();
    await ledger.close();
  });
});
