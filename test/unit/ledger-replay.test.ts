// What the replay ledger promises as long as no file is damaged: across restarts, crashes, reboots and clock steps.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { createLedger } from '../../daemon/ledger/open.ts';
import { KEPT_MINUTES, RENEWAL_MINUTES } from '../../daemon/ledger/retention.ts';
import { around, crashCopy, key, ledgerPath, markOf, NOW, newGround, openIn } from './ledger-ground.ts';

const YEAR_2099 = 68_200_000;

describe('replay ledger', () => {
  it('takes a mark once, however often the same packet comes in one tick (P16)', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const { ledger, problems } = await openIn(ground);
    assert.deepEqual(problems, []);
    assert.equal(await ledger.openWindows(around(NOW)), true);
    const outcomes = Array.from({ length: 100 }, () => ledger.mark(markOf(1, NOW)));
    assert.deepEqual(outcomes, ['marked', ...Array.from({ length: 99 }, () => 'already-used')]);
    assert.deepEqual(ledger.health(), { place: 'state', marks: 1, note: '' });
    await ledger.close();
  });

  it('tells clients, servers, windows and slots apart', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const { ledger } = await openIn(ground);
    await ledger.openWindows(around(NOW));
    const marks = [markOf(1, NOW), markOf(2, NOW), markOf(1, NOW + 1), markOf(1, NOW, 1), markOf(1, NOW, 63), markOf(1, NOW, 0, key(9))];
    for (const mark of marks) {
      assert.equal(ledger.isUsed(mark), false);
      assert.equal(ledger.mark(mark), 'marked');
    }
    for (const mark of marks) assert.equal(ledger.mark(mark), 'already-used');
    await ledger.close();
  });

  const RETURNS = [
    { how: 'a clean stop and a start', isClean: true, isReboot: false, boot: 'boot-1', isBarred: false },
    { how: 'kill -9 and a start', isClean: false, isReboot: false, boot: 'boot-1', isBarred: false },
    { how: 'a clean stop and a reboot', isClean: true, isReboot: true, boot: 'boot-2', isBarred: false },
    { how: 'a reboot without a word (P16c)', isClean: false, isReboot: true, boot: 'boot-2', isBarred: true },
  ];
  for (const { how, isClean, isReboot, boot, isBarred } of RETURNS) {
    it(`refuses what it took before ${how}, and ${isBarred ? 'bars' : 'does not bar'} the open windows`, async (test) => {
      const ground = newGround(test);
      await createLedger(ground.stateDir);
      const before = await openIn(ground);
      await before.ledger.openWindows(around(NOW));
      // A client whose clock is 50 s ahead: its window is the next one.
      for (const window of [NOW - 1, NOW, NOW + 1]) assert.equal(before.ledger.mark(markOf(1, window)), 'marked');
      if (isClean) await before.ledger.close();
      const { ledger, problems } = await openIn(crashCopy(ground, isReboot), { boot });
      await ledger.openWindows(around(NOW));
      for (const window of [NOW - 1, NOW, NOW + 1]) {
        assert.notEqual(ledger.mark(markOf(1, window)), 'marked', 'a replay');
        assert.equal(ledger.isBarred(window), isBarred);
        assert.equal(ledger.mark(markOf(2, window)), isBarred ? 'window-closed' : 'marked');
      }
      assert.equal(problems.length, isBarred ? 1 : 0);
      await ledger.openWindows(around(NOW + 4));
      assert.equal(ledger.mark(markOf(1, NOW + 4)), 'marked', 'a fresh knock a few minutes later');
      await ledger.close();
      await before.ledger.close();
    });
  }

  it('bars the open windows after a crash of the machine even if the clock says that it is an hour ago (P14, P16c)', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const before = await openIn(ground);
    await before.ledger.openWindows(around(NOW));
    const { ledger } = await openIn(crashCopy(ground, true), { boot: 'boot-2', now: NOW - 60 });
    await ledger.openWindows(around(NOW - 60));
    // The clock is set: the windows of the crash are acceptable again.
    await ledger.openWindows(around(NOW));
    assert.equal(ledger.mark(markOf(1, NOW)), 'window-closed');
    await ledger.openWindows(around(NOW + 5));
    assert.equal(ledger.mark(markOf(1, NOW + 5)), 'marked');
    await ledger.close();
    await before.ledger.close();
  });

  it('keeps windows barred through a second start in the same boot', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const first = await openIn(ground);
    await first.ledger.openWindows(around(NOW));
    const rebooted = crashCopy(ground, true);
    const second = await openIn(rebooted, { boot: 'boot-2' });
    await second.ledger.openWindows(around(NOW));
    await second.ledger.close();
    const third = await openIn(rebooted, { boot: 'boot-2', now: NOW + 1 });
    assert.deepEqual(third.problems, []);
    await third.ledger.openWindows(around(NOW + 1));
    assert.equal(third.ledger.mark(markOf(1, NOW)), 'window-closed');
    await third.ledger.close();
    await first.ledger.close();
  });

  it('takes no mark in a window that was never opened, is no longer open, or after close', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const { ledger } = await openIn(ground);
    assert.equal(ledger.mark(markOf(1, NOW)), 'window-closed');
    await ledger.openWindows(around(NOW));
    assert.equal(ledger.mark(markOf(1, NOW + 3)), 'window-closed');
    const opening = ledger.openWindows(around(NOW + 1));
    // At once, not when the disk has answered: the status on its way to the disk does not name it any more.
    assert.equal(ledger.mark(markOf(1, NOW - 1)), 'window-closed');
    assert.equal(ledger.mark(markOf(1, NOW + 3)), 'window-closed');
    assert.equal(ledger.mark(markOf(1, NOW + 1)), 'marked', 'windows of both ranges stay open meanwhile');
    await opening;
    assert.equal(ledger.mark(markOf(1, NOW + 3)), 'marked');
    await ledger.close();
    assert.equal(ledger.mark(markOf(1, NOW + 2)), 'window-closed');
    assert.equal(await ledger.openWindows(around(NOW)), false);
  });

  it('survives a trip to 2099 and back: no replay, no lock-out (P13)', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    let { ledger } = await openIn(ground);
    await ledger.openWindows(around(NOW));
    assert.equal(ledger.mark(markOf(1, NOW)), 'marked');
    await ledger.openWindows(around(YEAR_2099));
    assert.equal(ledger.mark(markOf(1, YEAR_2099)), 'marked');
    await ledger.close();
    ({ ledger } = await openIn(ground, { now: YEAR_2099 }));
    await ledger.openWindows(around(YEAR_2099));
    assert.equal(ledger.mark(markOf(1, YEAR_2099)), 'already-used');
    await ledger.openWindows(around(NOW));
    assert.equal(ledger.mark(markOf(1, NOW)), 'already-used', 'read back from disk: memory had let go of it');
    assert.equal(ledger.mark(markOf(1, NOW, 1)), 'marked');
    await ledger.openWindows(around(YEAR_2099));
    assert.equal(ledger.mark(markOf(1, YEAR_2099)), 'already-used');
    await ledger.close();
  });

  it('accepts a client whose clock goes back by an hour, and two devices with one key in turn (P13)', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const { ledger } = await openIn(ground);
    await ledger.openWindows({ first: NOW - 60, last: NOW });
    for (const [slot, window] of [NOW, NOW - 60, NOW, NOW - 60, NOW - 30].entries())
      assert.equal(ledger.mark(markOf(1, window, slot)), 'marked');
    await ledger.close();
  });

  it('keeps marks for 400 days of running, then makes the file anew without losing a younger one (P9, P10)', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    let minutes = 0;
    const bootMs = () => minutes * 60_000;
    const { ledger } = await openIn(ground, { bootMs });
    await ledger.openWindows(around(NOW));
    for (let client = 0; client < 50; client++) ledger.mark(markOf(client, NOW));
    minutes = KEPT_MINUTES / 2;
    await ledger.openWindows(around(NOW + minutes));
    ledger.mark(markOf(1, NOW + minutes));
    const full = fs.statSync(ledgerPath(ground)).size;
    minutes = KEPT_MINUTES - 1;
    await ledger.openWindows(around(NOW));
    assert.equal(ledger.mark(markOf(1, NOW)), 'already-used', 'a minute before its 400 days are over');
    minutes = RENEWAL_MINUTES + 1;
    await ledger.openWindows(around(NOW + minutes));
    // The renewal follows in the queue; the next call waits for it.
    await ledger.openWindows(around(NOW + minutes));
    assert.equal(ledger.mark(markOf(2, NOW + minutes)), 'marked');
    assert.ok(fs.statSync(ledgerPath(ground)).size < full, 'old marks are gone from the disk');
    assert.equal(ledger.health().marks, 2);
    await ledger.openWindows(around(NOW + KEPT_MINUTES / 2));
    assert.equal(ledger.mark(markOf(1, NOW + KEPT_MINUTES / 2)), 'already-used');
    await ledger.close();
    const again = await openIn(ground, { bootMs });
    assert.deepEqual(again.problems, []);
    await again.ledger.close();
  });

  it('writes marks during a renewal to the file that replaces the old one', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    let minutes = 0;
    const { ledger } = await openIn(ground, { bootMs: () => minutes * 60_000 });
    await ledger.openWindows(around(NOW));
    for (let client = 0; client < 20_000; client++) ledger.mark(markOf(client, NOW));
    minutes = RENEWAL_MINUTES + 1;
    await ledger.openWindows(around(NOW));
    let isOver = false;
    const renewed = ledger.openWindows(around(NOW)).then(() => {
      isOver = true;
    });
    const taken: number[] = [];
    for (let client = 100_000; !isOver; client++) {
      assert.equal(ledger.mark(markOf(client, NOW)), 'marked');
      taken.push(client);
      await new Promise(setImmediate);
    }
    await renewed;
    const { ledger: after } = await openIn(crashCopy(ground));
    for (const client of taken) assert.equal(after.isUsed(markOf(client, NOW)), true);
    await after.close();
    await ledger.close();
  });

  it('refuses ranges and slots that make no sense, loudly', async (test) => {
    const ground = newGround(test);
    await createLedger(ground.stateDir);
    const { ledger } = await openIn(ground);
    for (const range of [
      { first: 5, last: 4 },
      { first: -1, last: 4 },
      { first: 0, last: 5000 },
      { first: 0.5, last: 4 },
      { first: 2 ** 32, last: 2 ** 32 },
    ]) {
      await assert.rejects(ledger.openWindows(range), RangeError);
    }
    for (const slot of [-1, 64, 0.5]) assert.throws(() => ledger.mark(markOf(1, NOW, slot)), RangeError);
    await ledger.close();
  });
});

describe('createLedger', () => {
  it('makes a file that only its owner can read', async (test) => {
    const ground = newGround(test);
    const umask = process.umask(0);
    await createLedger(ground.stateDir).finally(() => process.umask(umask));
    assert.equal(fs.statSync(ledgerPath(ground)).mode & 0o7777, 0o600);
    assert.deepEqual(fs.readdirSync(ground.stateDir), ['ledger']);
  });

  for (const [what, put] of [
    ['a ledger', (path: string) => fs.writeFileSync(path, 'POSTLEDG')],
    ['a dangling symbolic link', (path: string) => fs.symlinkSync('/nonexistent', path)],
    ['a folder', (path: string) => fs.mkdirSync(path)],
  ] as const) {
    it(`never overwrites ${what}`, async (test) => {
      const ground = newGround(test);
      put(ledgerPath(ground));
      const before = fs.lstatSync(ledgerPath(ground)).ino;
      await assert.rejects(createLedger(ground.stateDir), { code: 'EEXIST' });
      assert.equal(fs.lstatSync(ledgerPath(ground)).ino, before);
    });
  }

  it('gives the file to the owner of the folder when root makes it', {
    skip: process.geteuid?.() === 0 ? false : 'needs root',
  }, async (test) => {
    const ground = newGround(test);
    fs.chownSync(ground.stateDir, 12345, 23456);
    await createLedger(ground.stateDir);
    const stat = fs.statSync(join(ground.stateDir, 'ledger'));
    assert.deepEqual([stat.uid, stat.gid], [12345, 23456]);
  });
});
