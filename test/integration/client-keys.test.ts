// Keys, passphrases, commands and signals of `knock`, as a user meets them. Sends to loopback only, to a port where nobody listens.
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Running, type RunOptions, type RunResult, run, runNow } from '../lab/process.ts';
import { KNOCK, SERVER_LINE } from './client-doorway.ts';

const PASSPHRASE = 'correct horse battery';
const TARGET = ['127.0.0.1', 'tcp/9', '--server-key', SERVER_LINE, '--no-verify', '--retries', '40'];
const skip = runNow(['ssh', '-V']) === '' && runNow(['sh', '-c', 'command -v ssh-keygen']) === '' ? 'ssh-keygen is missing' : false;

describe('keys of knock', { skip, timeout: 120_000 }, () => {
  let home: string;
  let homes = 0;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'postern-keys-'));
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  /** A folder of its own for each test: neither keys nor used slots of another test are there. */
  function freshHome(): string {
    homes += 1;
    const fresh = join(home, `${homes}`);
    mkdirSync(fresh);
    return fresh;
  }

  function env(own: string, more: Readonly<Record<string, string>> = {}): Record<string, string> {
    return { HOME: own, XDG_CONFIG_HOME: '', XDG_STATE_HOME: '', KNOCK_PASSPHRASE_FILE: '', NO_COLOR: '1', ...more };
  }

  /** Without a terminal, even if the tests have one. */
  async function knock(own: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return run(['setsid', '-w', process.execPath, KNOCK, ...args], { mayFail: true, ...options, env: env(own, options.env) });
  }

  /** The same on a terminal of its own; what is typed is given when the prompt for it has appeared. */
  async function knockOnTerminal(own: string, args: readonly string[], typed: readonly { readonly at: RegExp; readonly text: string }[]) {
    const quoted = ['exec', ...[process.execPath, KNOCK, ...args].map((word) => `'${word}'`)].join(' ');
    const running = new Running(['script', '-qefc', quoted, '/dev/null'], { env: env(own) });
    for (const { at, text } of typed) {
      await running.waitForOutput(at);
      running.child.stdin?.write(text);
    }
    const { code } = await running.exited;
    return { code, output: running.stdout };
  }

  function makeKey(file: string, ...args: readonly string[]): string {
    runNow(['ssh-keygen', '-q', '-C', 'test', '-f', file, ...args]);
    return file;
  }

  describe('keygen', () => {
    test('writes a pair that ssh-keygen reads, readable by its owner alone, and prints the public line', async () => {
      const own = freshHome();
      const result = await knock(own, ['keygen', '--no-passphrase', '-C', 'alice at work']);
      const file = join(own, '.config', 'knock', 'id_ed25519');
      assert.equal(result.code, 0);
      assert.equal(result.stdout, readFileSync(`${file}.pub`, 'utf8'));
      assert.equal(runNow(['ssh-keygen', '-y', '-f', file]), result.stdout);
      assert.match(result.stdout, /^ssh-ed25519 \S+ alice at work\n$/);
      assert.deepEqual([statSync(file).mode & 0o777, statSync(join(own, '.config', 'knock')).mode & 0o777], [0o600, 0o700]);
      assert.match(result.stderr, /Give the line above to the server's administrator, for: posternd client add .*\n.*knock add INVITATION/);
      assert.ok(!result.stderr.includes(readFileSync(file, 'utf8').split('\n')[1] ?? ''));
    });

    test('never overwrites: not the private file, not the public one, not through a dangling link', async () => {
      for (const [standing, make] of [
        ['id', (file: string) => writeFileSync(file, 'precious')],
        ['id.pub', (file: string) => writeFileSync(file, 'precious')],
        ['id', (file: string) => symlinkSync(join(home, 'nowhere'), file)],
      ] as const) {
        const own = freshHome();
        make(join(own, standing));
        const result = await knock(own, ['keygen', '--no-passphrase', '-f', join(own, 'id')]);
        assert.match(result.stderr, /^knock: ".*" exists and is not overwritten/);
        assert.equal(result.code, 1);
        if (existsSync(join(own, standing))) assert.equal(readFileSync(join(own, standing), 'utf8'), 'precious');
        assert.equal(existsSync(join(own, standing === 'id' ? 'id.pub' : 'id')), false);
      }
      assert.ok(!existsSync(join(home, 'nowhere')));
    });

    test('encrypts with the passphrase from KNOCK_PASSPHRASE_FILE', async () => {
      const own = freshHome();
      writeFileSync(join(own, 'pass'), `${PASSPHRASE}\n`, { mode: 0o600 });
      const file = join(own, 'id');
      const result = await knock(own, ['keygen', '-f', file, '--json'], { env: { KNOCK_PASSPHRASE_FILE: join(own, 'pass') } });
      assert.deepEqual([result.code, JSON.parse(result.stdout).encrypted], [0, true]);
      assert.equal(runNow(['ssh-keygen', '-y', '-P', '', '-f', file]), '');
      assert.equal(runNow(['ssh-keygen', '-y', '-P', PASSPHRASE, '-f', file]).trim(), JSON.parse(result.stdout).publicKey);
    });

    test('asks twice on the terminal, without echo, and makes no key when the answers differ', async () => {
      const own = freshHome();
      const [first, again] = [/Passphrase for the new key/, /The same passphrase again/];
      const differs = await knockOnTerminal(
        own,
        ['keygen', '-f', join(own, 'a')],
        [
          { at: first, text: 'first one\r' },
          { at: again, text: 'second one\r' },
        ],
      );
      assert.deepEqual([differs.code, existsSync(join(own, 'a'))], [1, false]);
      const same = await knockOnTerminal(
        own,
        ['keygen', '-f', join(own, 'b')],
        [
          { at: first, text: `${PASSPHRASE}X\x7f\r` },
          { at: again, text: `${PASSPHRASE}\r` },
        ],
      );
      assert.equal(same.code, 0);
      assert.ok(!same.output.includes('horse'));
      assert.match(runNow(['ssh-keygen', '-y', '-P', PASSPHRASE, '-f', join(own, 'b')]), /^ssh-ed25519 /);
    });

    test('says what to do where there is no terminal', async () => {
      const result = await knock(freshHome(), ['keygen']);
      assert.match(result.stderr, /no terminal.*KNOCK_PASSPHRASE_FILE.*--no-passphrase/);
      assert.equal(result.code, 2);
    });
  });

  describe('a key that cannot be used', () => {
    const cases = [
      { text: 'RSA', make: (file: string) => makeKey(file, '-t', 'rsa', '-b', '2048', '-N', ''), says: /RSA.*knock keygen/, code: 2 },
      { text: 'ECDSA', make: (file: string) => makeKey(file, '-t', 'ecdsa', '-N', ''), says: /ECDSA.*knock keygen/, code: 2 },
      {
        text: 'a public key',
        make: (file: string) => {
          writeFileSync(file, SERVER_LINE, { mode: 0o600 });
          return file;
        },
        says: /this is the public key: give the private key file/,
        code: 2,
      },
      {
        text: 'a key that others can read',
        make: (file: string) => {
          makeKey(file, '-t', 'ed25519', '-N', '');
          chmodSync(file, 0o640);
          return file;
        },
        says: /can be read by others \(mode 0640\): run chmod 600/,
        code: 2,
      },
      { text: 'no file', make: (file: string) => file, says: /there is no key file .*knock keygen/, code: 2 },
      { text: 'a folder', make: () => '/etc', says: /not a regular file/, code: 2 },
    ] as const;
    for (const { text, make, says, code } of cases) {
      test(text, async () => {
        const own = freshHome();
        const result = await knock(own, [...TARGET, '-i', make(join(own, 'key'))]);
        assert.match(result.stderr, says);
        assert.equal(result.stderr.split('\n').length, 2, 'one line');
        assert.deepEqual([result.code, result.stdout], [code, '']);
      });
    }

    test('no key at all names the places and the cure', async () => {
      const own = freshHome();
      const result = await knock(own, TARGET);
      assert.match(
        result.stderr,
        /no key found \(looked for ".*\/\.config\/knock\/id_ed25519" and ".*\/\.ssh\/id_ed25519"\): make one with "knock keygen"/,
      );
      assert.equal(result.code, 2);
    });
  });

  test('takes ~/.ssh/id_ed25519 when there is no key of its own', async () => {
    const own = freshHome();
    mkdirSync(join(own, '.ssh'));
    makeKey(join(own, '.ssh', 'id_ed25519'), '-t', 'ed25519', '-N', '');
    const result = await knock(own, TARGET);
    assert.match(result.stdout, /^knock sent to 127\.0\.0\.1/);
  });

  describe('a key with a passphrase', () => {
    function lockedKey(): {
      readonly own: string;
      readonly args: readonly string[];
      readonly pass: (text: string) => Record<string, string>;
    } {
      const own = freshHome();
      const args = [...TARGET, '-i', makeKey(join(own, 'key'), '-t', 'ed25519', '-N', PASSPHRASE)];
      const pass = (text: string) => {
        writeFileSync(join(own, 'pass'), text, { mode: 0o600 });
        return { KNOCK_PASSPHRASE_FILE: join(own, 'pass') };
      };
      return { own, args, pass };
    }

    test('opens by KNOCK_PASSPHRASE_FILE, with or without a line end', async () => {
      const { own, args, pass } = lockedKey();
      for (const end of ['', '\n', '\r\n']) assert.equal((await knock(own, args, { env: pass(PASSPHRASE + end) })).code, 0);
    });

    test('refuses a wrong passphrase, a file that others can read and one that is not there', async () => {
      const { own, args, pass } = lockedKey();
      const wrong = await knock(own, args, { env: pass('wrong') });
      assert.match(wrong.stderr, /did not open: the passphrase in KNOCK_PASSPHRASE_FILE is wrong/);
      assert.equal(wrong.code, 1);
      const exposed = pass(PASSPHRASE);
      chmodSync(join(own, 'pass'), 0o644);
      assert.match((await knock(own, args, { env: exposed })).stderr, /passphrase file ".*" can be read by others/);
      assert.match((await knock(own, args, { env: { KNOCK_PASSPHRASE_FILE: join(own, 'none') } })).stderr, /which does not exist/);
    });

    test('says what to do where there is no terminal', async () => {
      const { own, args } = lockedKey();
      const result = await knock(own, args);
      assert.match(result.stderr, /needs a passphrase and there is no terminal: set KNOCK_PASSPHRASE_FILE/);
      assert.equal(result.code, 2);
    });

    test('asks on the terminal without echo, and again after a wrong one', async () => {
      const { own, args } = lockedKey();
      const { code, output } = await knockOnTerminal(own, args, [
        { at: /Passphrase for/, text: 'mistyped\r' },
        { at: /wrong passphrase[\s\S]*Passphrase for/, text: `${PASSPHRASE}\r` },
      ]);
      assert.equal(code, 0);
      assert.match(output, /knock sent to 127\.0\.0\.1/);
      assert.ok(!output.includes('mistyped') && !output.includes('horse'));
    });

    test('ends with 130 on Ctrl-C at the question', async () => {
      const { own, args } = lockedKey();
      const { code } = await knockOnTerminal(own, args, [{ at: /Passphrase for/, text: 'half\x03' }]);
      assert.equal(code, 130);
    });
  });

  describe('the server key', () => {
    test('unknown: one line with what to do', async () => {
      const own = freshHome();
      const key = makeKey(join(own, 'key'), '-t', 'ed25519', '-N', '');
      const result = await knock(own, ['127.0.0.1', 'ssh', '-i', key]);
      assert.match(result.stderr, /^knock: the server key of "127\.0\.0\.1" is not known: give it with --server-key.*\n$/);
      assert.equal(result.code, 2);
    });

    const cases = [
      { text: 'a file with one line', value: (own: string) => put(own, `# host key\n${SERVER_LINE}\n`), says: /^$/ },
      { text: 'another type', value: () => 'ecdsa-sha2-nistp256 AAAA x', says: /--server-key: this is an ECDSA key/ },
      { text: 'a security token', value: () => 'sk-ssh-ed25519@openssh.com AAAA x', says: /security token/ },
      { text: 'neither a line nor a file', value: () => 'nothing', says: /neither a line "ssh-ed25519 AAAA…" nor a file/ },
      {
        text: 'a file with two lines',
        value: (own: string) => put(own, `${SERVER_LINE}\n${SERVER_LINE}\n`),
        says: /expected one line.*found 2/,
      },
    ] as const;
    function put(own: string, text: string): string {
      writeFileSync(join(own, 'server.pub'), text);
      return join(own, 'server.pub');
    }
    for (const { text, value, says } of cases) {
      test(text, async () => {
        const own = freshHome();
        const key = makeKey(join(own, 'key'), '-t', 'ed25519', '-N', '');
        const result = await knock(own, ['127.0.0.1', 'tcp/9', '-i', key, '--no-verify', '--server-key', value(own)]);
        assert.match(result.stderr, says);
      });
    }
  });

  describe('-- COMMAND', () => {
    const cases = [
      { text: 'gives back its exit code', command: ['sh', '-c', 'exit 7'], code: 7 },
      { text: 'gives back 0', command: ['true'], code: 0 },
      { text: 'gives back 128 + n when signal n ended it', command: ['sh', '-c', 'kill -TERM $$'], code: 143 },
      { text: 'gives back 127 when there is no such command', command: ['/nonexistent/command'], code: 127 },
      { text: 'gives back 126 when it cannot be executed', command: ['/etc/passwd'], code: 126 },
    ] as const;
    for (const { text, command, code } of cases) {
      test(text, async () => {
        const own = freshHome();
        const result = await knock(own, [...TARGET, '-i', makeKey(join(own, 'key'), '-t', 'ed25519', '-N', ''), '--', ...command]);
        assert.equal(result.code, code);
      });
    }

    test('leaves standard input and output to the command', async () => {
      const own = freshHome();
      const key = makeKey(join(own, 'key'), '-t', 'ed25519', '-N', '');
      const result = await knock(own, [...TARGET, '-i', key, '--', 'cat', '-'], { stdin: 'through' });
      assert.equal(result.stdout, 'through');
      assert.match(result.stderr, /^knock sent to/);
    });

    test('does not run it when nothing opened', async () => {
      const own = freshHome();
      const key = makeKey(join(own, 'key'), '-t', 'ed25519', '-N', '');
      const mark = join(own, 'ran');
      const args = ['127.0.0.1', 'tcp/9', '--server-key', SERVER_LINE, '-i', key, '--timeout', '1s', '--', 'touch', mark];
      assert.equal((await knock(own, args)).code, 1);
      assert.equal(existsSync(mark), false);
    });

    test('hands SIGTERM on to it', async () => {
      const own = freshHome();
      const key = makeKey(join(own, 'key'), '-t', 'ed25519', '-N', '');
      const command = ['sh', '-c', 'trap "echo caught; exit 9" TERM; echo ready; while :; do sleep 0.05; done'];
      const running = new Running([process.execPath, KNOCK, ...TARGET, '-i', key, '--', ...command], { env: env(own) });
      await running.waitForOutput(/ready/);
      running.kill('SIGTERM');
      assert.deepEqual([(await running.exited).code, running.stdout], [9, 'ready\ncaught\n']);
    });
  });

  test('ends with 130 on Ctrl-C while it waits for the door', async () => {
    const own = freshHome();
    const key = makeKey(join(own, 'key'), '-t', 'ed25519', '-N', '');
    const args = ['127.0.0.1', 'tcp/9', '--server-key', SERVER_LINE, '-i', key, '-v', '--timeout', '60s'];
    const running = new Running([process.execPath, KNOCK, ...args], { env: env(own) });
    await running.waitForOutput(/knock 1 sent/);
    running.kill('SIGINT');
    assert.deepEqual(await running.exited, { code: 130, signal: null });
  });
});
