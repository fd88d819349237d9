// A damaged, cut, missing or foreign ledger never lets a replay pass while its window is acceptable, says what is wrong, and locks nobody out for long (P12).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import {
  COUNT_AT,
  COUNT_BYTES,
  HEADER_AT,
  HEADER_BYTES,
  RECORD_BYTES,
  RECORDS_AT,
  SLOT_AT,
  SLOT_BYTES,
} from '../../daemon/ledger/format.ts';
import { createLedger } from '../../daemon/ledger/open.ts';
import { formatProblem } from '../../daemon/problem.ts';
import { around, crashCopy, type Ground, ledgerPath, markOf, NOW, newGround, openIn } from './ledger-ground.ts';

const MARKS = [NOW - 1, NOW, NOW, NOW + 1].map((window, slot) => markOf(slot, window, slot));

type Situation = { readonly name: string; readonly ground: Ground; readonly boot: string };

/** Folders of a ledger with marks, as left by kill -9, by a clean stop and by a power cut. */
async function situations(ground: Ground): Promise<Situation[]> {
  await createLedger(ground.stateDir);
  const { ledger } = await openIn(ground);
  await ledger.openWindows(around(NOW));
  for (const mark of MARKS.slice(0, 2)) assert.equal(ledger.mark(mark), 'marked');
  await ledger.openWindows(around(NOW));
  for (const mark of MARKS.slice(2)) assert.equal(ledger.mark(mark), 'marked');
  const killed = crashCopy(ground);
  const cut = crashCopy(ground, true);
  await ledger.close();
  return [
    { name: 'kill -9', ground: killed, boot: 'boot-1' },
    { name: 'clean stop', ground: crashCopy(ground), boot: 'boot-1' },
    { name: 'clean stop and reboot', ground: crashCopy(ground, true), boot: 'boot-2' },
    { name: 'power cut', ground: cut, boot: 'boot-2' },
  ];
}

/** Puts a ledger file into the folders of a situation, opens it, and tries every replay. */
async function assertNoReplay({ ground, boot }: Situation, bytes: Buffer, what: string): Promise<void> {
  for (const name of fs.readdirSync(ground.stateDir)) fs.rmSync(join(ground.stateDir, name));
  fs.writeFileSync(ledgerPath(ground), bytes);
  const { ledger } = await openIn(ground, { boot });
  await ledger.openWindows(around(NOW));
  for (const mark of MARKS) assert.notEqual(ledger.mark(mark), 'marked', `replay accepted: ${what}`);
  await ledger.openWindows(around(NOW + 4));
  assert.equal(ledger.mark(markOf(9, NOW + 4)), 'marked', `locked out: ${what}`);
  await ledger.close();
  // The damage was made good: the next start finds nothing wrong, and has forgotten nothing.
  const again = await openIn(ground, { boot });
  assert.deepEqual(again.problems, [], what);
  await again.ledger.openWindows(around(NOW));
  for (const mark of MARKS) assert.notEqual(again.ledger.mark(mark), 'marked', `replay accepted at the second start: ${what}`);
  await again.ledger.close();
}

describe('damaged replay ledger', () => {
  it('accepts no replay whichever byte is damaged', async (test) => {
    for (const situation of await situations(newGround(test))) {
      const whole = fs.readFileSync(ledgerPath(situation.ground));
      const parts = [
        { at: HEADER_AT, length: HEADER_BYTES },
        ...SLOT_AT.map((at) => ({ at, length: SLOT_BYTES })),
        { at: COUNT_AT, length: COUNT_BYTES },
        { at: RECORDS_AT, length: whole.length - RECORDS_AT },
      ];
      for (const { at, length } of parts) {
        for (let offset = at; offset < at + length; offset++) {
          const damaged = Buffer.from(whole);
          damaged[offset] = (damaged[offset] ?? 0) ^ (1 << (offset % 8));
          await assertNoReplay(situation, damaged, `${situation.name}, byte ${offset}`);
        }
      }
    }
  });

  it('accepts no replay wherever the file is cut', async (test) => {
    for (const situation of await situations(newGround(test))) {
      const whole = fs.readFileSync(ledgerPath(situation.ground));
      const lengths = [0, 1, HEADER_BYTES - 1, HEADER_BYTES, ...SLOT_AT, SLOT_AT[1] + SLOT_BYTES, COUNT_AT, COUNT_AT + COUNT_BYTES];
      for (let length = RECORDS_AT; length < whole.length; length++) lengths.push(length);
      for (const length of lengths) await assertNoReplay(situation, whole.subarray(0, length), `${situation.name}, cut to ${length}`);
    }
  });

  it('accepts no replay when a page of records or a status never reached the disk before a power cut', async (test) => {
    const [situation] = (await situations(newGround(test))).filter(({ name }) => name === 'power cut');
    assert.ok(situation);
    const whole = fs.readFileSync(ledgerPath(situation.ground));
    // Two marks and a status were synced; behind them anything may be missing, in any order.
    for (const [from, to] of [
      [RECORDS_AT + 2 * RECORD_BYTES, RECORDS_AT + 3 * RECORD_BYTES],
      [RECORDS_AT + 3 * RECORD_BYTES, RECORDS_AT + 4 * RECORD_BYTES],
      [COUNT_AT, COUNT_AT + COUNT_BYTES],
    ] as const) {
      await assertNoReplay(situation, Buffer.from(whole).fill(0, from, to), `zeros from ${from}`);
    }
  });

  it('tolerates a record that kill -9 left half written, and keeps every whole one', async (test) => {
    const [situation] = await situations(newGround(test));
    assert.ok(situation);
    for (let extra = 1; extra < RECORD_BYTES; extra++) {
      const copy = crashCopy(situation.ground);
      fs.appendFileSync(ledgerPath(copy), Buffer.alloc(extra, 0x55));
      const { ledger, problems } = await openIn(copy);
      assert.deepEqual(problems, []);
      assert.equal(ledger.isBarred(NOW), false);
      await ledger.openWindows(around(NOW));
      for (const mark of MARKS) assert.equal(ledger.mark(mark), 'already-used');
      assert.equal(ledger.mark(markOf(7, NOW)), 'marked');
      const { ledger: after, problems: afterProblems } = await openIn(crashCopy(copy));
      assert.deepEqual(afterProblems, []);
      assert.equal(after.isUsed(markOf(7, NOW)), true);
      await after.close();
      await ledger.close();
    }
  });

  const FOREIGN: readonly {
    readonly what: string;
    readonly put: (path: string) => void;
    readonly says: RegExp;
    readonly isKept: boolean;
  }[] = [
    { what: 'missing', put: () => undefined, says: /is missing, a new one is begun/, isKept: false },
    { what: 'empty', put: (path) => fs.writeFileSync(path, ''), says: /shorter than a header/, isKept: true },
    { what: 'text', put: (path) => fs.writeFileSync(path, 'x'.repeat(20_000)), says: /does not start like a ledger/, isKept: true },
    { what: 'a folder', put: (path) => fs.mkdirSync(path), says: /cannot be used/, isKept: true },
    { what: 'a FIFO', put: (path) => execFileSync('mkfifo', [path]), says: /not a regular file/, isKept: true },
    { what: 'a symbolic link', put: (path) => fs.symlinkSync('../target', path), says: /symbolic link/, isKept: true },
  ];
  for (const { what, put, says, isKept } of FOREIGN) {
    it(`begins a new one, says so and bars what is acceptable now when the ledger is ${what}`, async (test) => {
      const ground = newGround(test);
      fs.writeFileSync(join(ground.root, 'target'), 'precious');
      put(ledgerPath(ground));
      const { ledger, problems } = await openIn(ground);
      assert.equal(problems.length, 1);
      assert.match(formatProblem(problems[0] ?? assert.fail()), says);
      await ledger.openWindows(around(NOW));
      for (let window = NOW - 1; window <= NOW + 2; window++) assert.equal(ledger.mark(markOf(1, window)), 'window-closed');
      await ledger.openWindows(around(NOW + 3));
      assert.equal(ledger.mark(markOf(1, NOW + 3)), 'marked');
      assert.equal(fs.readFileSync(join(ground.root, 'target'), 'utf8'), 'precious', 'a link was followed');
      assert.equal(fs.lstatSync(`${ledgerPath(ground)}.corrupt-1`, { throwIfNoEntry: false }) !== undefined, isKept);
      assert.equal(fs.statSync(ledgerPath(ground)).mode & 0o7777, 0o600);
      await ledger.close();
    });
  }

  it('keeps the damaged file beside the new one, and in the new one every mark that could be read', async (test) => {
    const [situation] = await situations(newGround(test));
    assert.ok(situation);
    const damaged = fs.readFileSync(ledgerPath(situation.ground));
    damaged[RECORDS_AT + 5] = 0xff;
    fs.writeFileSync(ledgerPath(situation.ground), damaged);
    const { ledger, problems } = await openIn(situation.ground, { now: NOW + 100 });
    assert.match(formatProblem(problems[0] ?? assert.fail()), /1 of its records are damaged|one of its records is damaged/);
    assert.deepEqual(fs.readFileSync(`${ledgerPath(situation.ground)}.corrupt-1`), damaged);
    await ledger.openWindows(around(NOW + 50));
    for (const mark of MARKS.slice(1)) assert.equal(ledger.isUsed(mark), true);
    await ledger.close();
  });
});
