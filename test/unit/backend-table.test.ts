// No black-box suite can be forgotten: each has its line in the table of backends, and each line its suite.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SUITES, suitesOf } from '../lab/backend-table.ts';

const FOLDER = fileURLToPath(new URL('../integration/', import.meta.url));
const files = readdirSync(FOLDER).filter((name) => /^e2e-.*\.test\.js$/.test(name));

test('each black-box suite stands in the table of backends, and nothing else does', () => {
  const suites = files.filter((name) => !name.startsWith('e2e-iptables-')).map((name) => name.slice('e2e-'.length, -'.test.js'.length));
  assert.deepEqual(Object.keys(SUITES).toSorted(), suites.toSorted(), 'give a new suite its line in test/lab/backend-table.ts');
});

test('each suite is run for each backend, or the table says why not', () => {
  for (const backend of ['iptables-nft', 'iptables-legacy', 'iptables-without-ipset'] as const) {
    const left = Object.keys(SUITES).filter((suite) => SUITES[suite]?.[backend] !== undefined);
    assert.deepEqual([...suitesOf(backend), ...left].toSorted(), Object.keys(SUITES).toSorted());
  }
  assert.deepEqual(
    [...suitesOf('iptables-nft', { part: 0, of: 2 }), ...suitesOf('iptables-nft', { part: 1, of: 2 })].toSorted(),
    suitesOf('iptables-nft').toSorted(),
  );
  // Both halves, and one file for each of the others.
  const runs = files.filter((name) => name.startsWith('e2e-iptables-')).map((name) => readFileSync(FOLDER + name, 'utf8'));
  assert.deepEqual(runs.flatMap((text) => /suitesOf\((.*?)\)\)\s/.exec(text)?.[1] ?? []).toSorted(), [
    "'iptables-legacy'",
    "'iptables-nft', { part: 0, of: 2 }",
    "'iptables-nft', { part: 1, of: 2 }",
    "'iptables-without-ipset'",
  ]);
});
