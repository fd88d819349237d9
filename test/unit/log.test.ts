// The log's two forms, and that nothing in it can reach a terminal, a second line or the disk's end of the daemon.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { openSync } from 'node:fs';
import { describe, test } from 'node:test';
import { type LogOptions, openLog } from '../../daemon/log.ts';
import { formatLine } from '../../daemon/log-line.ts';

function collect(options: Partial<LogOptions> & { readonly isTTY?: boolean } = {}) {
  const lines: string[] = [];
  const stream = { write: (text: string) => lines.push(text), isTTY: options.isTTY ?? false };
  return { lines, log: openLog({ level: 'info', ...options, stream }) };
}

const HOSTILE = `\x1b[2J\x1b]0;x\x07\r\nFAKE granted\u202e\x9b${'z'.repeat(65_536)}`;
const UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

describe('for machines', () => {
  test('an event is one line of JSON with level, priority, time and message', () => {
    const { lines, log } = collect();
    log.info({ client: 'alice' }, 'granted');
    const event = JSON.parse(lines[0] ?? '');
    assert.match(event.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual({ ...event, time: '' }, { level: 'info', priority: 6, time: '', client: 'alice', msg: 'granted' });
    assert.ok(lines[0]?.endsWith('}\n'));
  });

  test('levels have their syslog priorities', () => {
    const { lines, log } = collect({ level: 'trace' });
    for (const level of ['trace', 'debug', 'info', 'warn', 'error'] as const) log[level]('x');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).priority),
      [7, 7, 6, 4, 3],
    );
  });

  test('what is below the level is not written', () => {
    const { lines, log } = collect({ level: 'warn' });
    log.info('quiet');
    assert.deepEqual(lines, []);
  });
});

describe('hostile text (P34)', () => {
  const attempts: readonly (readonly [string, (log: ReturnType<typeof openLog>) => void])[] = [
    ['as the message', (log) => log.warn(HOSTILE)],
    ['as an argument of the message', (log) => log.warn('from %s', HOSTILE)],
    ['as an object in the message', (log) => log.warn('from %j', { a: HOSTILE })],
    ['as a field', (log) => log.warn({ client: HOSTILE }, 'refused')],
    ['deep in a field', (log) => log.warn({ a: { b: [HOSTILE] } }, 'refused')],
    ['as a key', (log) => log.warn({ [HOSTILE]: 1 }, 'refused')],
    ['in an error', (log) => log.error({ err: new Error(HOSTILE) }, 'failed')],
    ['in an error alone', (log) => log.error(new Error(HOSTILE))],
    ['in an error field without a message', (log) => log.error({ err: new Error(HOSTILE) })],
    ['in a child log', (log) => log.child({ part: HOSTILE }).warn('x')],
  ];
  for (const [where, attempt] of attempts) {
    for (const isTTY of [false, true]) {
      test(`${where} is one short, printable line ${isTTY ? 'on a terminal' : 'of JSON'}`, () => {
        const { lines, log } = collect({ isTTY, color: false });
        attempt(log);
        assert.equal(lines.length, 1);
        const line = lines[0] ?? '';
        assert.ok(line.endsWith('\n'));
        assert.ok(!UNSAFE.test(line.slice(0, -1)), JSON.stringify(line.slice(0, 300)));
        assert.ok(line.length < 4_000, `${line.length} characters`);
      });
    }
  }

  test('an error keeps its message as the message of the event', () => {
    const { lines, log } = collect();
    log.error(new Error('disk gone'));
    log.error({ err: new Error('disk gone') }, 'the ledger failed');
    const [alone, named] = lines.map((line) => JSON.parse(line));
    assert.deepEqual([alone.msg, alone.err.message], ['disk gone', 'disk gone']);
    assert.deepEqual([named.msg, named.err.type], ['the ledger failed', 'Error']);
  });
});

describe('on a terminal', () => {
  const event = `${JSON.stringify({
    level: 'info',
    priority: 6,
    time: '2026-11-21T14:03:07.123Z',
    client: 'alice',
    services: ['ssh', 'tcp/8443'],
    why: 'two words',
    n: 3,
    msg: 'granted',
  })}\n`;

  test('a line is readable', () => {
    assert.equal(formatLine(event, false), '14:03:07 info  granted client=alice services=ssh,tcp/8443 why="two words" n=3\n');
  });

  test('color is used on a terminal, never elsewhere and never with NO_COLOR', () => {
    assert.match(formatLine(event, true), /\x1b\[32minfo \x1b\[0m granted/);
    const before = process.env['NO_COLOR'];
    try {
      delete process.env['NO_COLOR'];
      const colored = collect({ isTTY: true });
      colored.log.info('x');
      assert.match(colored.lines[0] ?? '', /\x1b\[/);
      process.env['NO_COLOR'] = '1';
      const plain = collect({ isTTY: true });
      plain.log.info('x');
      assert.doesNotMatch(plain.lines[0] ?? '', /\x1b/);
    } finally {
      if (before === undefined) delete process.env['NO_COLOR'];
      else process.env['NO_COLOR'] = before;
    }
  });

  test('a value cannot pass for another field', () => {
    const { lines, log } = collect({ readable: true });
    log.info({ a: 'x b=y', c: 'p,q', d: '' }, 'm');
    assert.match(lines[0] ?? '', / m a="x b=y" c="p,q" d=""\n$/);
  });

  test('what is no event comes through as it is', () => {
    for (const text of ['not json\n', '3\n', '[]\n', '']) assert.equal(formatLine(text, true), text);
  });
});

describe('standard output', () => {
  const program = (body: string) => {
    const log = new URL('../../daemon/log.js', import.meta.url).href;
    return ['--input-type=module', '-e', `import { openLog } from ${JSON.stringify(log)}; const log = openLog({ level: 'info' }); ${body}`];
  };

  test('gets every line before the process ends', () => {
    const { stdout, status } = spawnSync(
      process.execPath,
      program(`for (let n = 0; n < 2000; n += 1) log.info({ n }, 'x'); process.exit(3);`),
    );
    assert.equal(status, 3);
    const lines = stdout.toString().trimEnd().split('\n');
    assert.deepEqual(
      lines.map((line) => JSON.parse(line).n).sort((a, b) => a - b),
      Array.from({ length: 2_000 }, (_, at) => at),
    );
  });

  test('gets lines in order while the process goes on', () => {
    const body = `for (let n = 0; n < 2000; n += 1) { log.info({ n }, 'x'); if (n % 50 === 0) await new Promise(setImmediate); }`;
    const { stdout, status } = spawnSync(process.execPath, program(`${body} log.flush(() => process.exit(0));`));
    assert.equal(status, 0);
    assert.deepEqual(
      stdout
        .toString()
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).n),
      Array.from({ length: 2_000 }, (_, at) => at),
    );
  });

  test('that is a full disk does not end the daemon', () => {
    const full = openSync('/dev/full', 'w');
    const body = `log.info('a'); setTimeout(() => log.info('b'), 20); setTimeout(() => process.stderr.write('alive'), 60);`;
    const { stderr, status } = spawnSync(process.execPath, program(body), { stdio: ['ignore', full, 'pipe'], timeout: 10_000 });
    assert.equal(stderr.toString(), 'alive');
    assert.equal(status, 0, 'and does not keep it from its end');
  });

  test('that nobody reads neither blocks the daemon nor makes it grow; what was lost is told afterwards', async () => {
    // 40,000 lines of 300 characters: far more than a pipe and the queue hold together.
    const body = `
      for (let n = 0; n < 40_000; n += 1) log.info({ n, pad: 'x'.repeat(190) }, 'x');
      process.stderr.write('not blocked ' + (process.memoryUsage().rss < 200e6));
      process.stdin.once('data', () => { setTimeout(() => { log.info('later'); log.flush(() => process.exit(0)); }, 200); });`;
    const child = spawn(process.execPath, program(body), { stdio: ['pipe', 'pipe', 'pipe'] });
    const [said] = await once(child.stderr, 'data');
    assert.equal(String(said), 'not blocked true');
    const read: Buffer[] = [];
    child.stdout.on('data', (bytes) => read.push(bytes));
    child.stdin.write('now');
    const [code] = await once(child, 'close');
    assert.equal(code, 0);
    const events = Buffer.concat(read)
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const kept = events.filter((event) => event.n !== undefined).length;
    const lost = events.filter((event) => event.msg === 'log lines were lost').reduce((sum, event) => sum + event.lines, 0);
    assert.ok(lost > 30_000, `${lost} lost`);
    assert.equal(kept + lost, 40_000);
    assert.equal(events.at(-1)?.msg, 'later');
  });
});
