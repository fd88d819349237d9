// What `knock` takes from ssh's configuration is what OpenSSH itself takes from it (`ssh -G`), but for what would run a program.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { isCommandError } from '../../client/command-error.ts';
import { findSshHost, type SshHost } from '../../client/ssh-host.ts';
import type { World } from '../../client/world.ts';
import { unixMs } from '../../protocol/brand.ts';
import { run, runNow } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';

const skip = runNow(['sh', '-c', 'command -v ssh']) === '' ? 'ssh is missing' : false;
const ME = userInfo().username;

type Case = {
  readonly text: string;
  readonly host?: string;
  readonly config: string;
  /** More files of ~/.ssh. */
  readonly files?: Readonly<Record<string, string>>;
};

/** `@` stands for the home folder of the case. */
const SAME: readonly Case[] = [
  { text: 'nothing', config: '' },
  { text: 'HostName and Port', config: 'Host web1\n  HostName web1.example.org\n  Port 2222\n' },
  { text: 'the first value counts', config: 'Host web*\n  Port 22\nHost web1\n  Port 2222\n  HostName a\nHost *\n  HostName b\n' },
  { text: 'values before the first Host', config: 'Port 2022\nHost web1\n  Port 2222\n' },
  { text: 'another host', host: 'db1', config: 'Host web1\n  HostName a\n' },
  { text: 'patterns and their negation', config: 'Host web? !web1\n  HostName a\nHost w*1 db\n  HostName b\n' },
  { text: 'a negation alone', config: 'Host !db1\n  HostName a\n' },
  {
    text: 'keywords in any case, equals signs, tabs, comments',
    config: 'hOST=web1 # mine\n\tPORT\t=\t2222\t# two\n# x\n  hostname= a.b\n',
  },
  { text: 'quotation marks', config: 'Host "web1"\n  HostName "a.b"\n  IdentityFile "@/my key"\n' },
  { text: 'escapes', config: 'Host web1\n  IdentityFile @/my\\ key\n  IdentityFile "@/say \\"x\\""\n' },
  { text: 'carriage returns', config: 'Host web1\r\n  HostName a\r\n  Port 2222\r\n' },
  { text: 'a token in HostName', config: 'Host web1\n  HostName %h.example.org\n' },
  { text: 'several IdentityFile', config: 'IdentityFile @/a\nHost web1\n  IdentityFile @/b\n  IdentityFile @/a\n' },
  { text: 'AddressFamily', config: 'Host web1\n  AddressFamily inet6\n' },
  { text: 'AddressFamily any first', config: 'AddressFamily any\nHost web1\n  AddressFamily inet6\n' },
  { text: 'HostKeyAlias', config: 'Host web1\n  HostKeyAlias cluster\n' },
  { text: 'UserKnownHostsFile', config: 'Host web1\n  UserKnownHostsFile @/k1 @/k2\n  GlobalKnownHostsFile @/g\n' },
  { text: 'UserKnownHostsFile none', config: 'Host web1\n  UserKnownHostsFile none\n' },
  { text: 'ProxyJump', config: 'Host web1\n  ProxyJump bastion\n' },
  { text: 'ProxyJump none', config: 'Host web1\n  ProxyJump none\nHost *\n  ProxyJump bastion\n' },
  { text: 'Match all', config: 'Host db\n  Port 1\nMatch all\n  Port 2222\n' },
  { text: 'Match host, by the name found', config: 'Host web1\n  HostName a.b\nMatch host a.*\n  Port 2222\nMatch host web1\n  Port 1\n' },
  { text: 'Match originalhost', config: 'Host web1\n  HostName a.b\nMatch originalhost web1,db\n  Port 2222\n' },
  { text: 'Match with a negation in its list', config: 'Match originalhost !web1,*\n  Port 1\nMatch !originalhost db\n  Port 2\n' },
  { text: 'Match localuser', config: `Match localuser ${ME}\n  Port 2222\n` },
  { text: 'Match localuser of another', config: 'Match localuser nobody-else\n  Port 2222\n' },
  { text: 'Match user', config: 'User deploy\nMatch user deploy host web1\n  Port 2222\n' },
  { text: 'Match with two criteria of which one fails', config: 'Match host web1 user other\n  Port 2222\n' },
  { text: 'Match final', config: 'Host web1\n  HostName a.b\nMatch final host a.b\n  Port 2222\nHost a.b\n  HostKeyAlias x\n' },
  { text: 'Match exec that fails', config: 'Match exec false\n  Port 2222\n' },
  { text: 'Include', config: 'Include @/.ssh/more\nPort 1\n', files: { more: 'Host web1\n  Port 2222\n' } },
  {
    text: 'Include below a Host that does not match',
    config: 'Host db\n  Include @/.ssh/more\nHost *\n  Port 1\n',
    files: { more: 'Port 2222\n' },
  },
  {
    text: 'Include leaves the Host of the file above as it was',
    config: 'Host web1\n  Include @/.ssh/more\n  Port 1\n',
    files: { more: 'Host db\n  Port 2222\n' },
  },
  {
    text: 'Include with a wildcard, in order',
    config: 'Include @/.ssh/d/*.conf\n',
    files: { 'd/b.conf': 'Port 2\n', 'd/a.conf': 'Port 1\n', 'd/.c.conf': 'Port 3\n', 'd/0.txt': 'Port 4\n' },
  },
  { text: 'Include of nothing', config: 'Include @/.ssh/none/* @/.ssh/no\nPort 2\n' },
];

describe('the configuration of ssh', { skip, timeout: 60_000 }, () => {
  let homes: string;
  let count = 0;
  before(() => {
    homes = scratchFolder('ssh-config');
  });
  after(() => removeScratch(homes));

  function homeOf({ config, files = {} }: Pick<Case, 'config' | 'files'>): string {
    count += 1;
    const home = join(homes, String(count));
    for (const [name, text] of Object.entries({ ...files, config })) {
      const path = join(home, '.ssh', name);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, text.replaceAll('@/', `${home}/`));
    }
    return home;
  }

  function find(home: string, host: string, env: World['env'] = {}, hostName?: string): SshHost {
    return findSshHost(host, hostName, {
      env,
      platform: 'linux',
      home,
      now: () => unixMs(0),
      monotonicMs: () => 0,
      random: (length) => new Uint8Array(length),
      out: () => undefined,
      err: () => undefined,
      color: false,
      colorOut: false,
    });
  }

  /** What `ssh -G` says, by keyword. */
  async function ask(home: string, host: string): Promise<(keyword: string) => readonly string[]> {
    const file = join(home, 'both');
    // As ssh reads them when no -F is given.
    const system = existsSync('/etc/ssh/ssh_config') ? 'Include /etc/ssh/ssh_config\n' : '';
    writeFileSync(file, `Include ${home}/.ssh/config\nMatch all\n${system}`);
    const { stdout } = await run(['ssh', '-G', '-F', file, host]);
    return (keyword) => stdout.split('\n').flatMap((line) => (line.startsWith(`${keyword} `) ? [line.slice(keyword.length + 1)] : []));
  }

  for (const each of SAME) {
    test(`as ssh -G: ${each.text}`, async () => {
      const [home, host] = [homeOf(each), each.host ?? 'web1'];
      const [ours, ssh] = [find(home, host), await ask(home, host)];
      assert.equal(ours.host, ssh('hostname')[0]);
      assert.equal(String(ours.port), ssh('port')[0]);
      assert.equal(ours.family ?? 'any', { any: 'any', inet: 4, inet6: 6 }[ssh('addressfamily')[0] ?? 'any']);
      assert.equal(ours.jump, ssh('proxyjump')[0]);
      assert.equal(ours.knownAs.alias ? ours.knownAs.name : undefined, ssh('hostkeyalias')[0]);
      const named = (paths: readonly string[]) => paths.filter((path) => path.startsWith(home));
      assert.deepEqual(
        ours.identityFiles,
        named(ssh('identityfile')).map((path) => path),
      );
      const files = named([...ssh('userknownhostsfile'), ...ssh('globalknownhostsfile')].flatMap((line) => line.split(' ')));
      assert.deepEqual(
        ours.knownHostsFiles.filter((path) => path.startsWith(home) && !path.startsWith(join(home, '.ssh'))),
        files,
      );
    });
  }

  test('replaces tokens, ~ and variables in file names as ssh_config(5) says', () => {
    const home = homeOf({
      config: `Host web1\n  HostName %h.example.org\n  Port 2222\n  User deploy\n  IdentityFile ~/.ssh/%n-%h-%p-%r-%%\n  IdentityFile %d/.ssh/\${KEY}\n  IdentityFile relative\n`,
    });
    assert.deepEqual(find(home, 'web1', { KEY: 'mine' }).identityFiles, [
      join(home, '.ssh', 'web1-web1.example.org-2222-deploy-%'),
      join(home, '.ssh', 'mine'),
      join(home, 'relative'),
    ]);
  });

  test('a relative Include is one of ~/.ssh', () => {
    const home = homeOf({ config: 'Include d/*\n', files: { 'd/a': 'Port 2222\n' } });
    assert.equal(find(home, 'web1').port, 2222);
  });

  test('a profile’s host stands before HostName; the block is still that of the typed name', () => {
    const home = homeOf({ config: 'Host web1\n  HostName wrong\n  Port 2222\n' });
    const { host, port } = find(home, 'web1', {}, '192.0.2.1');
    assert.deepEqual([host, port], ['192.0.2.1', 2222]);
  });

  test('P34: shows a criterion that nobody knows escaped, and cut', () => {
    const home = homeOf({ config: `Match \u001b[2J\u202e${'x'.repeat(500)} y\n  Port 2222\n` });
    const { remarks } = find(home, 'web1');
    assert.match(remarks[0] ?? '', /^"Match \\u001b\[2j\\u202ex{50,200}…" of the ssh configuration is not evaluated/);
  });

  test('runs nothing: Match exec never holds, and -v says so', () => {
    const home = homeOf({ config: 'Match exec "touch @/ran"\n  Port 2222\nMatch !exec "touch @/ran"\n  Port 2223\n' });
    const { port, remarks } = find(home, 'web1');
    assert.deepEqual([port, remarks.length, existsSync(join(home, 'ran'))], [22, 1, false]);
    assert.match(remarks[0] ?? '', /"Match exec".*not evaluated/);
  });

  const refused = [
    {
      text: 'a port that is none',
      config: 'Host web1\n  Port ssh\n',
      says: /config:2: Port: expected a number from 1 to 65535, not "ssh"$/,
    },
    { text: 'an open quotation', config: 'Host web1\n  HostName "a\n', says: /config:2: a quotation mark is missing$/ },
    {
      text: 'an unknown token',
      config: 'IdentityFile ~/%q\n',
      says: /^IdentityFile "~\/%q" of the ssh configuration: %q has no meaning here$/,
    },
    { text: 'an unknown token in HostName', config: 'HostName %p\n', says: /^HostName "%p" of the ssh configuration/ },
    { text: 'an unset variable', config: `IdentityFile \${NOT_SET_HERE}/x\n`, says: /\$\{NOT_SET_HERE\} has no meaning here$/ },
    { text: 'a file that includes itself', config: 'Include @/.ssh/config\n', says: /config:1: too many files include each other$/ },
  ] as const;
  for (const { text, config, says } of refused) {
    test(`refuses ${text}, with its place`, () => {
      const home = homeOf({ config });
      assert.throws(
        () => find(home, 'web1'),
        (error) => isCommandError(error) && error.exitCode === 2 && says.test(error.message) && error.hints.length === 0,
      );
    });
  }

  test('a mistake in a block for another host is none', () => {
    assert.equal(find(homeOf({ config: 'Host db\n  Port x\n  HostName "a\n' }), 'web1').port, 22);
  });

  test('P35: refuses a file that others can write, as ssh does', async () => {
    const home = homeOf({ config: 'Port 2222\n' });
    chmodSync(join(home, '.ssh', 'config'), 0o620);
    assert.throws(() => find(home, 'web1'), /others can write ".*config".*chmod go-w/);
  });
});
