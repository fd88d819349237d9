// The screen of `status --watch`: as many lines as it has rows, none too long, whatever the daemon says; what is bad stands out.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { WatchReport } from '../../daemon/control/messages.ts';
import { type Look, mostScroll, type ViewOptions, view } from '../../daemon/watch/view.ts';

function grant(at: number, more: Partial<WatchReport['grants'][number]> = {}): WatchReport['grants'][number] {
  return {
    id: `g${at}`,
    client: `client-${at}`,
    by: 'knock',
    address: `192.0.2.${at % 250}`,
    service: 'ssh',
    ports: ['tcp/22'],
    kind: 'grant',
    source_port: null,
    granted_at: '2026-11-21T17:00:00.000Z',
    remaining_seconds: 30 + at,
    ...more,
  };
}

function report(more: Partial<WatchReport> = {}): WatchReport {
  return {
    pid: 17,
    version: '0.1.0',
    uptime_seconds: 7384,
    gate: { state: 'up', backend: 'nftables', table: 'postern', protected: ['tcp/22'] },
    capture: { name: 'nflog', why: '', seen: 12, lost: 0, foreign: 0, malformed: 0 },
    kernel: { knocks: 12, junk: 1000, refused: 40, ended: 0 },
    knocks: { granted: 10, closed: 1, dropped: { replay: 2, seal: 0 } },
    ledger: { place: 'state', marks: 12, note: '' },
    audit: { file: '/var/log/postern/audit.jsonl', state: 'written', lines: 40, head: 'a'.repeat(64), waiting: 0, lost: 0, note: '' },
    tags: 64,
    clients: 2,
    rules_loaded_at: '2026-11-21T17:00:00.000Z',
    grants: [grant(1), grant(2)],
    grants_total: 2,
    recent: [{ time: '2026-11-21T17:00:00.000Z', event: 'refused', client: 'bob', address: '192.0.2.8', services: [], why: 'not-allowed' }],
    ...more,
  };
}

const seen = (more: Partial<WatchReport> = {}, atMs = 1_800_000_000_000): Look => ({ kind: 'seen', report: report(more), atMs });

function shown(options: Partial<ViewOptions> & { readonly look: Look }): string {
  return view({ before: undefined, size: { columns: 100, rows: 30 }, color: false, scroll: 0, ...options }).join('\n');
}

test('who is in, with the time left; what happened last; and the keys', () => {
  const screen = shown({ look: seen() });
  assert.match(screen, /posternd 0\.1\.0 {2}pid 17 {2}up 2h 03m/);
  assert.match(screen, /^g1 {2}client-1 {2}192\.0\.2\.1 {2}ssh {2}31s$/m);
  assert.match(screen, /refused {2}bob from 192\.0\.2\.8: not-allowed$/m);
  assert.match(screen, /replay 2/);
  assert.match(screen, /q quit/);
});

test('why there is nothing to see is not cut, but goes on in the next line', () => {
  const look: Look = { kind: 'unseen', why: 'posternd is not running: start it with "systemctl start posternd"', atMs: 1 };
  assert.match(shown({ look, size: { columns: 30, rows: 10 } }), /^posternd is not running: start\nit with "systemctl start\nposternd"$/m);
});

test('rates are of the time between two looks at the same daemon', () => {
  const before = seen({}, 1_800_000_000_000 - 2000);
  const look = seen({ kernel: { knocks: 12, junk: 1700, refused: 41, ended: 0 } });
  assert.match(shown({ look, before }), /1700 \(350\/s\) junk, 41 \(0\.5\/s\) packets/);
  assert.match(shown({ look, before: seen({ pid: 16 }, 1_800_000_000_000 - 2000) }), /1700 junk/);
  assert.match(shown({ look, before: { kind: 'unseen', why: '', atMs: 1 } }), /1700 junk/);
});

describe('exactly the rows and never more than the columns', () => {
  const many = seen({
    grants: Array.from({ length: 300 }, (_, at) => grant(at)),
    grants_total: 100_000,
    recent: Array.from({ length: 100 }, () => report().recent[0] ?? assert.fail()),
  });
  for (const look of [seen(), many, { kind: 'unseen', why: 'posternd is not running', atMs: 1 } as const]) {
    for (const [columns, rows] of [
      [100, 30],
      [80, 24],
      [40, 10],
      [20, 3],
      [10, 2],
      [3, 1],
      [300, 100],
    ] as const) {
      test(`${look.kind}, ${columns} columns, ${rows} rows`, () => {
        const lines = view({ look, before: undefined, size: { columns, rows }, color: false, scroll: 0 });
        assert.equal(lines.length, rows);
        for (const line of lines) assert.ok([...line.replaceAll(/\x1b\[[0-9;]*m/g, '')].length <= columns, line);
      });
    }
  }
  test('what does not fit is said', () => assert.match(shown({ look: many }), /100000 grants, 999\d\d of them not on the screen/));
  test('scrolling shows the others', () => {
    assert.match(shown({ look: many, scroll: 250 }), /^g250 /m);
    assert.doesNotMatch(shown({ look: many, scroll: 250 }), /^g1 /m);
    assert.equal(mostScroll(many), 299);
  });
});

describe('what is bad is said in words, and in red where there is color', () => {
  const table: readonly (readonly [string, Partial<WatchReport>, RegExp])[] = [
    [
      'the gate is down',
      { gate: { state: 'down', backend: 'nftables', table: 'postern', protected: [] } },
      /gate {5}DOWN: every port is open/,
    ],
    [
      'the ledger cannot be written',
      { ledger: { place: 'none', marks: 1, note: 'full' } },
      /ledger {3}written to NOWHERE, no knock is accepted: full/,
    ],
    [
      'the audit log cannot be written',
      { audit: { file: '/x', state: 'failing', lines: 1, head: null, waiting: 7, lost: 3, note: 'ENOSPC' } },
      /CANNOT BE WRITTEN \(ENOSPC\), 7 entries wait, 3 LOST/,
    ],
    ['packets were lost', { capture: { name: 'nflog', why: '', seen: 1, lost: 2, foreign: 0, malformed: 0 } }, /2 lost/],
  ];
  for (const [text, more, words] of table) {
    test(text, () => {
      assert.match(shown({ look: seen(more) }), words);
      assert.match(shown({ look: seen(more), color: true }), new RegExp(`\\x1b\\[31;1m[^\\n]*${words.source}`));
    });
  }
});

test('no color is used without color, and nothing that a terminal would obey comes through', () => {
  const screen = shown({ look: seen({ grants: [grant(1, { client: 'a\x1b[2Jb\u202ec' })] }) });
  assert.match(screen, /a\\x1b\[2Jb\\u202ec/);
  assert.deepEqual(screen.match(/\x1b\[[0-9;]*m/g), ['\x1b[7m', '\x1b[0m']);
});
