// posternd's command line as a tired administrator types it: what each slip says, its exit code, and that every help has examples.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const POSTERND = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'postern-usage-'));
after(() => rmSync(folder, { recursive: true }));
const broken = join(folder, 'broken.yaml');
writeFileSync(broken, 'protect: [ssh]\nprotekt: x\n', { mode: 0o644 });

type Ended = { readonly code: number; readonly out: string; readonly err: string };

function posternd(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [POSTERND, ...args], { env: { PATH: process.env['PATH'], ...environment } }, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
    });
  });
}

const SLIPS = [
  { text: 'a command that does not exist', args: ['foo'], says: /^posternd: unknown command 'foo': see "posternd --help"\n$/ },
  { text: 'a typing error', args: ['statu'], says: /Did you mean status\?/ },
  { text: 'an unknown option', args: ['--nope'], says: /^posternd: unknown option '--nope': / },
  { text: 'an unknown option of a command', args: ['status', '--nope'], says: /^posternd: unknown option '--nope': / },
  {
    text: 'an option by the name that another command has for it',
    args: ['grant', 'alice', 'ssh', '--for', '10m'],
    says: /^posternd: unknown option '--for' \(Did you mean --ttl\?\): see "posternd grant --help"\n$/,
  },
  { text: 'the same the other way round', args: ['try', '--ttl', '10m'], says: /\(Did you mean --for\?\): see "posternd try --help"/ },
  { text: 'the beginning of an option', args: ['revoke', 'alice', '--keep'], says: /\(Did you mean --keep-sessions\?\)/ },
  {
    text: 'no option of this command',
    args: ['grants', '--for', '10m'],
    says: /^posternd: unknown option '--for': see "posternd grants --help"\n$/,
  },
  { text: 'a name of every object', args: ['grants', '--constructor'], says: /^posternd: unknown option '--constructor': / },
  { text: 'rm', args: ['client', 'rm', 'bob'], says: /unknown command 'rm' \(Did you mean remove\?\): see "posternd client --help"\n$/ },
  { text: 'revoke a client', args: ['client', 'revoke', 'bob'], says: /\(Did you mean disable\?\)/ },
  { text: "systemd's business", args: ['restart'], says: /^posternd: unknown command 'restart': .*"systemctl restart posternd"\n$/ },
  { text: 'a word too many', args: ['status', 'extra'], says: /^posternd: too many arguments for 'status'/ },
  { text: 'revoke whom?', args: ['revoke'], says: /^posternd: missing required argument 'who': / },
  { text: 'ports of whom?', args: ['ports', 'tcp/22'], says: /^posternd: too many arguments for 'ports'/ },
  { text: 'explain whom?', args: ['explain'], says: /^posternd: missing required argument 'client': / },
  { text: 'gate what?', args: ['gate'], says: /^Usage: posternd gate/ },
  { text: 'nothing at all', args: [], says: /^Usage: posternd/ },
  { text: '-c without a file', args: ['status', '-c'], says: /argument missing/ },
  { text: '-c with a folder', args: ['status', '-c', folder], says: /is not a regular file: / },
  {
    text: '-c with a file that is not there',
    args: ['status', '-c', join(folder, 'none')],
    says: /there is no file .*: run "posternd init"/,
  },
  { text: 'control bytes', args: ['\x1b[31mred'], says: /^posternd: unknown command '\\x1b\[31mred': / },
  ...[
    'status',
    'grants',
    'client list',
    'client disable x',
    'explain x',
    'ports',
    'reload',
    'run',
    'gate up',
    'gate down',
    'gate show',
  ].map((command) => ({
    text: `a broken configuration: ${command}`,
    args: [...command.split(' '), '-c', broken],
    says: /^posternd: .*broken\.yaml:2:1: .*did you mean "protect"/m,
  })),
];

describe('wrong usage ends with 2 and says what to do, in one line without a stack', () => {
  for (const { text, args, says } of SLIPS) {
    test(text, async () => {
      const { code, out, err } = await posternd(args);
      assert.equal(code, 2);
      assert.equal(out, '');
      assert.match(err, says);
      assert.doesNotMatch(err, /\n\s+at /);
    });
  }
});

test('every help has examples', async () => {
  const commands = ['init', 'check', 'run', 'gate up', 'gate down', 'gate show', 'status', 'grants', 'revoke', 'reload'];
  for (const command of ['', ...commands]) {
    const { code, out } = await posternd([...command.split(' ').filter(Boolean), '--help']);
    assert.equal(code, 0, command);
    assert.match(out, new RegExp(`Examples:\n  sudo posternd ${command}`), command);
  }
});

test('-c counts before and behind the command, and before POSTERN_CONFIG', async () => {
  const named = join(folder, 'named.yaml');
  const environment = { POSTERN_CONFIG: join(folder, 'environment.yaml') };
  for (const args of [
    ['-c', named, 'status'],
    ['status', '-c', named],
  ])
    assert.match((await posternd(args, environment)).err, /named\.yaml/);
  assert.match((await posternd(['status'], environment)).err, /environment\.yaml/);
  assert.match((await posternd(['status'], { POSTERN_CONFIG: '' })).err, /\/etc\/postern\/postern\.yaml/);
});

test('a reader that has seen enough is no error, and no stack', async () => {
  const script = `"$0" "$1" --help | head -1; echo "\${PIPESTATUS[0]}"`;
  const result = await new Promise<string>((resolve) => {
    execFile('bash', ['-c', script, process.execPath, POSTERND], (_error, out, err) => resolve(out + err));
  });
  assert.match(result, /^Usage: posternd .*\n0\n$/);
});
