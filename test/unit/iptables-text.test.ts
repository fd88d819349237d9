// The texts that go to iptables-restore and ipset and come back from iptables-save: no kernel. That they do what they say is tested elsewhere.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { monotonicMs } from '../../daemon/clock.ts';
import type { GateLayout } from '../../daemon/firewall/firewall.ts';
import { datedRule, readDatedRule } from '../../daemon/firewall/iptables/dated-rules.ts';
import { cutOf, type Entry, entryKey, liveOf } from '../../daemon/firewall/iptables/entries.ts';
import { notLoaded, notRun } from '../../daemon/firewall/iptables/errors.ts';
import { namesOf } from '../../daemon/firewall/iptables/names.ts';
import { installText, removeText } from '../../daemon/firewall/iptables/restore-text.ts';
import { type Draft, entryChainLines } from '../../daemon/firewall/iptables/ruleset.ts';
import { countersOf, datedEntries, fingerprint, isGate, madeBy, readSaved } from '../../daemon/firewall/iptables/saved.ts';
import { addLine, hasSet, provable, readElements } from '../../daemon/firewall/iptables/sets.ts';
import { backendLimits } from '../../daemon/rules/backend-limits.ts';
import type { AllowEntry, RuleBook } from '../../daemon/rules/rulebook.ts';
import { SpawnError } from '../../daemon/spawn.ts';
import { parseAddress } from '../../protocol/address.ts';
import { parsePortRange } from '../../protocol/ports.ts';

const address = (text: string) => {
  const result = parseAddress(text);
  assert.ok(result.ok);
  return result.value;
};
const port = (text: string) => {
  const result = parsePortRange(text);
  assert.ok(result.ok);
  return result.value;
};
const NAMES = namesOf('postern');
const UNTIL = monotonicMs(5_000_000);
const entry = (kind: Entry['kind'], peer: string, more: Partial<Entry> = {}): Entry => ({
  kind,
  peer: address(peer),
  protocol: 'tcp',
  port: 22,
  sourcePort: 0,
  local: undefined,
  deadlineMs: UNTIL,
  ...more,
});
const LAYOUT: GateLayout = {
  knockPort: 62201,
  interfaces: [],
  protect: [port('tcp/22')],
  trusted: [],
  networks: [],
  refuse: 'drop',
  unmatched: 'drop',
  sieve: { kind: 'log', group: 5, prefix: 'postern' },
  tagCapacity: 1,
};
const NONE = { knocks: 0, junk: 0, refused: 0, ended: 0 };
const draft = (more: Partial<Draft> = {}): Draft => ({
  names: NAMES,
  family: 4,
  layout: LAYOUT,
  backing: 'sets',
  wall: { aheadOfMonotonicMs: 0 },
  entries: [],
  counters: NONE,
  made: [],
  ...more,
});
const EMPTY = { name: 'mangle', chains: [], rules: [], dropping: [] };

describe('a dated rule', () => {
  const entries: readonly Entry[] = [
    entry('grant', '10.77.0.2'),
    entry('ending', 'fd77::2', { protocol: 'udp', port: 53 }),
    entry('bound', '10.77.0.2', { sourcePort: 4000 }),
    entry('bound-ending', 'fd77::2', { sourcePort: 4000 }),
    cutOf({ address: address('10.77.0.2'), protocol: 'tcp', port: 22 }, UNTIL),
    liveOf({ peer: address('10.77.0.2'), peerPort: 4000, local: address('10.77.0.1'), localPort: 22 }, UNTIL),
  ];
  for (const each of entries) {
    test(`of ${entryKey(each)} comes back as it was, with its deadline`, () => {
      for (const wall of [undefined, { aheadOfMonotonicMs: 1_800_000_000_000 }]) {
        // iptables-save writes the length of a host's prefix.
        const saved = datedRule(each, wall, '-j RETURN').replaceAll(
          /-([sd]) (\S+)/g,
          (_, flag, text) => `-${flag} ${text}/${each.peer.family === 4 ? 32 : 128}`,
        );
        assert.deepEqual(readDatedRule(saved), each);
      }
    });
  }

  test('ends by the wall clock, to the nearest second, in UTC', () => {
    const wall = { aheadOfMonotonicMs: Date.UTC(2026, 10, 21, 15) - UNTIL };
    assert.match(
      datedRule(entry('grant', '10.0.0.1', { deadlineMs: monotonicMs(UNTIL + 1499) }), wall, ''),
      / --datestop 2026-11-21T15:00:01 /,
    );
    assert.match(
      datedRule(entry('grant', '10.0.0.1', { deadlineMs: monotonicMs(UNTIL + 1500) }), wall, ''),
      / --datestop 2026-11-21T15:00:02 /,
    );
    assert.doesNotMatch(datedRule(entry('grant', '10.0.0.1'), undefined, ''), /time/);
  });

  for (const [what, text] of [
    ['a rule without a comment', '-s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j RETURN'],
    ["somebody's comment", '-s 10.0.0.1/32 -p tcp -m tcp --dport 22 -m comment --comment "until 5" -j RETURN'],
    ['a kind that we do not have', '-s 10.0.0.1/32 -p tcp -m tcp --dport 22 -m comment --comment "postern once until 5" -j RETURN'],
    ['no source', '-p tcp -m tcp --dport 22 -m comment --comment "postern grant until 5" -j RETURN'],
    ['no port', '-s 10.0.0.1/32 -p tcp -m comment --comment "postern grant until 5" -j RETURN'],
  ] as const) {
    test(`is not read out of ${what}`, () => assert.equal(readDatedRule(text), undefined));
  }
});

describe('the rules', () => {
  test('hold as many ports in one match as it takes: fifteen, a range counts twice', () => {
    const protect = [...Array.from({ length: 14 }, (_, at) => `tcp/${100 + at * 2}`), 'tcp/1000-1010', 'tcp/2000', 'udp/53'].map(port);
    const text = installText(draft({ layout: { ...LAYOUT, protect } }), [EMPTY]);
    const matches = [...text.matchAll(/-A POSTERN-ARRIVED -p (tcp|udp) -m multiport --dports (\S+) -g POSTERN-HERE/g)].map(
      ([, protocol, ports]) => `${protocol} ${ports}`,
    );
    assert.deepEqual(matches, ['tcp 100,102,104,106,108,110,112,114,116,118,120,122,124,126', 'tcp 1000:1010,2000', 'udp 53']);
  });

  test('mark nothing before there is somebody who rejects it, and go on rejecting until nothing is marked', () => {
    const order = (text: string) => [...text.matchAll(/^\*(\w+)$/gm)].map(([, name]) => name);
    assert.deepEqual(order(installText(draft({ layout: { ...LAYOUT, refuse: 'reject' } }), [EMPTY])), ['security', 'filter', 'mangle']);
    const standing = ['mangle', 'filter', 'security'].map((name) =>
      readSaved(name, ':POSTERN - [0:0]\n[0:0] -A INPUT -m mark --mark 0x706f7374 -j POSTERN\n'),
    );
    assert.deepEqual(order(installText(draft(), standing)), ['mangle', 'filter', 'security']);
    assert.deepEqual(order(removeText(NAMES, standing.toReversed()) ?? ''), ['mangle', 'filter', 'security']);
    assert.equal(removeText(NAMES, [EMPTY]), undefined);
  });

  test('name nobody else: not a chain, not a rule, whatever stands there', () => {
    const others = readSaved(
      'mangle',
      ':PREROUTING ACCEPT [0:0]\n:POSTERN2 - [0:0]\n:POSTERNS - [0:0]\n:POSTERN-OLD - [0:0]\n[1:2] -A PREROUTING -j POSTERN2\n[1:2] -A PREROUTING -j POSTERN\n[1:2] -A POSTERN2 -j DROP\n',
    );
    const text = `${installText(draft(), [others])}${removeText(NAMES, [others])}`;
    assert.deepEqual(
      [...text.matchAll(/^-[AIDFX] (\S+)/gm)]
        .map(([, chain]) => chain ?? '')
        .filter((chain) => chain !== 'PREROUTING' && !/^POSTERN(-|$)/.test(chain)),
      [],
    );
    assert.match(text, /^-F POSTERN-OLD\n-X POSTERN-OLD$/m);
    assert.deepEqual(
      [...text.matchAll(/^-D PREROUTING .*$/gm)].map(([line]) => line),
      ['-D PREROUTING -j POSTERN', '-D PREROUTING -j POSTERN'],
    );
  });

  test('of one family hold no address of the other', () => {
    const entries = [
      entry('bound', '10.0.0.1', { sourcePort: 1 }),
      entry('bound', 'fd00::1', { sourcePort: 1 }),
      entry('grant', '10.0.0.2'),
    ];
    const text = entryChainLines(draft({ family: 6, entries })).join('\n');
    assert.match(text, /fd00::1/);
    assert.doesNotMatch(text, /10\.0\.0/);
    assert.doesNotMatch(entryChainLines(draft({ entries })).join('\n'), /10\.0\.0\.2/, 'a grant is an element where there are sets');
    assert.match(entryChainLines(draft({ entries, backing: 'rules' })).join('\n'), /10\.0\.0\.2/);
  });
});

describe('what iptables-save prints', () => {
  const saved = (more = '', before = '') =>
    readSaved(
      'mangle',
      `# Generated\n*mangle\n:PREROUTING DROP [5:6]\n:POSTERN - [0:0]\n${before}[7:8] -A PREROUTING -j POSTERN\n[1:2] -A POSTERN -m comment --comment "postern made mangle mangle/PREROUTING"\n[3:99] -A POSTERN -m comment --comment "postern refused" -j DROP\n${more}COMMIT\n`,
    );
  test('tells whether the gate stands, its counters, what it made, what drops by default', () => {
    assert.equal(isGate(saved(), NAMES), true);
    assert.equal(isGate(saved(), namesOf('other')), false);
    assert.deepEqual(countersOf(saved(), NAMES), { ...NONE, refused: 3 });
    assert.deepEqual(madeBy(saved(), NAMES), ['mangle', 'mangle/PREROUTING']);
    assert.deepEqual(saved().dropping, ['PREROUTING']);
  });
  test('changes its fingerprint with every rule of ours, and with nothing else', () => {
    const before = fingerprint(saved(), NAMES);
    const dated = datedRule(entry('grant', '10.0.0.1'), undefined, '-j RETURN').replace('10.0.0.1', '10.0.0.1/32');
    assert.equal(fingerprint(saved(`[0:0] -A POSTERN ${dated}\n`), NAMES), before, 'entries come and go');
    assert.equal(datedEntries(saved(`[0:0] -A POSTERN ${dated}\n`), NAMES).length, 1);
    assert.equal(fingerprint(saved('[0:0] -A INPUT -j DROP\n'), NAMES), before, 'rules of others');
    assert.equal(fingerprint(saved('', '[0:0] -A PREROUTING -j LOG\n'), NAMES), before, 'before ours, but not in its way');
    assert.notEqual(fingerprint(saved('', '[0:0] -A PREROUTING -p tcp -j ACCEPT\n'), NAMES), before, 'a bypass');
    assert.notEqual(fingerprint(saved('[0:0] -A POSTERN -j RETURN\n'), NAMES), before);
    assert.notEqual(fingerprint(saved('[0:0] -A PREROUTING -j POSTERN\n'), NAMES), before);
  });
});

describe('sets', () => {
  const now = monotonicMs(1_000_000);
  const line = (ms: number) => {
    const grant = entry('grant', '10.0.0.1', { deadlineMs: monotonicMs(now + ms) });
    assert.ok(hasSet(grant));
    return addLine(NAMES, grant, now);
  };
  for (const [ms, seconds] of [
    [30_000, 30],
    [29_800, 30], // a moment late
    [29_700, 29],
    [1000, 1],
    [700, undefined],
    [-5, undefined],
    [Number.NaN, undefined],
    [30 * 86_400_000, 2_147_483],
  ] as const) {
    test(`${ms} ms are ${seconds ?? 'no'} seconds`, () =>
      assert.equal(line(ms), seconds === undefined ? undefined : `add postern-grant4 10.0.0.1,tcp:22 timeout ${seconds}`));
  }
  test('are read back, ours only', () => {
    const text =
      'ipset> create postern-grant4 hash:ip,port\nadd postern-grant4 10.0.0.1,tcp:22 timeout 9\nipset> ipset> add postern-cut6 fd00::1,udp:53 timeout 5\nadd postern2-grant4 10.0.0.9,tcp:22 timeout 9\nadd postern-live4 10.0.0.1,tcp:4000,10.0.0.2 timeout 9\n';
    assert.deepEqual(
      readElements(NAMES, text, now).map((each) => `${entryKey(each)}${each.deadlineMs - now}`),
      ['grant 10.0.0.1 tcp 22 0 9000', 'cut fd00::1 udp 53 0 5000'],
    );
  });
});

describe('failures in plain words', () => {
  for (const [stderr, code, text] of [
    [
      'Warning: cannot open /etc/xtables/connlabel.conf\niptables-restore v1.8.9: Permission denied (you must be root)',
      'NO_PERMISSION',
      /not permitted/,
    ],
    ["iptables-nft-restore v1.8.9 (nf_tables): Can't open socket to ipset.", 'NO_PERMISSION', /CAP_NET_RAW|not permitted/],
    ['ipset v7.17: Error in line 3: Hash is full, cannot add more elements', 'SET_FULL', /a set of the gate is full/],
    ['Another app is currently holding the xtables lock; still 9s', 'LOCKED', /another iptables/],
    ["iptables-restore v1.8.9 (legacy): Set postern-grant4 doesn't exist.", 'GATE_MISSING', /not there/],
    ["iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'mangle'", 'UNUSABLE', /kernel lacks/],
    ["iptables-nft-restore v1.8.9 (nf_tables): Couldn't load match `connlabel':No such file or directory", 'UNUSABLE', /kernel lacks/],
    ['\u001b[31msomething new\u001b[0m', 'REFUSED', /refused/],
    ['', 'REFUSED', /exit code 4/],
  ] as const) {
    test(`${JSON.stringify(stderr.slice(0, 40))} is ${code}`, () => {
      const error = notLoaded({ code: 4, stdout: '', stderr }, 'iptables-restore', 'open');
      assert.equal(error.code, code);
      assert.match(error.message, text);
      assert.doesNotMatch(error.message, /\u001b|Warning/);
    });
  }
  test('what is not installed can be installed', () => {
    const error = notRun(new SpawnError('MISSING', 'ip6tables is not installed'), 'ip6tables', 'use the iptables backend');
    assert.deepEqual([error.code, error.cure], ['UNUSABLE', 'install it: apt install iptables']);
    assert.equal(notRun(new SpawnError('MISSING', ''), 'ipset', 'make sets').cure, 'install it: apt install ipset');
    assert.equal(notRun(new SpawnError('TIMEOUT', 'iptables took longer'), 'iptables', 'open').code, 'FAILED');
  });
});

test('rules that only nftables can follow are named once each, where they stand', () => {
  const place = { file: '/r/a.yaml', line: 3, column: 5 };
  const entries = [{ once: true, place } as AllowEntry, { once: false, place: { ...place, line: 9 } } as AllowEntry];
  const book = { clients: [{ allow: entries }, { allow: entries }] } as unknown as RuleBook;
  assert.deepEqual(backendLimits('nftables', book, 'error'), []);
  const [problem, ...more] = backendLimits('iptables', book, 'error');
  assert.deepEqual([problem?.place, problem?.severity, more.length], [place, 'error', 0]);
});

test('what ipset is told ends with a line whose answer proves that it was heard, unless sets are only destroyed', () => {
  assert.deepEqual(provable(['add a x', 'del b y']), { text: 'add a x\ndel b y\nlist -name b\n', proof: 'b' });
  assert.deepEqual(provable(['create a z', 'destroy b']), { text: 'create a z\ndestroy b\nlist -name a\n', proof: 'a' });
  assert.deepEqual(provable(['destroy a']), { text: 'destroy a\n', proof: undefined });
});
