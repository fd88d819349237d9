// The journal of live grants: what a restart finds, and what it must never find.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { monotonicMs } from '../../daemon/clock.ts';
import type { Grant } from '../../daemon/grants/grant-book.ts';
import { GrantJournal, readGrantJournal } from '../../daemon/grants/grant-journal.ts';
import { NO_HOOKS } from '../../daemon/hooks/hook.ts';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';

const BOOT = 'boot-1';
const NOW = monotonicMs(1000);

function folder(context: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'postern-journal-'));
  context.after(() => rmSync(path, { recursive: true }));
  return path;
}

function grant(id: string, deadline = 60_000): Grant {
  const address = parseAddress('2001:db8::7');
  assert.ok(address.ok);
  return {
    id,
    client: 'alice',
    key: 'key-a',
    address: address.value,
    label: 'ssh',
    ports: [{ protocol: 'tcp', first: 22, last: 24 }],
    kind: 'bound',
    sourcePort: 4000,
    sentAtMs: unixMs(1_800_000_000_000),
    grantedAtMs: unixMs(1_800_000_000_001),
    deadlineMs: monotonicMs(deadline),
    hooks: NO_HOOKS,
  };
}

function open(path: string): GrantJournal {
  return new GrantJournal(path, BOOT, { grants: [], closes: [] }, (why) => assert.fail(why));
}

test('a restart finds the grants as they were, and none that ended or is over', async (context) => {
  const path = folder(context);
  const journal = open(path);
  journal.put([grant('g1'), grant('g2'), grant('g3', 900)]);
  journal.drop([grant('g2')]);
  journal.closed({ key: 'key-a', address: '2001:db8::7', sentAtMs: 5, atMs: monotonicMs(7) });
  // No end(): a killed daemon does not tidy up.
  const found = await readGrantJournal(path, BOOT, NOW);
  assert.deepEqual(found.grants, [grant('g1')]);
  assert.deepEqual(found.closes, [{ key: 'key-a', address: '2001:db8::7', sentAtMs: 5, atMs: monotonicMs(7) }]);
  assert.equal(statSync(join(path, 'grants.jsonl')).mode & 0o777, 0o600);
});

test('another boot finds nothing', async (context) => {
  const path = folder(context);
  open(path).put([grant('g1')]);
  assert.deepEqual((await readGrantJournal(path, 'boot-2', NOW)).grants, []);
});

test('a torn last line, and lines that make no sense, cost only themselves', async (context) => {
  const path = folder(context);
  const journal = open(path);
  journal.put([grant('g1'), grant('g2')]);
  const file = join(path, 'grants.jsonl');
  const text = readFileSync(file, 'utf8');
  for (let cut = 1; cut < 40; cut += 1) {
    writeFileSync(file, text);
    truncateSync(file, text.length - cut - 1);
    assert.deepEqual(
      (await readGrantJournal(path, BOOT, NOW)).grants.map(({ id }) => id),
      ['g1'],
      `cut ${cut}`,
    );
  }
  writeFileSync(file, text);
  appendFileSync(file, '{"put":"g9","address":"nonsense"}\n[]\nnull\n{"drop":"g2"}\n');
  assert.deepEqual(
    (await readGrantJournal(path, BOOT, NOW)).grants.map(({ id }) => id),
    ['g1'],
  );
});

test('a source port that is none opens nothing', async (context) => {
  const path = folder(context);
  open(path).put([grant('g1'), grant('g2')]);
  const file = join(path, 'grants.jsonl');
  const text = readFileSync(file, 'utf8');
  for (const port of ['-1', '65536', '1e9', '0.5', '"22"']) {
    writeFileSync(file, text.replace(/("put":"g1".*"sourcePort":)\d+/, `$1${port}`));
    const { grants } = await readGrantJournal(path, BOOT, NOW);
    assert.deepEqual(
      grants.map(({ id }) => id),
      ['g2'],
      port,
    );
  }
});

test('a rewrite keeps what lives and goes on from there', async (context) => {
  const path = folder(context);
  const journal = open(path);
  journal.put([grant('g1'), grant('g2')]);
  journal.rewrite({ grants: [grant('g2')], closes: [] });
  journal.put([grant('g3')]);
  assert.deepEqual(
    (await readGrantJournal(path, BOOT, NOW)).grants.map(({ id }) => id),
    ['g2', 'g3'],
  );
});

test('a renewal in slices misses nothing that is written meanwhile and revives nothing that ends, whenever it is killed', async (context) => {
  // Several slices of time, however fast the machine is.
  const COUNT = 9000;
  const path = folder(context);
  const journal = open(path);
  const live = new Map(Array.from({ length: COUNT }, (_, at) => [`g${at + 1}`, grant(`g${at + 1}`)]));
  journal.put([...live.values()]);
  function* walk(): Generator<Grant, void> {
    for (const id of [...live.keys()]) {
      const standing = live.get(id);
      if (standing !== undefined) yield standing;
    }
  }
  const killed = folder(context);
  /** What a daemon finds that starts now: as it stands in this moment, though reading takes its time. */
  const read = async () => {
    copyFileSync(join(path, 'grants.jsonl'), join(killed, 'grants.jsonl'));
    return (await readGrantJournal(killed, BOOT, NOW)).grants.map(({ id, deadlineMs }) => `${id} ${deadlineMs}`).toSorted();
  };
  const meant = () => [...live.values()].map(({ id, deadlineMs }) => `${id} ${deadlineMs}`).toSorted();
  let isOver = false;
  const renewal = journal.renew({ grants: walk(), closes: [] }).then(() => {
    isOver = true;
  });
  let turns = 0;
  for (let number = 1; !isOver; number += 1) {
    // What ends may have been copied already, or not; what is prolonged and what is new likewise.
    const dropped = grant(`g${1 + ((number * 37) % COUNT)}`);
    journal.drop([dropped]);
    live.delete(dropped.id);
    const prolonged = grant(`g${1 + ((number * 53) % COUNT)}`, 60_000 + number);
    const fresh = grant(`g${COUNT + number}`);
    journal.put([prolonged, fresh]);
    live.set(prolonged.id, prolonged);
    live.set(fresh.id, fresh);
    if (number % 8 === 0) {
      const expected = meant();
      assert.deepEqual(await read(), expected);
    }
    turns += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await renewal;
  assert.ok(turns > 3, 'it let others work in between');
  assert.deepEqual(await read(), meant());
  assert.ok(journal.lines() < 1.5 * COUNT + 3 * turns);
  journal.drop([...live.values()].slice(1));
  assert.deepEqual((await read()).length, 1);
});

test('a renewal that begins while another is under way takes its place: what that one had written is no more', async (context) => {
  const path = folder(context);
  const journal = open(path);
  const ids = Array.from({ length: 9000 }, (_, at) => `g${at + 1}`);
  const first = journal.renew({ grants: ids.map((id) => grant(id, 60_000)), closes: [] });
  await new Promise((resolve) => setImmediate(resolve));
  const second = journal.renew({ grants: ids.map((id) => grant(id, 30_000)), closes: [] });
  await Promise.all([first, second]);
  journal.put([grant('g10000', 30_000)]);
  const { grants } = await readGrantJournal(path, BOOT, NOW);
  assert.equal(grants.length, 9001);
  assert.deepEqual([...new Set(grants.map(({ deadlineMs }) => deadlineMs))], [30_000]);
});

test('a symbolic link in its place is not followed', async (context) => {
  const path = folder(context);
  const victim = join(path, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, join(path, 'grants.jsonl.new'));
  open(path).put([grant('g1')]);
  assert.equal(readFileSync(victim, 'utf8'), 'untouched');
  assert.equal((await readGrantJournal(path, BOOT, NOW)).grants.length, 1);
});

test('a journal that somebody else may have written opens nothing; a FIFO hangs nobody', async (context) => {
  const path = folder(context);
  const file = join(path, 'grants.jsonl');
  open(path).put([grant('g1')]);
  chmodSync(file, 0o622);
  assert.deepEqual((await readGrantJournal(path, BOOT, NOW)).grants, []);
  chmodSync(file, 0o600);
  assert.equal((await readGrantJournal(path, BOOT, NOW)).grants.length, 1);
  if (process.getuid?.() === 0) {
    chownSync(file, 65_534, 65_534);
    assert.deepEqual((await readGrantJournal(path, BOOT, NOW)).grants, []);
  }
  rmSync(file);
  execFileSync('mkfifo', [file]);
  assert.deepEqual((await readGrantJournal(path, BOOT, NOW)).grants, []);
});

/** A folder of so many KiB. */
function smallDisk(context: TestContext, kib: number): string {
  const path = mkdtempSync(join(tmpdir(), 'postern-small-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${kib}k`, 'tmpfs', path]);
  context.after(() => {
    execFileSync('umount', ['--lazy', path]);
    rmSync(path, { recursive: true });
  });
  return path;
}

const skip = process.getuid?.() === 0 ? false : 'needs root to mount a small disk';

test('P12 on a disk that fills up and is freed again no ended grant is revived, whatever write was cut', { skip }, async (context) => {
  const path = smallDisk(context, 16);
  const filler = join(path, 'filler');
  const troubles: string[] = [];
  const journal = new GrantJournal(path, BOOT, { grants: [], closes: [] }, (why) => troubles.push(why));
  journal.put([grant('g1'), grant('g2')]);
  fill(filler);
  // Until the last page is full; the last of these is written in part.
  for (let number = 3; troubles.length === 0; number += 1) journal.put([grant(`g${number}`)]);
  rmSync(filler);
  journal.drop([grant('g1')]);
  const found = (await readGrantJournal(path, BOOT, NOW)).grants.map(({ id }) => id);
  assert.ok(!found.includes('g1') && found.includes('g2'), found.join(' '));
});

test('P12 started on a full disk, the daemon does not leave a journal that revives what it ends', { skip }, async (context) => {
  const path = smallDisk(context, 16);
  open(path).put([grant('g1'), grant('g2')]);
  fill(join(path, 'filler'));
  const left = await readGrantJournal(path, BOOT, NOW);
  assert.equal(left.grants.length, 2);
  const troubles: string[] = [];
  const journal = new GrantJournal(path, BOOT, left, (why) => troubles.push(why));
  assert.equal(troubles.length, 1);
  journal.drop([grant('g1')]);
  assert.ok(!(await readGrantJournal(path, BOOT, NOW)).grants.some(({ id }) => id === 'g1'));
  // However often it is tried again, no descriptor is left behind.
  const before = readdirSync('/proc/self/fd').length;
  for (let round = 0; round < 20; round += 1) journal.rewrite(left);
  assert.equal(readdirSync('/proc/self/fd').length, before);
});

function fill(file: string): void {
  assert.throws(() => {
    for (;;) appendFileSync(file, Buffer.alloc(4096));
  }, /ENOSPC/);
}

test('after a restart with very many grants the old journal is written on until it is renewed, torn last line and all', async (context) => {
  const path = folder(context);
  const many = Array.from({ length: 2000 }, (_, at) => grant(`g${at + 1}`));
  open(path).put(many);
  appendFileSync(join(path, 'grants.jsonl'), '{"put":"g3');
  const found = await readGrantJournal(path, BOOT, NOW);
  const journal = new GrantJournal(path, BOOT, found, (why) => assert.fail(why));
  journal.drop([grant('g1')]);
  journal.put([grant('g9000')]);
  const ids = async () => (await readGrantJournal(path, BOOT, NOW)).grants.map(({ id }) => id);
  const expected = [...many.slice(1).map(({ id }) => id), 'g9000'];
  assert.deepEqual(await ids(), expected);
  assert.ok(journal.isWhole && journal.lines() > 10_000_000, 'it asks to be renewed');
  await journal.renew({ grants: [...many.slice(1), grant('g9000')], closes: [] });
  assert.equal(journal.lines(), 2001);
  assert.deepEqual(await ids(), expected);
});
