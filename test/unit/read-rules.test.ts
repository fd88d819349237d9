// Rules read on a thread are the rules that would have been read here, problems included, and the event loop turns meanwhile.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { formatProblem } from '../../daemon/problem.ts';
import { readRules } from '../../daemon/reading/read-rules.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { parsePortRange } from '../../protocol/ports.ts';
import { writeCrowd } from '../bench/crowd.ts';
import { line } from './rules-ground.ts';

const SECRETS = [secretFromSeed(new Uint8Array(32).fill(200)), secretFromSeed(new Uint8Array(32).fill(201))];
const HERE = Number.POSITIVE_INFINITY;
const ON_THREAD = 0;

const range = (text: string) => {
  const parsed = parsePortRange(text);
  assert.ok(parsed.ok);
  return parsed.value;
};

const presharedKey = (name: string): string => createHash('sha256').update(name).digest('base64');

const TWO_TEAMS = {
  'a.yaml': `
name: one
clients:
  - name: alice
    key: ${line(1)}
    slots: 64
    expires: 2027-03-31
  - name: bob
    key: [${line(2)}, ${line(3)}]
    enabled: false
  - name: ci
    key: ${line(4)}
    psk_file: [psk/one, psk/two]
  - name: keyless
    keys_file: keys/authorized
allow:
  - services: [ssh]
    ttl: 30s
    max_ttl: 1h
    from: [192.0.2.0/24, "2001:db8::/32"]
  - services: [tcp/8443]
    default: false
    once: true
    require_source: true
`,
  'b.yaml': `
name: two
clients:
  - ref: alice
  - name: dora
    key: ${line(5)}
allow:
  - services: [tcp/9999]
    sessions: end
`,
  'psk/one': `${presharedKey('one')}\n`,
  'psk/two': `${presharedKey('two')}\n`,
  'keys/authorized': `from="198.51.100.0/24",expiry-time="20270101" ${line(6)}\n${line(1)}\nssh-ed25519 rubbish\n`,
};

function folder(test: TestContext, files: Readonly<Record<string, string>>): string {
  const rules = mkdtempSync(join(tmpdir(), 'postern-read-'));
  test.after(() => rmSync(rules, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(rules, name, '..'), { recursive: true });
    writeFileSync(join(rules, name), text);
    chmodSync(join(rules, name), name.startsWith('psk') ? 0o600 : 0o644);
  }
  return rules;
}

function configFor(rules: string) {
  return {
    rules,
    services: new Map([['ssh', [range('tcp/22')]]]),
    defaultTtlSeconds: 30,
    protect: [range('tcp/22'), range('tcp/8443')],
    trusted: [],
    maxGrants: 32,
  };
}

describe('rules read on a thread', () => {
  const CASES = [
    { text: 'every kind of client and entry, with warnings', files: TWO_TEAMS, works: true },
    { text: 'no rule file at all', files: {}, works: true },
    { text: 'mistakes', files: { 'a.yaml': 'clients:\n  - nam: x\n', 'b.yaml': 'clients: [7]\nallow: no\n' }, works: false },
    { text: 'what is not YAML', files: { 'a.yaml': 'clients: [\n\t}' }, works: false },
  ];
  for (const { text, files, works } of CASES) {
    test(`are the same as here: ${text}`, async (context) => {
      const config = configFor(folder(context, files));
      const here = await readRules(config, SECRETS, new Map(), HERE);
      const aside = await readRules(config, SECRETS, new Map(), ON_THREAD);
      assert.equal(aside.book !== undefined, works, here.problems.map(formatProblem).join('\n'));
      assert.deepEqual(aside, here);
    });
  }

  test('a hundred and forty thousand mistakes are told one by one', async (context) => {
    const wrong = `clients: [${'7, '.repeat(70_000)}7]\n`;
    const config = configFor(folder(context, { 'a.yaml': wrong, 'b.yaml': wrong }));
    const { book, problems } = await readRules(config, SECRETS, new Map(), ON_THREAD);
    assert.equal(book, undefined);
    assert.ok(problems.length >= 140_000, `${problems.length} problems`);
  });

  test('clients of one file share one list of entries, as they do here', async (context) => {
    const rules = folder(context, {});
    writeCrowd(rules, 120, 1);
    const { book } = await readRules(configFor(rules), SECRETS, new Map(), ON_THREAD);
    assert.equal(book?.clients.length, 120);
    assert.equal(new Set(book.clients.map(({ allow }) => allow)).size, 1);
  });

  test('pairings that are known are taken over, others are computed', async (context) => {
    const rules = folder(context, TWO_TEAMS);
    const first = await readRules(configFor(rules), SECRETS, new Map(), ON_THREAD);
    writeFileSync(join(rules, 'c.yaml'), `name: three\nclients:\n  - name: eve\n    key: ${line(9)}\nallow:\n  - services: [ssh]\n`);
    const second = await readRules(configFor(rules), SECRETS, first.peers, ON_THREAD);
    assert.equal(second.peers.size, first.peers.size + SECRETS.length);
    for (const [id, { pairing }] of first.peers) assert.equal(second.peers.get(id)?.pairing, pairing);
    assert.deepEqual(second.peers, (await readRules(configFor(rules), SECRETS, new Map(), HERE)).peers);
  });

  test('the event loop turns while a thousand clients are read', async (context) => {
    const rules = folder(context, {});
    writeCrowd(rules, 1000, 1);
    let turns = 0;
    const turning = setInterval(() => {
      turns += 1;
    }, 2);
    const { peers } = await readRules(configFor(rules), SECRETS.slice(0, 1), new Map());
    clearInterval(turning);
    assert.equal(peers.size, 1000);
    // It takes more than half a second: a loop that stood still for the parser alone would have turned a handful of times.
    assert.ok(turns > 30, `${turns} turns`);
  });
});
