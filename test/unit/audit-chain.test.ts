// The chain of the audit log: what each kind of tampering looks like to `log verify`, and that an untouched one passes.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { GENESIS, type Head, linkLine, readBytes, readLine, sha256 } from '../../daemon/audit/chain.ts';
import { decisionEntry, eventEntry, logEntry } from '../../daemon/audit/entries.ts';
import { belongsTo } from '../../daemon/audit/parts.ts';
import { damageOf, tailOf } from '../../daemon/audit/tail.ts';
import { ChainCheck, type KeptHead, type Verified } from '../../daemon/audit/verify.ts';
import type { Decision } from '../../daemon/decision.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import { openKnock, type SignedKnock, sealKnock } from '../../protocol/packet.ts';
import { pairAsClient, pairAsServer } from '../../protocol/pairing.ts';
import { windowOf } from '../../protocol/tags.ts';
import { ALICE, address, BOB, CLOSE, OPEN, SERVER } from '../fakes/daemon-host.ts';

const AT: UnixMs = unixMs(1_800_000_030_000);

function signed(slot: number, action = OPEN, client = ALICE): SignedKnock {
  const pairing = pairAsClient(client, SERVER.publicKey);
  const body = { action, sentAtMs: AT, source: { kind: 'unbound' }, sourcePort: 0, requests: [{ kind: 'service', name: 'ssh' }] } as const;
  const random = (count: number) => new Uint8Array(count).fill(slot);
  const packet = sealKnock({ pairing, secret: client, window: windowOf(AT), slot, body, random });
  const opened = openKnock(packet, pairAsServer(SERVER, client.publicKey), windowOf(AT));
  assert.ok(opened.ok);
  return { client: client.publicKey, server: SERVER.publicKey, proof: opened.proof };
}

function granted(slot: number, knock: SignedKnock = signed(slot)): Decision {
  return {
    kind: 'granted',
    client: 'alice',
    address: address('192.0.2.7'),
    services: ['ssh'],
    lifetimeSeconds: 30,
    prolonged: false,
    grants: [],
    knock,
  };
}

function entryOf(decision: Decision): string {
  const entry = decisionEntry(decision, AT);
  assert.ok(entry !== undefined);
  return entry;
}

const ENTRIES: readonly string[] = [
  logEntry({ event: 'begin', previousFile: undefined, why: 'first' }, AT),
  eventEntry({ kind: 'start', version: '1', pid: 1, bootId: 'b', serverKeys: [], clients: 2 }, AT),
  ...[1, 2, 3].map((slot) => entryOf(granted(slot))),
  entryOf({
    kind: 'dropped',
    reason: 'not-allowed',
    detail: 'tcp/23',
    client: 'bob',
    address: address('192.0.2.8'),
    knock: signed(4, OPEN, BOB),
  }),
  entryOf({
    kind: 'closed',
    client: 'alice',
    address: address('192.0.2.7'),
    services: ['ssh'],
    why: 'by the client',
    grants: [],
    knock: signed(5, CLOSE),
  }),
  entryOf({ kind: 'ended', client: 'alice', address: address('192.0.2.7'), services: ['ssh'], why: 'its time was over', grants: [] }),
  eventEntry({ kind: 'stop' }, AT),
];

function chain(entries: readonly string[] = ENTRIES, from: Head = GENESIS): readonly string[] {
  let head = from;
  return entries.map((entry) => {
    const line = linkLine(head, entry);
    head = line;
    return line.text;
  });
}

function verify(lines: readonly string[], kept: readonly KeptHead[] = []): Verified {
  const check = new ChainCheck(kept);
  lines.forEach((line, at) => {
    check.next('audit.jsonl', { bytes: Buffer.from(line), number: at + 1, isEnded: true });
  });
  return check.end();
}

function broken(lines: readonly string[], kept: readonly KeptHead[] = []): readonly string[] {
  return verify(lines, kept)
    .findings.filter(({ severity }) => severity === 'broken')
    .map(({ at, message }) => `${at}: ${message}`);
}

const hashOf = (line: string | undefined): string => /"hash":"([0-9a-f]{64})"\}$/.exec(line ?? '')?.[1] ?? '';

test('an untouched log holds, with every signature, by whose key and for which server', () => {
  const verified = verify(chain());
  assert.deepEqual(verified.findings, []);
  assert.equal(verified.lines, ENTRIES.length);
  assert.equal(verified.signatures, 5);
  assert.deepEqual(
    [...verified.clients.values()].map((names) => [...names]),
    [['alice'], ['bob']],
  );
  assert.equal(verified.servers.size, 1);
});

test('a line is checked by sed and sha256sum alone', () => {
  const line = chain()[3] ?? '';
  assert.equal(sha256(line.replace(/,"hash":"[0-9a-f]*"\}$/, '')), hashOf(line));
});

test('a line is hashed as its bytes: what only reads as the same is another line', () => {
  const line = linkLine(GENESIS, JSON.stringify({ time: new Date(AT).toISOString(), event: 'order', command: 'grant \ufffd' })).text;
  const bytes = Buffer.from(line);
  const at = bytes.indexOf(Buffer.from('\ufffd'));
  assert.equal(readBytes(bytes).ok, true);
  for (const other of [[0xef, 0xbf], [0xff], [0xc0], [0xed, 0xa0, 0x80]]) {
    const changed = Buffer.concat([bytes.subarray(0, at), Buffer.from(other), bytes.subarray(at + 3)]);
    const check = new ChainCheck([]);
    check.next('audit.jsonl', { bytes: changed, number: 1, isEnded: true });
    assert.match(check.end().findings[0]?.message ?? '', /^line 1 was changed: its hash does not fit/, String(other));
  }
});

describe('tampering is found and named', () => {
  const lines = chain();
  const at = (index: number): string => lines[index] ?? '';
  /** A line with other content, and a hash that fits. */
  const remade = (index: number, from: RegExp, to: string): string => {
    const entry = JSON.parse(at(index).replace(from, to)) as Record<string, unknown>;
    const { n, prev, hash: _, ...rest } = entry;
    return linkLine({ n: Number(n) - 1, hash: String(prev) }, JSON.stringify(rest)).text;
  };
  const table: readonly (readonly [string, readonly string[], RegExp, number?])[] = [
    ['a changed address', lines.with(3, at(3).replace('192.0.2.7', '192.0.2.9')), /^audit\.jsonl:4: line 4 was changed/],
    ['a changed time of the first line', lines.with(0, at(0).replace('2027', '2026')), /^audit\.jsonl:1: line 1 was changed/],
    ['a changed last line', lines.with(8, at(8).replace('stop', 'halt')), /^audit\.jsonl:9: line 9 was changed/],
    [
      'a changed line with its hash made anew',
      lines.with(3, remade(3, /192\.0\.2\.7/, '192.0.2.9')),
      /^audit\.jsonl:4: line 4 was changed and its hash made anew/,
    ],
    ['a removed line', lines.toSpliced(4, 1), /^audit\.jsonl:5: line 5 is missing before this one \(audit\.jsonl:4 is line 4\)/],
    ['three removed lines', lines.toSpliced(2, 3), /^audit\.jsonl:3: lines 3 to 5 are missing/],
    ['a repeated line', lines.toSpliced(4, 0, at(3)), /^audit\.jsonl:5: line 4 stands here twice/],
    ['an older line put in again', lines.toSpliced(6, 0, at(2)), /^audit\.jsonl:7: line 3 stands behind line 6/],
    [
      'two lines that changed places',
      lines.with(4, at(5)).with(5, at(4)),
      /^audit\.jsonl:5: line 5 is missing.*\naudit\.jsonl:6: line 5 stands behind line 6/s,
      2,
    ],
    ['text in between', lines.toSpliced(4, 0, 'hello'), /^audit\.jsonl:5: 5 bytes that are no line/],
    [
      'a first line of all that hangs on something',
      chain(ENTRIES, { n: 0, hash: 'a'.repeat(64) }),
      /^audit\.jsonl:1: the first line of all/,
    ],
  ];
  for (const [text, tampered, expected, count = 1] of table) {
    test(text, () => {
      const found = broken(tampered);
      assert.match(found.join('\n'), expected);
      assert.equal(found.length, count, found.join('\n'));
    });
  }

  test('every bit of every line counts', () => {
    for (let index = 0; index < lines.length; index += 1) {
      const bytes = Buffer.from(at(index));
      for (let byte = 0; byte < bytes.length; byte += 7) {
        const flipped = Buffer.from(bytes);
        flipped[byte] = (flipped[byte] ?? 0) ^ 1;
        assert.notDeepEqual(broken(lines.with(index, flipped.toString('latin1'))), [], `line ${index + 1}, byte ${byte}`);
      }
    }
  });
});

describe('a chain made anew by somebody who has no client key', () => {
  /** All lines made anew behind a change of one. */
  const forged = (change: (fields: Record<string, unknown>) => unknown, index: number) =>
    chain(ENTRIES.map((entry, at) => (at === index ? JSON.stringify(change(JSON.parse(entry) as Record<string, unknown>)) : entry)));
  type Knock = Record<string, string> & { asked: object };
  const withKnock = (change: (knock: Knock) => object) => (fields: Record<string, unknown>) => ({
    ...fields,
    knock: change(fields['knock'] as Knock),
  });
  const other = JSON.parse(ENTRIES[3] ?? '') as { knock: Knock };
  const bobs = JSON.parse(ENTRIES[5] ?? '') as { knock: Knock };

  const table: readonly (readonly [string, readonly string[], RegExp])[] = [
    [
      "another client's key",
      forged(
        withKnock((knock) => ({ ...knock, client_key: bobs.knock['client_key'] })),
        2,
      ),
      /the signature is not by SHA256:/,
    ],
    [
      'another body',
      forged(
        withKnock((knock) => ({ ...knock, body: bobs.knock['body']?.replace('A', 'B') })),
        2,
      ),
      /the signature is not by|is no knock/,
    ],
    [
      'another tag',
      forged(
        withKnock((knock) => ({ ...knock, tag: other.knock['tag'] })),
        2,
      ),
      /the signature is not by/,
    ],
    [
      'another wish than was signed',
      forged(
        withKnock((knock) => ({ ...knock, asked: { ...knock.asked, services: ['tcp/1'] } })),
        2,
      ),
      /not what this line says was asked for/,
    ],
    ['no signature', forged(({ knock: _, ...rest }) => rest, 2), /says "granted" holds no signature/],
    [
      'a refusal told as a grant, with a signature of another line',
      forged((fields) => ({ ...fields, knock: other.knock }), 2),
      /the signature is the one of audit\.jsonl:3/,
    ],
    [
      'a close told as a grant',
      forged((fields) => ({ ...fields, event: 'granted', by: 'knock' }), 6),
      /asks to close, and this line says "granted"/,
    ],
  ];
  for (const [text, lines, expected] of table) {
    test(text, () => {
      assert.match(broken(lines).join('\n'), expected);
    });
  }
});

describe('a cut at the end is found by heads that somebody else kept', () => {
  const lines = chain();
  const head = hashOf(lines.at(-1));

  test('without one it is not', () => assert.deepEqual(broken(lines.slice(0, -2)), []));
  test('with one it is', () => {
    assert.match(broken(lines.slice(0, -2), [{ hash: head, n: undefined }]).join(), /its end was cut off/);
    assert.deepEqual(broken(lines, [{ hash: head, n: undefined }]), []);
  });
  test('a head of the middle vouches for everything up to it, however the rest was made anew', () => {
    const middle = hashOf(lines[4]);
    const anew = chain(ENTRIES.map((entry) => entry.replace('its time was over', 'by an administrator')));
    assert.deepEqual(broken(anew, [{ hash: middle, n: 5 }]), []);
    const earlier = chain(ENTRIES.with(2, ENTRIES[3] ?? '').with(3, ENTRIES[2] ?? ''));
    assert.match(broken(earlier, [{ hash: middle, n: 5 }]).join(), /line 5 with the hash/);
  });
  test('a head of files that are gone is not asked for', () => {
    assert.deepEqual(broken(lines.slice(4), [{ hash: hashOf(lines[1]), n: 2 }]), []);
  });
});

describe('the end of a file', () => {
  const lines = chain();
  const last = readLine(lines.at(-1) ?? '');
  assert.ok(last.ok);
  const head = { n: last.line.n, hash: last.line.hash };
  const whole = Buffer.from(`${lines.join('\n')}\n`);

  test('a whole last line: the chain goes on behind it', () => {
    assert.deepEqual(tailOf(whole, true), { head, damage: undefined, endsLine: true });
    assert.deepEqual(tailOf(whole.subarray(0, -1), true), { head, damage: undefined, endsLine: false });
    assert.deepEqual(tailOf(whole.subarray(5), false).head, head);
  });

  test('cut anywhere in the last line, it is evidence, and the chain goes on behind the line before', () => {
    const lastBytes = Buffer.byteLength(lines.at(-1) ?? '') + 1;
    for (let cut = 2; cut < lastBytes; cut += 1) {
      const end = whole.subarray(0, whole.length - cut);
      const tail = tailOf(end, true);
      assert.equal(tail.head?.n, head.n - 1);
      const fragment = end.subarray(whole.length - lastBytes);
      assert.deepEqual(tail.damage, { bytes: fragment.length, sha256: sha256(fragment) });
      // And the log with the line that names it holds.
      const kept = end.toString('utf8').split('\n');
      const next = linkLine(
        { n: head.n - 1, hash: hashOf(lines.at(-2)) },
        logEntry({ event: 'damaged', ...(tail.damage ?? { bytes: 0, sha256: '' }) }, AT),
      );
      assert.deepEqual(broken([...kept, next.text]), []);
      assert.equal(broken([...kept, next.text.replace('damaged', 'begin')]).length > 0, true);
    }
  });

  test('nothing of ours in it', () => {
    const foreign = Buffer.from('hello\nworld');
    assert.deepEqual(tailOf(foreign, true), { head: undefined, damage: damageOf(foreign), endsLine: false });
  });
});

test('renamed files are known by their names, and others are not', () => {
  const ours = [
    'audit.jsonl',
    'audit.jsonl.1',
    'audit.jsonl.2.gz',
    'audit.jsonl-20261121',
    'audit.jsonl-20261121.gz',
    'audit-20261121.jsonl',
    'audit.jsonl.20261121T172001Z-412',
  ];
  const others = [
    'audit.jsonl.bak',
    'audit.jsonl~',
    'audit.json',
    'other.jsonl',
    'audit.jsonl.1.xz',
    'audit-extra.jsonl',
    '.audit.jsonl.swp',
  ];
  assert.deepEqual(
    [...ours, ...others].filter((name) => belongsTo(name, 'audit.jsonl')),
    ours,
  );
});
