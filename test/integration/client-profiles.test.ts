// `knock add` and `knock profiles`: what the file holds afterwards, what is never overwritten; and the whole way from `posternd client add`.
import assert from 'node:assert/strict';
import { chmodSync, lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatInvitation } from '../../protocol/invitation.ts';
import type { Invitation } from '../../protocol/invitation-body.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { labMissing } from '../lab/lab.ts';
import { type RunResult, run, runNow } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import { REQUEST, Stage } from '../lab/stage.ts';
import { KNOCK } from './client-doorway.ts';

const [KEY, OTHER_KEY] = [7, 8].map((fill) => secretFromSeed(new Uint8Array(32).fill(fill)).publicKey);
assert.ok(KEY !== undefined && OTHER_KEY !== undefined);
const SEED = new Uint8Array(32).fill(9);
const INVITATION: Invitation = {
  host: 'web1.example.org',
  port: 62201,
  serverKey: KEY,
  slots: 16,
  source: 'auto',
  needsPsk: false,
  services: [
    { name: 'ssh', ports: [{ protocol: 'tcp', first: 22, last: 22 }], once: false, byDefault: true },
    { name: 'admin', ports: [{ protocol: 'tcp', first: 8443, last: 8443 }], once: true, byDefault: false },
  ],
  seed: undefined,
};
const LINE = formatInvitation(INVITATION);
const KEY_LINE = formatPublicLine(KEY, '');

describe('profiles of knock', { timeout: 60_000 }, () => {
  let homes: string;
  let count = 0;
  before(() => {
    homes = scratchFolder('profiles');
  });
  after(() => removeScratch(homes));

  /** A home folder with this configuration, if any. */
  function freshHome(config?: string): string {
    count += 1;
    const home = join(homes, String(count));
    mkdirSync(dirname(configOf(home)), { recursive: true });
    if (config !== undefined) writeFileSync(configOf(home), config, { mode: 0o640 });
    return home;
  }

  const configOf = (home: string) => join(home, '.config', 'knock', 'config.yaml');
  const textOf = (home: string) => readFileSync(configOf(home), 'utf8');

  function knock(home: string, args: readonly string[], stdin = ''): Promise<RunResult> {
    const env = { HOME: home, XDG_CONFIG_HOME: '', XDG_STATE_HOME: '', NO_COLOR: '1' };
    return run([process.execPath, KNOCK, ...args], { mayFail: true, stdin, env });
  }

  test('add makes the file, readable by its owner alone, and says what can be knocked for', async () => {
    const home = freshHome();
    const result = await knock(home, ['add', LINE]);
    assert.deepEqual([result.code, result.stderr], [0, '']);
    assert.match(
      result.stdout,
      /^added the profile web1: web1\.example\.org, SHA256:\S+\n {2}ssh \(tcp\/22\): by default\n {2}admin \(tcp\/8443\): one connection for each grant\nnow: knock web1\n$/,
    );
    assert.equal(
      textOf(home),
      `profiles:\n  web1:\n    host: web1.example.org\n    server_key: ${KEY_LINE}\n    offers:\n      ssh: {ports: [tcp/22], default: true}\n      admin: {ports: [tcp/8443], once: true}\n`,
    );
    assert.equal(statSync(configOf(home)).mode & 0o777, 0o600);
  });

  for (const [text, args, stdin] of [
    ['a file', (home: string) => ['add', join(home, 'line')], ''],
    ['standard input', () => ['add'], `\n${LINE}\n`],
    ['standard input by its name', () => ['add', '-'], LINE],
  ] as const) {
    test(`add takes the line from ${text}`, async () => {
      const home = freshHome();
      writeFileSync(join(home, 'line'), `${LINE}\n`);
      assert.equal((await knock(home, args(home), stdin)).code, 0);
      assert.match(textOf(home), /^ {2}web1:$/m);
    });
  }

  test('add keeps comments, order, other profiles and what the user wrote into this one', async () => {
    const before = `# mine\nprofiles:\n  # the old one\n  db:   # keep\n    host: db.example.org\n    services: [ssh, tcp/5432]\n\n  web1:\n    ttl: 5m          # longer than usual\n    server_key: ${KEY_LINE}\n    host: old.example.org\n`;
    const home = freshHome(before);
    const result = await knock(home, ['add', LINE]);
    assert.match(result.stdout, /^changed the profile web1/);
    const after = textOf(home);
    // yaml puts a comment that stood behind "db:" below it: nothing is lost, so what counts is words and their order.
    const words = (yaml: string) => yaml.split(/\s+/).join(' ');
    assert.equal(words(after.replace(/ {4}offers:\n(?: {6}.*\n)+/, '')), words(before.replace('old.example.org', 'web1.example.org')));
    assert.equal(statSync(configOf(home)).mode & 0o777, 0o640);
    assert.equal((await knock(home, ['add', LINE])).code, 0);
    assert.equal(textOf(home), after);
  });

  test('add overwrites no other server key unless it is told to', async () => {
    const home = freshHome();
    await knock(home, ['add', LINE]);
    const before = textOf(home);
    const other = formatInvitation({ ...INVITATION, serverKey: OTHER_KEY });
    const refused = await knock(home, ['add', other]);
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /^knock: the profile "web1" has another server key \(SHA256:\S+, not SHA256:\S+\) and is not overwritten.*--replace.*--name NAME\n$/,
    );
    assert.equal(textOf(home), before);
    assert.equal((await knock(home, ['add', other, '--name', 'web2'])).code, 0);
    assert.equal((await knock(home, ['add', other, '--replace'])).code, 0);
    assert.match(
      textOf(home),
      new RegExp(`web1:\\n {4}host: .*\\n {4}server_key: ${formatPublicLine(OTHER_KEY, '').replaceAll('+', '\\+')}\\n`),
    );
  });

  test('add keeps a link a link, and changes nothing in a file that is wrong', async () => {
    const home = freshHome();
    writeFileSync(join(home, 'settings.yaml'), 'profiles: {}\n');
    symlinkSync(join(home, 'settings.yaml'), configOf(home));
    await knock(home, ['add', LINE]);
    assert.ok(lstatSync(configOf(home)).isSymbolicLink());
    assert.match(readFileSync(join(home, 'settings.yaml'), 'utf8'), /web1:/);
    const wrong = freshHome('profiles:\n  a:\n    hots: b\n');
    const result = await knock(wrong, ['add', LINE]);
    assert.match(result.stderr, /^knock: .*config\.yaml:3:5: unknown key "hots": did you mean "host"\?\n$/);
    assert.deepEqual([result.code, textOf(wrong)], [2, 'profiles:\n  a:\n    hots: b\n']);
  });

  test('P38: a key that the server made is kept readable by its owner alone, and is in no output', async () => {
    const home = freshHome();
    const line = formatInvitation({
      ...INVITATION,
      host: '2001:db8::1',
      port: 4000,
      slots: 32,
      source: 'bound',
      needsPsk: true,
      seed: SEED,
    });
    const result = await knock(home, ['add', '-'], line);
    assert.equal(result.code, 0);
    const key = join(home, '.config', 'knock', '2001-db8--1_ed25519');
    assert.equal(statSync(key).mode & 0o777, 0o600);
    if (runNow(['sh', '-c', 'command -v ssh-keygen']) !== '')
      assert.equal(runNow(['ssh-keygen', '-y', '-f', key]), readFileSync(`${key}.pub`, 'utf8'));
    for (const said of [result.stdout, result.stderr, textOf(home)]) {
      assert.ok(!said.includes(Buffer.from(SEED).toString('base64').slice(0, 20)));
    }
    assert.match(result.stderr, /administrator has seen it/);
    assert.match(result.stderr, /pre-shared key.*2001-db8--1\.psk/);
    assert.match(textOf(home), /identity: ~\/\.config\/knock\/2001-db8--1_ed25519\n/);
    assert.equal((await knock(home, ['add', '-'], line)).code, 0, 'the same key again is no mistake');
    const argued = await knock(home, ['add', line]);
    assert.match(argued.stderr, /history of your shell/);
  });

  test('profiles lists, shows and removes, for people and for scripts', async () => {
    const home = freshHome(
      `profiles:\n  web1:\n    host: web1.example.org\n    services: [ssh]\n  # the database\n  db:\n    host: 192.0.2.7\n    ttl: 5m\n`,
    );
    assert.equal((await knock(home, ['profiles'])).stdout, 'web1  web1.example.org  ssh\ndb    192.0.2.7\n');
    assert.equal((await knock(home, ['profiles', 'show', 'db'])).stdout, 'name         db\nhost         192.0.2.7\nttl seconds  300\n');
    const all = JSON.parse((await knock(home, ['profiles', '--json'])).stdout);
    assert.deepEqual([all.ok, all.profiles.map(({ name }: { name: string }) => name)], [true, ['web1', 'db']]);
    assert.equal(JSON.parse((await knock(home, ['profiles', 'show', 'db', '--json'])).stdout).ttlSeconds, 300);
    assert.equal((await knock(home, ['profiles', 'remove', 'web1'])).stdout, 'removed the profile web1\n');
    assert.equal(textOf(home), 'profiles:\n  # the database\n  db:\n    host: 192.0.2.7\n    ttl: 5m\n');
    assert.equal((await knock(home, ['profiles', 'remove', 'db'])).code, 0);
    assert.match((await knock(home, ['profiles'])).stdout, /^no profiles in ".*config\.yaml"/);
  });

  test('a host that is nobody’s is compared with the profiles, and one that two profiles have is asked about', async () => {
    const home = freshHome(
      `profiles:\n  web1: { host: 192.0.2.7, server_key: ${KEY_LINE} }\n  web1-admin: { host: 192.0.2.7, server_key: ${KEY_LINE} }\n`,
    );
    await knock(home, ['keygen', '--no-passphrase']);
    const mistyped = await knock(home, ['wbe1', 'ssh', '--server-key', KEY_LINE, '--timeout', '10s']);
    assert.match(mistyped.stderr, /^knock: the name "wbe1" is not known: did you mean the profile "web1"\?\n$/);
    const ambiguous = await knock(home, ['192.0.2.7', 'ssh']);
    assert.match(ambiguous.stderr, /^knock: 2 profiles are for the host "192\.0\.2\.7" \(web1, web1-admin\): name one of them.*\n$/);
    assert.equal(ambiguous.code, 2);
  });

  test('what a file that cannot be written keeps', async (context) => {
    if (process.getuid?.() === 0) return context.skip('root writes everywhere');
    const home = freshHome('profiles: {}\n');
    chmodSync(dirname(configOf(home)), 0o500);
    const result = await knock(home, ['add', LINE]);
    assert.match(result.stderr, /^knock: cannot write ".*" \(EACCES\): nothing was changed\n$/);
    assert.equal(result.code, 3);
  });
});

describe('from posternd client add to an open door', { skip: labMissing() ?? false, timeout: 120_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'enrol' });
  });
  after(() => stage?.close());

  test('one line carries it: client add, reload, knock add, knock', async () => {
    const home = scratchFolder('carol');
    const carol = async (args: readonly string[], stdin = '') =>
      stage.client.exec([process.execPath, KNOCK, ...args], {
        stdin,
        mayFail: true,
        env: { HOME: home, XDG_CONFIG_HOME: '', XDG_STATE_HOME: '' },
      });
    try {
      const { stdout: key } = await carol(['keygen', '--no-passphrase', '-q']);
      const add = ['client', 'add', 'carol', '--key', key.trim(), '--services', REQUEST, '--host', stage.server.ipv4(), '--json'];
      const made = JSON.parse(await posternd(add)) as { readonly invitation: string };
      await stage.postern.posternd(['reload']);
      const added = await carol(['add', made.invitation, '--name', 'web1']);
      assert.deepEqual([added.code, added.stderr], [0, '']);
      const opened = await carol(['web1']);
      assert.deepEqual([opened.code, opened.stderr], [0, '']);
      assert.match(opened.stdout, /^open after/);
    } finally {
      removeScratch(home);
    }
  });

  async function posternd([command = '', sub = '', ...rest]: readonly string[]): Promise<string> {
    return (await stage.server.exec([process.execPath, stage.postern.main, command, sub, '-c', stage.postern.configFile, ...rest])).stdout;
  }
});
