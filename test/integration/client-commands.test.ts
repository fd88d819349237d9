// `posternd client …` as an administrator uses it: what it writes, what it prints, and that nothing is written when something is wrong.
// No kernel is asked: no daemon runs here. With one: e2e-clients.test.ts.
import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { replaceFile } from '../../daemon/clients/replace-file.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { parseInvitation } from '../../protocol/invitation.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import { Running, type RunResult, run } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';

const POSTERND = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
const SERVER = secretFromSeed(new Uint8Array(32).fill(200));
const key = (n: number): string => formatPublicLine(secretFromSeed(new Uint8Array(32).fill(n)).publicKey, `key${n}`);

const OPS = `# Operations. Ask Dana before you change this.
name: operations
clients:
  - name: alice      # lead
    key: ${key(1)}

  # bob, until his project ends
  - name: bob
    key: ${key(2)}
    expires: 2031-03-31
allow:
  - services: [ssh]
    ttl: 30s
  - services: [admin-panel]
    default: false
    once: true
    require_source: true
`;
const CONFIG = `server_key: host
protect: [ssh, admin-panel, tcp/9000-9010]
services: { admin-panel: tcp/8443, vpn: [udp/51820, tcp/51821] }
rules: rules.d
state: state
control: control.sock
`;

let root = '';
const folders: string[] = [];
const ops = (): string => join(root, 'rules.d', 'ops.yaml');
const text = (name = 'ops.yaml'): string => readFileSync(join(root, 'rules.d', name), 'utf8');
const command = (args: readonly string[]): readonly string[] => [
  process.execPath,
  POSTERND,
  '-c',
  join(root, 'postern.yaml'),
  'client',
  ...args,
];
const client = (...args: readonly string[]): Promise<RunResult> => run(command(args), { mayFail: true });
/** Everything below the folder of rules that is no lock and no left-over, with its content. */
const snapshot = (): unknown =>
  readdirSync(join(root, 'rules.d'))
    .sort()
    .map((name) => [name, text(name)]);

beforeEach(() => {
  root = scratchFolder('clients');
  folders.push(root);
  chmodSync(root, 0o755);
  mkdirSync(join(root, 'rules.d'), { mode: 0o755 });
  writeFileSync(join(root, 'postern.yaml'), CONFIG, { mode: 0o644 });
  writeFileSync(join(root, 'host'), formatPrivateKey(SERVER, 'host'), { mode: 0o600 });
  writeFileSync(ops(), OPS, { mode: 0o640 });
});
after(() => folders.forEach(removeScratch));

describe('posternd client add', { timeout: 120_000 }, () => {
  test('a colleague: two lines in the file, all others as they were, and an invitation without a secret', async () => {
    const { code, stdout, stderr } = await client('add', 'carol', '--key', key(3), '--file', 'ops.yaml', '--host', 'Web1.Example.org.');
    assert.equal(code, 0, stderr);
    assert.equal(text(), OPS.replace('allow:', `\n  - name: carol\n    key: ${key(3)}\nallow:`));
    assert.match(
      stdout,
      new RegExp(`^added carol at ${ops()}:12; may open ssh admin-panel\\nposternd is not running: it holds when it starts\\n`),
    );
    const line = stdout.split('\n').find((each) => each.startsWith('postern1:')) ?? '';
    const read = parseInvitation(line);
    assert.ok(read.ok);
    assert.deepEqual(read.value, {
      host: 'web1.example.org',
      port: 62201,
      serverKey: SERVER.publicKey,
      slots: 16,
      source: 'bound',
      needsPsk: false,
      services: [
        { name: 'ssh', ports: [{ protocol: 'tcp', first: 22, last: 22 }], once: false, byDefault: true },
        { name: 'admin-panel', ports: [{ protocol: 'tcp', first: 8443, last: 8443 }], once: true, byDefault: false },
      ],
      seed: undefined,
    });
  });

  test('--generate: the key that the invitation holds is the one in the rules, is nowhere on disk, and the command says that it is a secret', async () => {
    const { code, stdout, stderr } = await client(
      'add',
      'phone',
      '--generate',
      '--services',
      'vpn,tcp/9000-9010',
      '--ttl',
      '5m',
      '--host',
      '203.0.113.9',
    );
    assert.equal(code, 0, stderr);
    assert.match(stderr, /THIS INVITATION IS A SECRET: the private key was made on this server/);
    const read = parseInvitation(stdout.split('\n').find((each) => each.startsWith('postern1:')) ?? '');
    assert.ok(read.ok && read.value.seed !== undefined);
    const line = formatPublicLine(secretFromSeed(read.value.seed).publicKey, 'phone');
    assert.equal(
      text('phone.yaml'),
      `clients:\n  - name: phone\n    key: ${line}\nallow:\n  - services: [vpn, tcp/9000-9010]\n    ttl: 5m\n`,
    );
    assert.deepEqual(
      read.value.services.map(({ name, ports }) => [name, ports.length]),
      [
        ['vpn', 2],
        [undefined, 1],
      ],
    );
  });

  test('a new file takes the group of its folder, and the mode that lets the same people read', {
    skip: process.geteuid?.() !== 0,
  }, async () => {
    chownSync(join(root, 'rules.d'), 0, 65534);
    chmodSync(join(root, 'rules.d'), 0o750);
    await client('add', 'x', '--key', key(3), '--services', 'ssh');
    const { gid, mode } = statSync(join(root, 'rules.d', 'x.yaml'));
    assert.deepEqual([gid, mode & 0o777], [65534, 0o640]);
  });

  test('the key from a file, from standard input, and of an authorized_keys file', async () => {
    writeFileSync(join(root, 'id.pub'), `${key(3)}\n`);
    writeFileSync(join(root, 'authorized_keys'), `${key(5)}\n`, { mode: 0o644 });
    assert.equal((await client('add', 'a', '--key', join(root, 'id.pub'))).code, 0);
    assert.equal((await run(command(['add', 'b', '--key', '-']), { stdin: key(4) })).code, 0);
    assert.equal((await client('add', 'c', '--keys-file', join(root, 'authorized_keys'))).code, 0);
    const { clients } = JSON.parse((await client('list', '--json')).stdout) as {
      clients: { name: string; keys: unknown[]; state: string }[];
    };
    assert.deepEqual(
      clients.slice(2).map(({ name, keys, state }) => [name, keys.length, state]),
      [
        ['a', 1, 'enabled'],
        ['b', 1, 'enabled'],
        ['c', 1, 'enabled'],
      ],
    );
  });

  test('--dry-run shows a diff that patch(1) would take, and writes nothing, not even a lock', async () => {
    const before = snapshot();
    const { code, stdout } = await client('add', 'carol', '--key', key(3), '--dry-run');
    assert.equal(code, 0);
    assert.match(stdout, new RegExp(`^--- ${ops()}\\n\\+\\+\\+ ${ops()}\\n@@ -8,6 \\+8,9 @@\\n`));
    assert.deepEqual(
      stdout.split('\n').filter((line) => /^[+-](?![+-])/.test(line)),
      ['+', '+  - name: carol', `+    key: ${key(3)}`],
    );
    assert.deepEqual(snapshot(), before);
    assert.doesNotMatch((await client('add', 'x', '--generate', '--services', 'ssh', '--dry-run')).stdout, /postern1:/);
  });

  test('a host name that leads to this machine alone, or nowhere, is doubted aloud', async () => {
    assert.match(
      (await client('add', 'x', '--key', key(3), '--services', 'ssh', '--host', 'localhost')).stderr,
      /leads to this machine only/,
    );
    assert.match((await client('show', 'x', '--host', '10.1.2.3')).stderr, /10\.1\.2\.3 is a private address/);
    assert.match((await client('show', 'x', '--host', 'no-such-host.invalid')).stderr, /leads nowhere from here/);
    assert.doesNotMatch((await client('show', 'x', '--host', '198.51.100.9')).stderr, /warning/);
  });

  test('six at once: each waits for its turn, and all are in the file', async () => {
    const names = ['u1', 'u2', 'u3', 'u4', 'u5', 'u6'];
    const results = await Promise.all(names.map((name, at) => client('add', name, '--key', key(10 + at))));
    assert.deepEqual(
      results.map(({ code }) => code),
      [0, 0, 0, 0, 0, 0],
      results.map(({ stderr }) => stderr).join(''),
    );
    for (const name of names) assert.ok(text().includes(`- name: ${name}\n`), name);
    assert.deepEqual(readdirSync(join(root, 'rules.d')), ['ops.yaml'], 'no lock, nothing left over');
  });
});

describe('posternd client enable, disable, remove', { timeout: 120_000 }, () => {
  test('disable and enable change one line; twice is once', async () => {
    assert.match((await client('disable', 'bob')).stdout, new RegExp(`^bob is disabled: ${ops()}\\n`));
    assert.equal(text(), OPS.replace('2031-03-31\n', '2031-03-31\n    enabled: false\n'));
    assert.equal((await client('disable', 'bob')).stdout, 'bob is disabled already\n');
    assert.equal((await client('enable', 'bob')).code, 0);
    assert.equal(text(), OPS.replace('2031-03-31\n', '2031-03-31\n    enabled: true\n'));
  });

  test('remove takes the references in other files along, and says which comments went', async () => {
    writeFileSync(join(root, 'rules.d', 'call.yaml'), 'clients:\n  - ref: alice # lead\n  - ref: bob\nallow:\n  - services: [vpn]\n', {
      mode: 0o644,
    });
    const { code, stdout, stderr } = await client('remove', 'bob');
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      new RegExp(`^bob is removed: ${join(root, 'rules.d', 'call.yaml')}, ${ops()}\\nthe comment above it \\(1 line\\) went with it\\n`),
    );
    assert.equal(text('call.yaml'), 'clients:\n  - ref: alice # lead\nallow:\n  - services: [vpn]\n');
    assert.equal(text(), OPS.replace(/\n {2}# bob(.|\n)*?2031-03-31\n/, ''));
  });

  test('owner and mode of the file stay', { skip: process.geteuid?.() !== 0 }, async () => {
    chownSync(ops(), 0, 65534);
    chmodSync(ops(), 0o604);
    await client('disable', 'bob');
    const { uid, gid, mode } = statSync(ops());
    assert.deepEqual([uid, gid, mode & 0o7777], [0, 65534, 0o604]);
  });

  test('killed at any moment, the file is the old one or the new one, and the next command goes on', async () => {
    const versions = [
      OPS.replace('2031-03-31\n', '2031-03-31\n    enabled: false\n'),
      OPS.replace('2031-03-31\n', '2031-03-31\n    enabled: true\n'),
    ];
    let killed = 0;
    for (let round = 0; round < 16; round += 1) {
      const running = new Running(command([round % 2 === 0 ? 'disable' : 'enable', 'bob']));
      const timer = setTimeout(() => running.kill('SIGKILL'), 60 + round * 30);
      if ((await running.exited).signal === 'SIGKILL') killed += 1;
      clearTimeout(timer);
      assert.ok([OPS, ...versions].includes(text()), `round ${round}`);
    }
    assert.ok(killed >= 2, `${killed} killed`);
    // What one that was killed in its turn left, with the turn itself.
    writeFileSync(join(root, 'rules.d', '.ops.yaml.0123456789ab.edit'), 'half');
    assert.equal((await client('disable', 'alice')).code, 0);
    assert.deepEqual(readdirSync(join(root, 'rules.d')), ['ops.yaml']);
  });

  test('on a full disk, or one that cannot be written, nothing changes', { skip: process.geteuid?.() !== 0 }, async () => {
    const rules = join(root, 'rules.d');
    const posternd = command(['disable', 'bob'])
      .map((word) => `'${word}'`)
      .join(' ');
    const script = `set -e
      mount --make-rprivate /; cp ${ops()} ${root}/kept; mount -t tmpfs -o size=16k,mode=755 none ${rules}; cp -p ${root}/kept ${ops()}
      dd if=/dev/zero of=${rules}/.fill bs=1k 2>/dev/null || true
      ${posternd} || echo "exit $?"; cmp ${root}/kept ${ops()}; ls -A ${rules}
      rm ${rules}/.fill; mount -o remount,ro ${rules}
      ${posternd} || echo "exit $?"; cmp ${root}/kept ${ops()}`;
    const { stdout, stderr } = await run(['unshare', '--mount', 'sh', '-c', script]);
    assert.equal(stdout, 'exit 1\n.fill\nops.yaml\nexit 1\n');
    assert.match(stderr, /cannot change .*ops\.yaml \(ENOSPC\): what stood there stands unchanged\n.*cannot change .*rules\.d \(EROFS\)/);
  });

  test('an editor that saved meanwhile is not undone', async () => {
    await assert.rejects(replaceFile(ops(), Buffer.from('old'), Buffer.from('new')), /was changed by somebody else just now/);
    assert.equal(text(), OPS);
    assert.deepEqual(readdirSync(join(root, 'rules.d')), ['ops.yaml']);
  });
});

describe('posternd client: whatever is wrong ends with its code and one line, and nothing is written', { timeout: 240_000 }, () => {
  const generate = ['--generate', '--services', 'ssh'];
  const cases: readonly (readonly [what: string, args: readonly string[], code: number, message: RegExp])[] = [
    ['a file of two keys', ['add', 'x', '--key', `${key(3)}\n${key(4)}`], 2, /more than one line .*--keys-file/],
    ['no key', ['add', 'x'], 2, /whose key\? Give --key .*knock keygen/],
    ['an empty name', ['add', '', ...generate], 2, /NAME: not a client name: ""/],
    ['a path for a name (P33)', ['add', '../x', ...generate], 2, /NAME: not a client name: "\.\.\/x": use 1 to 64 of/],
    ['a name with an escape (P34)', ['add', 'a\u001b[2J', ...generate], 2, /not a client name: "a\\x1b\[2J"/],
    ['an address for a name', ['add', '10.0.0.1', ...generate], 2, /is an address: choose a name/],
    ['a name that is taken', ['add', 'alice', ...generate], 2, /"alice" is defined already at .*ops\.yaml:4: choose another name/],
    [
      'a key that is taken: both places',
      ['add', 'x', '--key', key(2)],
      2,
      /ops\.yaml:13:10: this key stands already for client "bob" at .*ops\.yaml:9:10/,
    ],
    ['an RSA key', ['add', 'x', '--key', 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== me'], 2, /--key: this is an RSA key: .*knock keygen/],
    ['half a key', ['add', 'x', '--key', 'ssh-ed25519 AAAAC3NzaC1lZDI1'], 2, /--key: .*(cut|whole)/],
    ['no key at all', ['add', 'x', '--key', 'hello world'], 2, /--key: /],
    ['a key file that is not there', ['add', 'x', '--key', '/none/id.pub'], 2, /--key: cannot read "\/none\/id\.pub" \(ENOENT\)/],
    ['a folder for a key file', ['add', 'x', '--key', '/etc/'], 2, /--key: "\/etc\/" is no public key file/],
    ['two kinds of keys', ['add', 'x', '--key', key(3), '--keys-file', '/x'], 2, /exclude each other/],
    ['a key and --generate', ['add', 'x', '--key', key(3), '--generate'], 2, /cannot be used with/],
    [
      'a service nobody defined',
      ['add', 'x', '--generate', '--services', 'admin-pannel'],
      2,
      /--services: no service is called "admin-pannel": did you mean "admin-panel"\?/,
    ],
    [
      'a bare port',
      ['add', 'x', '--generate', '--services', '22'],
      2,
      /--services: "22" does not say which protocol: write tcp\/22 or udp\/22/,
    ],
    ['an empty service', ['add', 'x', '--generate', '--services', 'ssh,'], 2, /--services: not a port or a service name: ""/],
    ['a ttl without a unit', ['add', 'x', ...generate, '--ttl', '30'], 2, /--ttl: not a duration: "30"/],
    ['a maximum of nothing', ['add', 'x', ...generate, '--max-ttl', '0s'], 2, /--max-ttl: "0s" is not between 1s and 365d/],
    ['a ttl over the maximum', ['add', 'x', ...generate, '--ttl', '2h', '--max-ttl', '1h'], 2, /ttl is longer than max_ttl/],
    ['a network with host bits', ['add', 'x', ...generate, '--from', '10.0.0.1/8'], 2, /--from: 10\.0\.0\.1\/8 has host bits set/],
    ['--once without services', ['add', 'x', '--generate', '--once'], 2, /--once is about services: add --services/],
    ['a date that does not exist', ['add', 'x', ...generate, '--expires', '2027-02-30'], 2, /--expires: no such date/],
    [
      'a day that is over',
      ['add', 'x', ...generate, '--expires', '2020-02-29'],
      2,
      /--expires: "2020-02-29" is in the past .*: give a later one/,
    ],
    ['a moment that is over', ['add', 'x', ...generate, '--expires', '2020-02-29T12:00:00+02:00'], 2, /--expires: .* is in the past/],
    ['a German date', ['add', 'x', ...generate, '--expires', '31.3.2027'], 2, /--expires: not a date: write 2027-03-31/],
    ['slots that are none', ['add', 'x', ...generate, '--slots', 'many'], 2, /--slots: not a number from 1 to 64: "many"/],
    ['too many slots', ['add', 'x', ...generate, '--slots', '65'], 2, /--slots: not a number from 1 to 64: "65"/],
    [
      'a file elsewhere',
      ['add', 'x', '--generate', '--file', '/etc/x.yaml'],
      2,
      /--file: .* would not be read: rule files stand below .*rules\.d/,
    ],
    [
      'a file that the loader skips',
      ['add', 'x', '--generate', '--file', 'x.yml'],
      2,
      /--file: .* would not be read: rule files end in \.yaml/,
    ],
    ['a hidden file', ['add', 'x', ...generate, '--file', '.x.yaml'], 2, /--file: .* would not be read/],
    [
      'a new file that gives nothing',
      ['add', 'x', '--generate', '--file', 'new.yaml'],
      2,
      /would be a new file that gives nothing: add --services/,
    ],
    [
      'services for a file that has its own',
      ['add', 'x', ...generate, '--file', 'ops.yaml'],
      2,
      /holds for all its clients: leave --services out/,
    ],
    [
      'services where an earlier client of that name left its file',
      ['add', 'ops', ...generate],
      2,
      /ops\.yaml stands already: to give what it allows: --file ops\.yaml and no --services; else another --file, or remove that one/,
    ],
    ['a host that is none', ['add', 'x', ...generate, '--host', 'a b'], 2, /--host: "a b" is no host name and no address/],
    ['an unknown client', ['disable', 'alcie'], 2, /no client is called "alcie": did you mean "alice"\?/],
    ['an unknown client to show', ['show', 'zebra'], 2, /no client is called "zebra": see "posternd client list"/],
    ['an unknown client to remove', ['remove', 'bo'], 2, /no client is called "bo": did you mean "bob"\?/],
    ['an unknown client to enable', ['enable', 'x'], 2, /no client is called "x"/],
    ['no subcommand', [], 2, /Usage: posternd client/],
    ['an unknown subcommand', ['delete', 'bob'], 2, /unknown command 'delete'/],
    ['a name too few', ['remove'], 2, /missing required argument 'name'/],
    ['a name too many', ['remove', 'a', 'b'], 2, /too many arguments/],
  ];
  for (const [what, args, code, message] of cases) {
    test(what, async () => {
      const before = snapshot();
      const result = await client(...args);
      assert.match(result.stderr, message);
      assert.equal(result.code, code, result.stderr);
      assert.equal(result.stdout, '');
      if (args.length > 0) assert.equal(result.stderr.trim().split('\n').length, 1, result.stderr);
      assert.doesNotMatch(result.stderr, /\x1b/);
      assert.deepEqual(snapshot(), before);
    });
  }

  test('rules that are wrong already: named, and nothing is written', async () => {
    writeFileSync(join(root, 'rules.d', 'bad.yaml'), 'client: []\n', { mode: 0o644 });
    const { code, stderr } = await client('disable', 'alice');
    assert.equal(code, 2);
    assert.match(stderr, /nothing was changed, as the rules are wrong already: .*bad\.yaml:1:1: unknown key "client"/);
    assert.equal(text(), OPS);
  });

  test('a rule file that is a link is not written through', async () => {
    writeFileSync(join(root, 'elsewhere.yaml'), OPS.replaceAll('alice', 'anna').replaceAll('bob', 'ben'), { mode: 0o644 });
    symlinkSync(join(root, 'elsewhere.yaml'), join(root, 'rules.d', 'link.yaml'));
    const { code, stderr } = await client('add', 'x', '--key', key(3), '--file', 'link.yaml');
    assert.equal(code, 2);
    assert.match(stderr, /link\.yaml is a symbolic link/);
  });

  test('without permission: exit 3, and who could', { skip: process.geteuid?.() !== 0 }, async () => {
    chmodSync(ops(), 0o644);
    chmodSync(join(root, 'host'), 0o644);
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
    for (const args of [
      ['disable', 'bob'],
      ['remove', 'bob'],
      ['add', 'x', '--key', key(3)],
    ]) {
      const { code, stderr } = await run([...nobody, ...command(args)], { mayFail: true });
      assert.equal(code, 3, stderr);
      assert.match(stderr, /^posternd: no permission to change .*rules\.d: run this as root\n$/);
    }
    assert.equal((await run([...nobody, ...command(['list'])], { mayFail: true })).code, 0, 'reading needs no more than reading');
    assert.equal(text(), OPS);
  });
});

test('client list and show say what the rules say', async () => {
  const list = await client('list');
  assert.deepEqual(
    list.stdout.split('\n').map((line) => line.replace(/\s+/g, ' ')),
    [
      'CLIENT STATE UNTIL MAY OPEN DEFINED AT',
      `alice enabled - ssh admin-panel ${ops()}:4`,
      `bob enabled 2031-03-31 ssh admin-panel ${ops()}:8`,
      '',
    ],
  );
  const shown = (await client('show', 'bob', '--host', '198.51.100.9')).stdout;
  assert.match(shown, new RegExp(`may open {2}ssh \\(for 30s\\), ${ops()}:12\n`));
  assert.match(
    shown,
    new RegExp(
      `may open {2}admin-panel \\(for 30s; only when asked for; one connection; only knocks bound to their source\\), ${ops()}:14\n`,
    ),
  );
  const report = JSON.parse((await client('show', 'bob', '--host', '198.51.100.9', '--json')).stdout) as Record<string, unknown>;
  assert.deepEqual([report['name'], report['state'], report['expires'], report['line']], ['bob', 'enabled', '2031-04-01T00:00:00.000Z', 8]);
});
