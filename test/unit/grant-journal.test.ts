// The journal of live grants: what a restart finds, and what it must never find.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { monotonicMs } from '../../daemon/clock.ts';
import type { Grant } from '../../daemon/grants/grant-book.ts';
import { GrantJournal, readGrantJournal } from '../../daemon/grants/grant-journal.ts';
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
  };
}

function open(path: string): GrantJournal {
  return new GrantJournal(path, BOOT, { grants: [], closes: [] }, (why) => assert.fail(why));
}

test('a restart finds the grants as they were, and none that ended or is over', (context) => {
  const path = folder(context);
  const journal = open(path);
  journal.put([grant('g1'), grant('g2'), grant('g3', 900)]);
  journal.drop([grant('g2')]);
  journal.closed({ key: 'key-a', address: '2001:db8::7', sentAtMs: 5 });
  // No end(): a killed daemon does not tidy up.
  const found = readGrantJournal(path, BOOT, NOW);
  assert.deepEqual(found.grants, [grant('g1')]);
  assert.deepEqual(found.closes, [{ key: 'key-a', address: '2001:db8::7', sentAtMs: 5 }]);
  assert.equal(statSync(join(path, 'grants.jsonl')).mode & 0o777, 0o600);
});

test('another boot finds nothing', (context) => {
  const path = folder(context);
  open(path).put([grant('g1')]);
  assert.deepEqual(readGrantJournal(path, 'boot-2', NOW).grants, []);
});

test('a torn last line, and lines that make no sense, cost only themselves', (context) => {
  const path = folder(context);
  const journal = open(path);
  journal.put([grant('g1'), grant('g2')]);
  const file = join(path, 'grants.jsonl');
  const text = readFileSync(file, 'utf8');
  for (let cut = 1; cut < 40; cut += 1) {
    writeFileSync(file, text);
    truncateSync(file, text.length - cut - 1);
    assert.deepEqual(
      readGrantJournal(path, BOOT, NOW).grants.map(({ id }) => id),
      ['g1'],
      `cut ${cut}`,
    );
  }
  writeFileSync(file, text);
  appendFileSync(file, '{"put":"g9","address":"nonsense"}\n[]\nnull\n{"drop":"g2"}\n');
  assert.deepEqual(
    readGrantJournal(path, BOOT, NOW).grants.map(({ id }) => id),
    ['g1'],
  );
});

test('a rewrite keeps what lives and goes on from there', (context) => {
  const path = folder(context);
  const journal = open(path);
  journal.put([grant('g1'), grant('g2')]);
  journal.rewrite({ grants: [grant('g2')], closes: [] });
  journal.put([grant('g3')]);
  assert.deepEqual(
    readGrantJournal(path, BOOT, NOW).grants.map(({ id }) => id),
    ['g2', 'g3'],
  );
});

test('a symbolic link in its place is not followed', (context) => {
  const path = folder(context);
  const victim = join(path, 'victim');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, join(path, 'grants.jsonl.new'));
  const troubles: string[] = [];
  new GrantJournal(path, BOOT, { grants: [], closes: [] }, (why) => troubles.push(why)).put([grant('g1')]);
  assert.equal(readFileSync(victim, 'utf8'), 'untouched');
  assert.match(troubles.join(), /would forget live grants/);
});
