// Child processes: arguments stay arguments, nothing of our environment leaks, nothing runs for ever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { run } from '../../daemon/spawn.ts';

test('gives back exit code and output, whatever the code', async () => {
  assert.deepEqual(await run(['sh', '-c', 'cat; echo oops >&2; exit 3'], { stdin: 'in', timeoutMs: 5000 }), {
    code: 3,
    stdout: 'in',
    stderr: 'oops\n',
  });
});

test('arguments reach the program as they are (P33)', async () => {
  const nasty = ['; touch /tmp/never', '$(id)', '`id`', 'two words', '../x', '-n\nx', '\'"*'];
  const { stdout } = await run(['printf', '%s|', ...nasty], { timeoutMs: 5000 });
  assert.equal(stdout, `${nasty.join('|')}|`);
});

test('a child sees a fixed environment only', async () => {
  process.env['POSTERN_SECRET'] = 'x';
  const { stdout } = await run(['env'], { timeoutMs: 5000 });
  delete process.env['POSTERN_SECRET'];
  assert.deepEqual(stdout.trim().split('\n').sort(), ['HOME=/', 'LC_ALL=C', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin']);
});

test('a program that is missing, hangs, floods or is killed is an error with its own code', async () => {
  await assert.rejects(run(['postern-no-such-program'], { timeoutMs: 5000 }), {
    code: 'MISSING',
    message: 'postern-no-such-program is not installed',
  });
  await assert.rejects(run(['sleep', '60'], { timeoutMs: 50 }), { code: 'TIMEOUT' });
  await assert.rejects(run(['yes'], { timeoutMs: 60_000 }), { code: 'FAILED' });
  await assert.rejects(run(['sh', '-c', 'kill -9 $$'], { timeoutMs: 5000 }), { code: 'KILLED' });
});

test('a child that does not read its input does no harm', async () => {
  assert.equal((await run(['true'], { stdin: 'x'.repeat(1_000_000), timeoutMs: 5000 })).code, 0);
});
