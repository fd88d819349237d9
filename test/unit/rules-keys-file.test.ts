// A keys_file belongs to its user: its lines are taken or skipped, and nothing in it blocks a reload or takes a key from somebody else.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseAuthorizedKeys } from '../../daemon/rules/authorized-keys.ts';
import { parseExpiry, parseSshExpiry } from '../../daemon/rules/expiry.ts';
import { line, load } from './rules-ground.ts';

const RSA = 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 old';
const rule = (name: string, file: string, more = '') =>
  `clients:\n  - name: ${name}\n    keys_file: ${file}\n${more}allow:\n  - services: [ssh]\n`;

type Case = readonly [text: string, line: string, expected: string];

const LINES: readonly Case[] = [
  ['a plain line', line(1), 'key'],
  ['a line with no comment', line(1).split(' ').slice(0, 2).join(' '), 'key'],
  ['options that are about sshd', `no-pty,command="echo \\"a b\\", c" ${line(1)}`, 'key'],
  ['a tab between', `no-pty\t${line(1)}`, 'key'],
  ['a quoted key type in a command', `command="ssh-ed25519 AAAA x" ${line(1)}`, 'key'],
  ['expiry-time', `expiry-time="20270331Z" ${line(1)}`, `key until ${Date.UTC(2027, 2, 31)}`],
  ['expiry-time to the second', `expiry-time="20270331120130Z" ${line(1)}`, `key until ${Date.UTC(2027, 2, 31, 12, 1, 30)}`],
  ['two expiry-times: the earlier', `expiry-time="20280101Z",expiry-time="20270101Z" ${line(1)}`, `key until ${Date.UTC(2027, 0, 1)}`],
  ['an expiry-time that is none', `expiry-time="soon" ${line(1)}`, 'skipped'],
  ['a literal from=', `from="10.0.0.0/8,192.0.2.1,2001:db8::/32" ${line(1)}`, 'key from 10.0.0.0/8 192.0.2.1/32 2001:db8::/32'],
  ['FROM= in capitals', `FROM="10.0.0.0/8" ${line(1)}`, 'key from 10.0.0.0/8'],
  ['from= with a pattern', `from="10.0.*" ${line(1)}`, 'skipped'],
  ['from= with a name', `from="*.example.org,10.0.0.1" ${line(1)}`, 'skipped'],
  ['from= with a negation', `from="!10.0.0.1,10.0.0.0/8" ${line(1)}`, 'skipped'],
  ['from= with nothing', `from="" ${line(1)}`, 'skipped'],
  ['from= twice', `from="10.0.0.1",from="10.0.0.2" ${line(1)}`, 'skipped'],
  ['cert-authority', `cert-authority ${line(1)}`, 'skipped'],
  ['cert-authority among others, in capitals', `no-pty,CERT-AUTHORITY ${line(1)}`, 'skipped'],
  ['a marker', `@revoked * ${line(1)}`, 'skipped'],
  ['@cert-authority', `@cert-authority * ${line(1)}`, 'skipped'],
  ['an open quote', `command="x ${line(1)}`, 'skipped'],
  ['a broken key', 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA x', 'skipped'],
  ['an RSA key is not mentioned', RSA, ''],
  ['a comment', `# ${line(1)}`, ''],
  ['an empty line', '   ', ''],
  ['something else', 'hello world', ''],
];

describe('a line of authorized_keys', () => {
  for (const [text, raw, expected] of LINES) {
    it(`${text}: ${expected === '' ? 'nothing' : expected}`, () => {
      const shown = parseAuthorizedKeys(`${raw}\r\n`).map((found) => {
        if (found.kind === 'skipped') return 'skipped';
        const until = found.expiresAtMs === undefined ? '' : ` until ${found.expiresAtMs}`;
        return `key${until}${found.from === undefined ? '' : ` from ${found.from.map((each) => each.text).join(' ')}`}`;
      });
      assert.equal(shown.join(), expected);
    });
  }
});

describe('a keys_file', () => {
  it('full of lines that are skipped costs a few warnings, however many there are', async () => {
    const { book, lines } = await load({ 'a.yaml': rule('bob', '../keys'), '../keys': `${'@\n'.repeat(130_000)}${line(1)}\n` });
    assert.equal(book?.clients[0]?.keys.length, 1);
    assert.equal(lines.length, 17, lines.slice(0, 30).join('\n'));
    assert.match(lines.join('\n'), /keys holds 129984 more lines that are skipped: look through that file/);
  });

  it('gives its ssh-ed25519 lines to its client', async () => {
    const { book, lines } = await load({
      'a.yaml': rule('bob', '../keys'),
      '../keys': `${RSA}\n${line(1)}\n# x\nfrom="10.0.0.0/8" ${line(2)}\n`,
    });
    assert.deepEqual(lines, []);
    assert.equal(book?.clients[0]?.keys.length, 2);
    assert.equal(book?.clients[0]?.keys[1]?.from?.[0]?.text, '10.0.0.0/8');
  });

  it("cannot take another client's key, wherever that stands, and cannot stop the reload", async () => {
    const { book, lines } = await load({
      'a.yaml': rule('mallory', '../keys'),
      'b.yaml': `clients:\n  - name: alice\n    key: ${line(1)}\nallow:\n  - services: [ssh]\n`,
      '../keys': `${line(1)}\n${line(2)}\n`,
    });
    assert.deepEqual(
      book?.clients.map(({ name, keys }) => `${name} ${keys.length}`),
      ['mallory 1', 'alice 1'],
    );
    assert.deepEqual(lines, [
      '/keys:1:1: warning: this key is skipped: it stands already for client "alice" at b.yaml:3:10: one key belongs to one client',
    ]);
  });

  it('counts 16 keys at most', async () => {
    const keys = Array.from({ length: 20 }, (_, at) => line(at + 1)).join('\n');
    const { book, lines } = await load({ 'a.yaml': rule('bob', '../keys'), '../keys': keys });
    assert.equal(book?.clients[0]?.keys.length, 16);
    assert.match(lines.join(), /holds 4 more ssh-ed25519 keys than the 16 that count/);
  });

  for (const [text, file, extra, expected] of [
    ['that is missing', '../none', {}, /client "bob" has no keys from its keys_file: there is no file \/none/],
    ['that is a folder', '../dir', { '../dir/x': 'y' }, /is not a regular file/],
    ['without any usable line', '../keys', { '../keys': RSA }, /client "bob" has no usable key in \/keys/],
    ['of rubbish', '../keys', { '../keys': `ssh-ed25519 ${'\u001b[31m'.repeat(1000)}\n` }, /this line is skipped for client "bob"/],
  ] as const) {
    it(`${text} leaves its client without keys and is mentioned; everybody else is let in`, async () => {
      const { book, lines } = await load({
        'a.yaml': rule('bob', file),
        'b.yaml': `clients:\n  - name: alice\n    key: ${line(1)}\nallow:\n  - services: [ssh]\n`,
        ...extra,
      });
      assert.deepEqual(
        book?.clients.map(({ name, keys }) => `${name} ${keys.length}`),
        ['bob 0', 'alice 1'],
      );
      assert.match(lines.join('\n'), expected);
      assert.doesNotMatch(lines.join(''), /\p{Cc}/u);
    });
  }
});

describe('dates', () => {
  const cases: readonly (readonly [text: string, expected: number | undefined])[] = [
    ['2027-03-31', Date.UTC(2027, 3, 1)],
    ['2027-12-31', Date.UTC(2028, 0, 1)],
    ['2028-02-29', Date.UTC(2028, 2, 1)],
    ['2027-02-29', undefined],
    ['2027-03-31T18:00:00Z', Date.UTC(2027, 2, 31, 18)],
    ['2027-03-31T18:00Z', Date.UTC(2027, 2, 31, 18)],
    ['2027-03-31T18:00:00+02:00', Date.UTC(2027, 2, 31, 16)],
    ['2027-03-31T18:00:00-05:30', Date.UTC(2027, 2, 31, 23, 30)],
    ['2027-03-31T24:00:00Z', undefined],
    ['2027-03-31T18:00:00', undefined],
    ['2027-13-01', undefined],
    ['1969-12-31', undefined],
    ['1970-01-01T00:00:00+14:00', 0],
    ['27-03-31', undefined],
  ];
  for (const [text, expected] of cases) {
    it(`${text} is ${expected === undefined ? 'refused' : new Date(expected).toISOString()}`, () => {
      const result = parseExpiry(text);
      assert.equal(result.ok ? result.value : undefined, expected);
    });
  }
  it('a date before 1970 anywhere is over, and stops nobody’s reload, wherever the host stands', () => {
    const before = process.env['TZ'];
    try {
      for (const zone of ['UTC', 'Asia/Tokyo', 'Pacific/Kiritimati', 'America/New_York']) {
        process.env['TZ'] = zone;
        const [read] = parseAuthorizedKeys(`expiry-time="19700101" ${line(1)}`);
        assert.ok(read?.kind === 'key' && read.expiresAtMs !== undefined && read.expiresAtMs <= 86_400_000, zone);
      }
    } finally {
      if (before === undefined) delete process.env['TZ'];
      else process.env['TZ'] = before;
    }
  });
  it("OpenSSH's local times follow the zone of the host", () => {
    const result = parseSshExpiry('202703311200');
    assert.equal(result.ok && result.value, new Date(2027, 2, 31, 12).getTime());
  });
});
