// Rules that overlap, contradict each other or can never match: each is a warning with both places, and the rules hold. What is right is not warned of.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PlacedNetwork } from '../../daemon/config/config.ts';
import { holdsWithin } from '../../daemon/rules/time-window.ts';
import { parseNetwork } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { line, load, NOW } from './rules-ground.ts';

/** Line 1 to 3; entries begin in line 5. */
const CLIENT = `clients:\n  - name: alice\n    key: ${line(1)}\n`;
const entries = (...all: readonly string[]) => `allow:\n${all.map((each) => `  - ${each}\n`).join('')}`;
const bounded = (name: string, expires: string) => `clients:\n  - name: ${name}\n    key: ${line(2)}\n    expires: ${expires}\n`;
const keysFile = (file: string) => `clients:\n  - name: bob\n    keys_file: ${file}\n`;

function trust(...texts: readonly string[]): { readonly trusted: readonly PlacedNetwork[] } {
  return {
    trusted: texts.map((text, at) => {
      const network = parseNetwork(text);
      assert.ok(network.ok);
      return { ...network.value, place: { file: 'postern.yaml', line: 7, column: 11 + at } };
    }),
  };
}

type Row = {
  readonly text: string;
  readonly files: Readonly<Record<string, string>>;
  /** None: nothing is wrong. */
  readonly told: readonly string[];
  readonly more?: Parameters<typeof load>[3];
  readonly protect?: readonly string[];
};

const FIRST_DECIDES = 'the first entry that gives a service decides about it, whatever its from and when are: make one entry of them';

const OVERLAPS: readonly Row[] = [
  {
    text: 'the same entry twice',
    files: { 'a.yaml': CLIENT + entries('services: [ssh]', 'services: [ssh]') },
    told: ['a.yaml:6:5: warning: this entry is never reached: the one at a.yaml:5:5 decides all that it gives: put it first, or remove it'],
  },
  {
    text: 'the same service with another lifetime',
    files: { 'a.yaml': CLIENT + entries('{ services: [ssh], ttl: 30s }', '{ services: [tcp/22], ttl: 1h }') },
    told: [
      'a.yaml:6:5: warning: this entry is never reached: the one at a.yaml:5:5 decides all that it gives, and says something else of ttl, max_ttl: put it first, or remove it',
    ],
  },
  {
    text: 'the same service from two networks in two entries: the second is never asked',
    files: {
      'a.yaml': CLIENT + entries('{ services: [ssh], from: [10.0.0.0/8] }', '{ services: [ssh], from: [172.16.0.0/12], once: true }'),
    },
    told: [
      `a.yaml:6:5: warning: this entry is never reached: the one at a.yaml:5:5 decides all that it gives, and says something else of from, once: ${FIRST_DECIDES}`,
    ],
  },
  {
    text: 'at other times in a second entry',
    files: {
      'a.yaml':
        CLIENT +
        entries(
          '{ services: [ssh], when: "* 8-17 * * mon-fri", timezone: UTC }',
          '{ services: [ssh], when: "* * * * sat,sun", timezone: UTC, sessions: end }',
        ),
    },
    told: [
      `a.yaml:6:5: warning: this entry is never reached: the one at a.yaml:5:5 decides all that it gives, and says something else of when, sessions: ${FIRST_DECIDES}`,
    ],
  },
  {
    text: 'one of two services is decided already',
    files: { 'a.yaml': CLIENT + entries('services: [ssh]', 'services: [admin, ssh]') },
    told: ['a.yaml:6:5: warning: the entry at a.yaml:5:5 decides ssh already: put it first, or remove it'],
  },
  {
    text: 'two services that two entries decide',
    files: { 'a.yaml': CLIENT + entries('services: [ssh]', 'services: [admin]', 'services: [ssh, admin]') },
    told: [
      'a.yaml:7:5: warning: this entry is never reached: those at a.yaml:5:5 and a.yaml:6:5 decide all that it gives: put it first, or remove it',
    ],
  },
  {
    text: 'a port within an earlier range',
    files: { 'a.yaml': CLIENT + entries('services: [tcp/1-1000]', 'services: [ssh]') },
    protect: ['tcp/1-1000'],
    told: ['a.yaml:6:5: warning: this entry is never reached: the one at a.yaml:5:5 decides all that it gives: put it first, or remove it'],
  },
  {
    text: 'ranges that cross',
    files: { 'a.yaml': CLIENT + entries('services: [tcp/9000-9010]', 'services: [tcp/9005-9020]') },
    protect: ['tcp/9000-9020'],
    told: ['a.yaml:6:5: warning: the entry at a.yaml:5:5 decides tcp/9005-9010 of tcp/9005-9020 already: put it first, or remove it'],
  },
  {
    text: 'the same service in two files, for those who stand in both',
    files: {
      'a.yaml': `clients:\n  - name: alice\n    key: ${line(1)}\n  - name: carol\n    key: ${line(3)}\n${entries('services: [ssh]')}`,
      'b.yaml': `clients:\n  - name: bob\n    key: ${line(2)}\n  - ref: alice\n  - ref: carol\n${entries('{ services: [ssh], ttl: 5m }')}`,
    },
    told: [
      'b.yaml:7:5: warning: for client "alice" and 1 more this entry is never reached: the one at a.yaml:7:5 decides all that it gives, and says something else of ttl, max_ttl: put it first, or remove it',
    ],
  },
  {
    text: 'one service under two names in one entry',
    files: { 'a.yaml': CLIENT + entries('services: [ssh, admin, tcp/22]') },
    told: ['a.yaml:5:28: warning: tcp/22 overlaps with ssh at a.yaml:5:16: remove one of them'],
  },
  {
    text: 'a network within another',
    files: { 'a.yaml': CLIENT + entries('{ services: [ssh], from: [10.1.0.0/16, 10.0.0.0/8] }') },
    told: ['a.yaml:5:31: warning: 10.1.0.0/16 is part of 10.0.0.0/8 at a.yaml:5:44: remove it'],
  },
];

const NEVER: readonly Row[] = [
  {
    text: 'only from networks that are trusted',
    files: { 'a.yaml': CLIENT + entries('{ services: [ssh], from: [10.1.0.0/16, 10.2.0.0/16] }') },
    more: trust('192.168.0.0/16', '10.0.0.0/8'),
    told: [
      'a.yaml:5:5: warning: from names only networks that are trusted (10.0.0.0/8 at postern.yaml:7:12): they are never gated, and need no entry: remove this entry, or take the networks out of trusted:',
    ],
  },
  {
    text: 'from a network that no knock is taken from (P32)',
    files: { 'a.yaml': CLIENT + entries('{ services: [ssh], from: [127.0.0.0/8] }') },
    told: ['a.yaml:5:31: warning: no knock is taken from 127.0.0.0/8 (loopback): name networks that clients come from'],
  },
  {
    text: 'from where the from= of the key never is',
    files: {
      'a.yaml': keysFile('../bob.keys') + entries('{ services: [ssh], from: [192.168.20.0/24] }'),
      '../bob.keys': `# bob\nfrom="10.0.0.0/8,fd00::/8" ${line(4)}\n`,
    },
    told: [
      'a.yaml:5:5: warning: client "bob" can never use this entry: from shares no address with the from= of its key at /bob.keys:2:1: correct one of them',
    ],
  },
  {
    text: 'a client that ends before the window comes',
    // Today is a Saturday, 12:00 UTC.
    files: { 'a.yaml': bounded('erik', '2026-11-22') + entries('{ services: [ssh], when: "* 8-17 * * mon-fri", timezone: UTC }') },
    told: ['a.yaml:6:5: warning: client "erik" (a.yaml:2:5) expires before this time window comes: set a later date, or another window'],
  },
  {
    text: 'a reference to somebody who is disabled',
    files: {
      'a.yaml': `${CLIENT}    enabled: false\n  - name: carol\n    key: ${line(3)}\n${entries('services: [ssh]')}`,
      'b.yaml': `clients:\n  - ref: alice\n${entries('services: [admin]')}`,
    },
    told: ['b.yaml:2:10: warning: client "alice" is disabled at a.yaml:2:5: this reference gives nothing: remove it, or enable the client'],
  },
  {
    text: 'a reference to somebody who has expired',
    files: {
      'a.yaml': `${bounded('erik', '2026-11-01')}  - name: carol\n    key: ${line(3)}\n${entries('services: [ssh]')}`,
      'b.yaml': `clients:\n  - ref: erik\n${entries('services: [admin]')}`,
    },
    told: [
      'a.yaml:2:5: warning: client "erik" has expired: set a later date or remove it',
      'b.yaml:2:10: warning: client "erik" has expired at a.yaml:2:5: this reference gives nothing: remove it, or enable the client',
    ],
  },
  {
    text: 'a client whose every key has expired',
    files: {
      'a.yaml': `${keysFile('../bob.keys')}  - name: carol\n    key: ${line(3)}\n${entries('services: [ssh]')}`,
      '../bob.keys': `expiry-time="20260101Z" ${line(4)}\n`,
    },
    told: ['a.yaml:2:5: warning: every key of client "bob" has expired: add a key, or a later expiry-time'],
  },
  {
    text: 'more services by default than max_grants',
    files: { 'a.yaml': CLIENT + entries('services: [ssh]', 'services: [admin]') },
    more: { maxGrants: 1 },
    told: [
      'a.yaml:2:5: warning: client "alice" is refused whenever its knock names nothing: a.yaml:5:5 and a.yaml:6:5 give 2 services, and max_grants is 1: write default: false for some',
    ],
  },
  {
    text: 'more ports by default than one knock may open, in two entries',
    files: { 'a.yaml': CLIENT + entries('services: [tcp/1000-1999]', 'services: [tcp/3000-3999]') },
    protect: ['tcp/1000-3999'],
    told: [
      'a.yaml:2:5: warning: client "alice" is refused whenever its knock names nothing: a.yaml:5:5 and a.yaml:6:5 give 2000 ports, more than the 1024 of one knock: write default: false for some',
    ],
  },
];

const RIGHT: readonly Row[] = [
  { text: 'by default behind one that is given only when asked for', entries: ['{ services: [ssh], default: false }', 'services: [ssh]'] },
  { text: 'ranges that touch', entries: ['services: [tcp/9000-9010]', 'services: [tcp/9011-9020]'] },
  { text: 'the same port by another protocol', entries: ['services: [tcp/9000]', 'services: [udp/9000]'] },
  { text: 'from a network of which a part is trusted', entries: ['{ services: [ssh], from: [10.0.0.0/8] }'] },
  { text: 'from anywhere', entries: ['{ services: [ssh], from: [0.0.0.0/0, "::/0"] }'] },
].map((row) => ({
  text: row.text,
  files: { 'a.yaml': CLIENT + entries(...row.entries) },
  protect: ['tcp/22', 'tcp/9000-9020', 'udp/9000'],
  more: trust('10.1.0.0/16'),
  told: [],
}));

const MORE_RIGHT: readonly Row[] = [
  {
    text: 'the same service in two files for different people',
    files: {
      'a.yaml': CLIENT + entries('services: [ssh]'),
      'b.yaml': `clients:\n  - name: bob\n    key: ${line(2)}\n${entries('{ services: [ssh], ttl: 5m }')}`,
    },
    told: [],
  },
  {
    text: 'a window that comes just before the client ends',
    files: {
      'a.yaml': bounded('erik', '2026-11-23T08:01:00Z') + entries('{ services: [ssh], when: "* 8-17 * * mon-fri", timezone: UTC }'),
    },
    told: [],
  },
  {
    text: 'a window that comes in half a year, for a client of a year',
    files: { 'a.yaml': bounded('erik', '2027-11-21') + entries('{ services: [ssh], when: "* * 1 6 *", timezone: UTC }') },
    told: [],
  },
  {
    text: 'a key of two that may come from there',
    files: {
      'a.yaml': keysFile('../bob.keys') + entries('{ services: [ssh], from: [192.168.20.0/24] }'),
      '../bob.keys': `from="10.0.0.0/8" ${line(4)}\nfrom="192.168.0.0/16" ${line(5)}\n`,
    },
    told: [],
  },
];

for (const [title, rows] of [
  ['rules that overlap or contradict each other: a warning with both places, and the rules hold', OVERLAPS],
  ['rules that can never match: a warning with both places, and the rules hold', NEVER],
  ['rules that are right: no false alarm', [...RIGHT, ...MORE_RIGHT]],
] as const) {
  describe(title, () => {
    for (const { text, files, protect, more, told } of rows) {
      it(text, async () => {
        const { book, lines } = await load(files, protect, NOW, more);
        assert.notEqual(book, undefined, lines.join('\n'));
        assert.deepEqual(lines, told);
      });
    }
  });
}

describe('whether a time window comes', () => {
  const at = (text: string) => unixMs(Date.parse(text));
  for (const [text, cron, timezone, from, until, expected] of [
    ['in the same minute', '0 12 * * *', 'UTC', '2026-11-21T12:00:30Z', '2026-11-21T12:00:40Z', true],
    ['not when it has just gone', '0 12 * * *', 'UTC', '2026-11-21T12:01:00Z', '2026-11-22T12:00:00Z', false],
    ['a day later', '0 12 * * *', 'UTC', '2026-11-21T12:01:00Z', '2026-11-22T12:00:01Z', true],
    ['where hours begin at a quarter', '0 12 * * *', 'Asia/Kathmandu', '2026-11-21T00:00:00Z', '2026-11-21T06:15:01Z', true],
    ['and not before', '0 12 * * *', 'Asia/Kathmandu', '2026-11-21T00:00:00Z', '2026-11-21T06:15:00Z', false],
    [
      'an hour that the change of the clock leaves out (P37)',
      '* 2 28 3 *',
      'Europe/Berlin',
      '2027-03-27T23:00:00Z',
      '2027-03-28T22:00:00Z',
      false,
    ],
  ] as const) {
    it(`${text}: ${expected ? 'yes' : 'no'}`, () => {
      assert.equal(holdsWithin({ cron: [cron], timezone }, at(from), at(until)), expected);
    });
  }
});
