// What rule files may say, across files too, and what one is told about everything else (P33 to P36).
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { line, load } from './rules-ground.ts';

const ALLOW = 'allow:\n  - services: [ssh]\n';
const CLIENT = `clients:\n  - name: alice\n    key: ${line(1)}\n`;
/** A client's own lines stand from line 3 on, an entry's from line 5. */
const client = (lines: string) => `clients:\n  - name: alice\n    ${lines}\n${ALLOW}`;
const entry = (lines: string) => `${CLIENT}allow:\n  - services: [ssh]\n    ${lines}\n`;

type Case = readonly [text: string, file: string, expected: string | RegExp];

const MISTAKES: readonly Case[] = [
  ['an unknown key of a client', client(`key: ${line(1)}\n    slot: 3`), 'a.yaml:4:5: unknown key "slot": did you mean "slots"?'],
  ['an unknown key of an entry', entry('max-ttl: 1h'), 'a.yaml:6:5: unknown key "max-ttl": did you mean "max_ttl"?'],
  ['an unknown key of the file', `client: []\n${CLIENT}${ALLOW}`, 'a.yaml:1:1: unknown key "client": did you mean "clients"?'],
  ['no key', client('slots: 3'), 'a.yaml:2:5: this client has no key: add key: with its ssh-ed25519 line'],
  ['no name', `clients:\n  - key: ${line(1)}\n${ALLOW}`, 'a.yaml:2:5: this client has no name: add name:'],
  [
    'a client that is only a word',
    `clients: [alice]\n${ALLOW}`,
    /^a.yaml:1:11: a client must be a map of keys and values, but "alice" stands here/,
  ],
  ['clients that are a map', `clients: { alice: 1 }\n${ALLOW}`, /^a.yaml:1:10: clients must be a list/],
  ['an RSA key', client('key: ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== me'), /^a.yaml:3:10: .*RSA/i],
  ['an ECDSA key', client('key: ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= me'), /^a.yaml:3:10: .*ECDSA/i],
  ['a security key', client('key: sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t me'), /^a.yaml:3:10: /],
  ['half a key', client('key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me'), /^a.yaml:3:10: /],
  [
    'a key that is of small order (P1)',
    client(
      `key: ssh-ed25519 ${Buffer.concat([Buffer.from('0000000b7373682d6564323535313900000020', 'hex'), Buffer.alloc(32)]).toString('base64')} x`,
    ),
    /^a.yaml:3:10: /,
  ],
  ['slots 0', client(`key: ${line(1)}\n    slots: 0`), 'a.yaml:4:12: slots must be at least 1: correct the number'],
  ['slots 65', client(`key: ${line(1)}\n    slots: 65`), 'a.yaml:4:12: slots must be at most 64: correct the number'],
  [
    'enabled: no',
    client(`key: ${line(1)}\n    enabled: no`),
    'a.yaml:4:14: enabled must be true or false, but "no" stands here: in YAML 1.2 no is text: write false',
  ],
  ['a date that does not exist', client(`key: ${line(1)}\n    expires: 2027-02-30`), /^a.yaml:4:14: no such date or time/],
  ['a German date', client(`key: ${line(1)}\n    expires: 31.3.2027`), /^a.yaml:4:14: not a date: write 2027-03-31/],
  ['a time without its zone', client(`key: ${line(1)}\n    expires: 2027-03-31T18:00:00`), /^a.yaml:4:14: a time needs its zone/],
  [
    'a pre-shared key that is missing',
    client(`key: ${line(1)}\n    psk_file: ../psk/none`),
    /^a.yaml:4:15: client "alice": there is no file \/psk\/none/,
  ],
  ['three pre-shared keys', client(`key: ${line(1)}\n    psk_file: [a, b, c]`), /^a.yaml:4:15: psk_file must have at most 2 entries/],
  ['an entry without services', `${CLIENT}allow:\n  - ttl: 30s\n`, 'a.yaml:5:5: this entry names no services: add services: [ssh]'],
  [
    'a service that nobody defined',
    `${CLIENT}allow:\n  - services: [ssh, admim]\n`,
    'a.yaml:5:21: no service is called "admim": did you mean "admin"?',
  ],
  [
    'ttl longer than max_ttl',
    entry('ttl: 2h\n    max_ttl: 1h'),
    'a.yaml:6:10: ttl is longer than max_ttl: make ttl shorter or max_ttl longer',
  ],
  ['from with nothing in it, which must not mean anywhere', entry('from: []'), /^a.yaml:6:11: from must have at least 1 entry/],
  ['from without a value', entry('from:'), /^a.yaml:6:10: from must be a list, but nothing stands here/],
  ['from with host bits', entry('from: [10.0.0.1/24]'), 'a.yaml:6:12: 10.0.0.1/24 has host bits set: did you mean 10.0.0.0/24?'],
  ['sessions: kill', entry('sessions: kill'), /^a.yaml:6:15: sessions must be keep or end/],
  [
    'more ports by default than one knock may open',
    `${CLIENT}allow:\n  - services: [tcp/1-2000]\n`,
    /^a.yaml:5:15: this entry gives more than 1024 ports by default/,
  ],
  ['a cron form of six fields', entry('when: "0 * 8-17 * * 1"'), /^a.yaml:6:11: not a time window: .*write five fields/],
  [
    'a cron form with a range that is too long to be written down',
    entry('when: "* 8-17 * * 1-4294967295"'),
    /^a.yaml:6:11: not a time window/,
  ],
  ['a cron form with a number of three digits', entry('when: "*/100 * * * *"'), /^a.yaml:6:11: not a time window/],
  ['a cron form that is none', entry('when: "* 8-27 * * mon-fri"'), /^a.yaml:6:11: not a time window/],
  ['a zone that does not exist', entry('timezone: Europe/Berlni'), /^a.yaml:6:15: no time zone is called "Europe\/Berlni"/],
  ['a list of cron forms with one that is none', entry('when: ["* 8-17 * * mon-fri", "every day"]'), /^a.yaml:6:34: not a time window/],
  [
    'a date that never comes',
    entry('when: "* * 31 feb,apr *"'),
    /^a.yaml:6:11: this time window never comes: .*names a day that no such month has/,
  ],
  ['the 30th of February', entry('when: "* 8-17 30 2 *"'), /^a.yaml:6:11: this time window never comes/],
  [
    'a reference with more than a name',
    `clients:\n  - ref: bob\n    slots: 3\n${ALLOW}`,
    /^a.yaml:3:5: unknown key "slots": a reference to a client knows ref/,
  ],
];

const NAMES = ['', '-rf', '.', '../x', 'a b', 'a;reboot', '$(id)', 'a\\n', 'ä', 'x'.repeat(65), '10.0.0.1', 'fd00::1', '"a\\u001b[31m"'];

describe('rule files: each mistake is named with its place and its cure, and no rule holds', () => {
  for (const [text, file, expected] of MISTAKES) {
    it(text, async () => {
      const { book, lines } = await load({ 'a.yaml': file, 'z.yaml': `clients:\n  - name: bob\n    key: ${line(9)}\n${ALLOW}` });
      assert.equal(book, undefined);
      const errors = lines.filter((each) => !each.includes('warning:'));
      assert.equal(errors.length, 1, lines.join('\n'));
      if (typeof expected === 'string') assert.equal(errors[0], expected);
      else assert.match(errors[0] ?? '', expected);
    });
  }

  for (const name of NAMES) {
    it(`P33 a client is not called ${JSON.stringify(name)}`, async () => {
      const { book, lines } = await load({
        'a.yaml': `clients:\n  - name: ${name.startsWith('"') ? name : `'${name}'`}\n    key: ${line(1)}\n${ALLOW}`,
      });
      assert.equal(book, undefined);
      assert.match(lines.join('\n'), /not a client name/);
      assert.doesNotMatch(lines.join(''), /\p{Cc}/u);
    });
  }

  it('names everything in one run: several files, clients, entries and keys', async () => {
    const { book, lines } = await load({
      'a.yaml': `clients:\n  - name: alice\n    key: ${line(1)}\n    slots: 99\n  - name: b!\n    key: ${line(2)}\nallow:\n  - services: [nosuch]\n    ttl: 5\n`,
      'b.yaml': `clients:\n  - ref: nobody\n  - name: alice\n    key: ${line(1)}\nallow: 5\n`,
      'c.yaml': 'clients: [\n',
    });
    assert.equal(book, undefined);
    const places = lines.map((each) => each.split(': ')[0]);
    assert.deepEqual(places, [
      'a.yaml:4:12',
      'a.yaml:5:11',
      'a.yaml:8:16',
      'a.yaml:9:10',
      'b.yaml:2:10',
      'b.yaml:3:5',
      'b.yaml:5:8',
      'c.yaml:2:1',
    ]);
  });
});

describe('rule files together', () => {
  it('one key belongs to one client: both places are named', async () => {
    const { book, lines } = await load({
      'a.yaml': `clients:\n  - name: alice\n    key: ${line(1)}\n${ALLOW}`,
      'b.yaml': `clients:\n  - name: bob\n    key: ${line(1, 'other comment')}\n${ALLOW}`,
    });
    assert.equal(book, undefined);
    assert.deepEqual(lines, [
      'b.yaml:3:10: this key stands already for client "alice" at a.yaml:3:10: one key belongs to one client: remove one of them',
    ]);
  });

  it('one name belongs to one client: both places are named', async () => {
    const { lines } = await load({ 'a.yaml': `${CLIENT}${ALLOW}`, 'b.yaml': `clients:\n  - name: alice\n    key: ${line(2)}\n${ALLOW}` });
    assert.deepEqual(lines, [
      'b.yaml:2:5: the client "alice" is defined already at a.yaml:2:5: write "- ref: alice" here, or choose another name',
    ]);
  });

  it('a reference brings the entries of its file, in the order of the file names', async () => {
    const { book, lines } = await load({
      '20-b.yaml': `clients:\n  - name: alice\n    key: ${line(1)}\nallow:\n  - services: [ssh]\n    ttl: 20s\n`,
      '10-a.yaml': 'clients:\n  - ref: alice\nallow:\n  - services: [admin]\n    ttl: 10s\n',
      'deep/x.yaml': 'clients:\n  - ref: alice\nallow:\n  - services: [tcp/22]\n    default: false\n    ttl: 30s\n',
    });
    assert.deepEqual(lines, [
      'deep/x.yaml:4:5: warning: for client "alice" this entry is never reached: the one at 20-b.yaml:5:5 decides all that it gives, and says something else of ttl, max_ttl: put it first, or remove it',
    ]);
    assert.deepEqual(
      book?.clients[0]?.allow.map(({ ttlSeconds }) => ttlSeconds),
      [10, 20, 30],
    );
  });

  it('a reference to nobody is an error with a suggestion', async () => {
    const { lines } = await load({ 'a.yaml': `${CLIENT}${ALLOW}`, 'b.yaml': `clients:\n  - ref: alcie\n${ALLOW}` });
    assert.deepEqual(lines, ['b.yaml:2:10: no client is called "alcie": did you mean "alice"?']);
  });

  it('values and their defaults', async () => {
    const { book, lines } = await load({
      'a.yaml': `name: ops\nclients:\n  - name: alice\n    key: [${line(1)}, ${line(2)}]\n    psk_file: [../psk1, ../psk2]\n    expires: 2027-03-31\nallow:\n  - services: [ssh]\n  - services: [admin]\n    max_ttl: 10s\n    default: false\n`,
      '../psk1': `${Buffer.from(Array.from({ length: 32 }, (_, at) => at)).toString('base64')}\n`,
      '../psk2': `${Buffer.from(Array.from({ length: 32 }, (_, at) => at + 1)).toString('base64')}\n`,
    });
    assert.deepEqual(lines, []);
    const alice = book?.clients[0];
    assert.equal(alice?.keys.length, 2);
    assert.equal(alice?.presharedKeys.length, 2);
    assert.equal(alice?.slots, 16);
    assert.equal(alice?.enabled, true);
    assert.equal(alice?.expiresAtMs, Date.UTC(2027, 3, 1));
    assert.deepEqual(
      alice?.allow.map(({ ttlSeconds, maxTtlSeconds, byDefault }) => [ttlSeconds, maxTtlSeconds, byDefault]),
      [
        [30, 30, true],
        [10, 10, false],
      ],
    );
  });

  it('time windows: one form or several, in the zone that is named or in that of the host', async () => {
    const { book, lines } = await load({
      'a.yaml': `${CLIENT}allow:
  - services: [ssh]
    when: "* 8-17 * * mon-fri"
    timezone: Europe/Berlin
  - services: [admin]
    when: ["* 8-11 * * *", "0-29 12 * * *"]
  - services: [tcp/8443]
    timezone: Europe/Berlin
`,
    });
    assert.deepEqual(
      book?.clients[0]?.allow.map(({ when }) => when),
      [
        { cron: ['* 8-17 * * mon-fri'], timezone: 'Europe/Berlin' },
        { cron: ['* 8-11 * * *', '0-29 12 * * *'], timezone: new Intl.DateTimeFormat().resolvedOptions().timeZone },
        undefined,
      ],
    );
    assert.ok(
      lines.includes('a.yaml:11:5: warning: timezone without when: this entry holds at any time: add when:, or remove it'),
      lines.join('\n'),
    );
  });

  it('the same pre-shared key twice is an error', async () => {
    const psk = `${Buffer.from(Array.from({ length: 32 }, (_, at) => at)).toString('base64')}\n`;
    const { book, lines } = await load({
      'a.yaml': client(`key: ${line(1)}\n    psk_file: [../psk1, ../psk2]`),
      '../psk1': psk,
      '../psk2': psk,
    });
    assert.equal(book, undefined);
    assert.match(lines[0] ?? '', /^a.yaml:4:25: client "alice": the same pre-shared key twice/);
  });

  it("other files in the folder: .yml is mentioned, editors' own are not", async () => {
    const { book, lines } = await load({
      'a.yaml': `${CLIENT}${ALLOW}`,
      'b.yml': 'rubbish: [',
      '.#a.yaml': 'rubbish: [',
      'a.yaml~': 'rubbish: [',
      'c.yaml': '# later\n',
    });
    assert.equal(book?.clients.length, 1);
    assert.deepEqual(lines, ['b.yml:1:1: warning: this file is not read: rename it: rule files end in .yaml']);
  });
});

describe('rules that stand and are most likely not meant', () => {
  const warnings: readonly (readonly [text: string, files: Record<string, string>, expected: RegExp])[] = [
    ['P36 no client at all', {}, /^warning: no client can knock/],
    ['P36 nobody enabled', { 'a.yaml': client(`key: ${line(1)}\n    enabled: false`) }, /^warning: no client can knock/],
    ['P36 everybody expired', { 'a.yaml': client(`key: ${line(1)}\n    expires: 2026-11-20`) }, /^warning: no client can knock/],
    [
      'a client that has expired',
      { 'a.yaml': client(`key: ${line(1)}\n    expires: 2026-11-20`) },
      /a.yaml:2:5: warning: client "alice" has expired/,
    ],
    ['a client with nothing allowed', { 'a.yaml': CLIENT }, /a.yaml:2:5: warning: nothing is allowed for client "alice"/],
    ['entries for nobody', { 'a.yaml': ALLOW }, /a.yaml:2:5: warning: the allow entries of this file hold for nobody/],
    [
      'a service that is not protected',
      { 'a.yaml': `${CLIENT}allow:\n  - services: [tcp/80]\n` },
      /a.yaml:5:5: warning: tcp\/80 is not protected, so this entry opens nothing there/,
    ],
  ];
  for (const [text, files, expected] of warnings) {
    it(`${text}: a warning, and the rules hold`, async () => {
      const { book, lines } = await load(files);
      assert.notEqual(book, undefined);
      assert.match(lines.join('\n'), expected);
    });
  }

  it('an entry that gives by default is reached behind one that does not', async () => {
    const { lines } = await load({ 'a.yaml': `${CLIENT}allow:\n  - services: [ssh]\n    default: false\n  - services: [ssh]\n` });
    assert.deepEqual(lines, []);
  });
});
