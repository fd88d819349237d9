// The control socket over a real UNIX socket: who may talk, what is refused, and that a bad peer hurts nobody.
import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { z } from 'zod';
import { CommandError } from '../../daemon/command-error.ts';
import { askDaemon, NotRunning } from '../../daemon/control/ask.ts';
import { GrantsReport } from '../../daemon/control/messages.ts';
import { LEFT_OUT, piecesOf } from '../../daemon/control/pieces.ts';
import { type Answer, type ControlServer, serveControl } from '../../daemon/control/server.ts';
import { waitFor } from '../lab/wait.ts';

function socketPath(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'postern-control-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return join(folder, 'control.sock');
}

async function serve(context: TestContext, answer: Answer): Promise<{ readonly path: string; readonly server: ControlServer }> {
  const path = socketPath(context);
  const server = await serveControl(path, undefined, answer);
  context.after(() => server.close());
  return { path, server };
}

/** Sends raw bytes, gives back the first line that comes. */
function raw(path: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path, () => socket.write(bytes));
    let got = '';
    socket.setEncoding('utf8');
    socket.on('error', reject);
    socket.on('data', (chunk: string) => {
      got += chunk;
      if (got.includes('\n')) socket.end(() => resolve(got.split('\n')[0] ?? ''));
    });
  });
}

test('a request gets its answer, and a CommandError keeps its exit code and its line', async (context) => {
  const { path } = await serve(context, async (request) => {
    if (request.command === 'revoke') throw new CommandError(1, `no grant ${request.who}`);
    return { grants: [] };
  });
  assert.deepEqual(await askDaemon(path, { command: 'grants' }, GrantsReport), { grants: [] });
  await assert.rejects(askDaemon(path, { command: 'revoke', who: 'g9', keepSessions: false }, GrantsReport), {
    exitCode: 1,
    message: 'no grant g9',
  });
});

test('only its owner may connect until a group is named', async (context) => {
  const { path } = await serve(context, async () => ({}));
  assert.equal(statSync(path).mode & 0o777, 0o600);
});

test('a named group may connect, and nobody else', { skip: process.geteuid?.() !== 0 }, async (context) => {
  const path = socketPath(context);
  const server = await serveControl(path, 65_534, async () => ({}));
  context.after(() => server.close());
  const { mode, uid, gid } = statSync(path);
  assert.deepEqual([mode & 0o777, uid, gid], [0o660, 0, 65_534]);
});

const NONSENSE = [
  ['not JSON', 'hello\n'],
  ['an unknown command', '{"command":"format-disk"}\n'],
  ['an extra key', '{"command":"status","really":true}\n'],
  ['an unknown action', '{"command":"gate","action":"open"}\n'],
  ['a name that is too long', `{"command":"revoke","keepSessions":false,"who":"${'x'.repeat(300)}"}\n`],
  ['a line without an end', 'x'.repeat(5000)],
] as const;

for (const [text, bytes] of NONSENSE) {
  test(`${text} is refused, and the next one is served`, async (context) => {
    const { path } = await serve(context, async () => ({ grants: [] }));
    assert.match(await raw(path, bytes), /"ok":false,"exit":2/);
    assert.deepEqual(await askDaemon(path, { command: 'grants' }, GrantsReport), { grants: [] });
  });
}

test('whatever answers, nothing of it is a word for the terminal (P34); what is no answer is told as such', async (context) => {
  const path = socketPath(context);
  let answer = '';
  const server = createServer((socket) => void socket.on('error', () => undefined).end(`${answer}\n`));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  context.after(() => server.close());
  const ask = () => askDaemon(path, { command: 'grants' }, z.object({ who: z.string() }));
  answer = JSON.stringify({ ok: false, exit: 1, message: 'one\x1b]0;evil\x07\ntwo' });
  await assert.rejects(ask(), { message: 'one\\x1b]0;evil\\x07\ntwo' });
  answer = JSON.stringify({ ok: true, value: { who: 'alice\x1b[2J' } });
  assert.deepEqual(await ask(), { who: 'alice\\x1b[2J' });
  answer = '{"ok":tru';
  await assert.rejects(ask(), { exitCode: 1, message: /another version/ });
});

test('who asks without reading the answers is not listened to for ever', async (context) => {
  let asked = 0;
  const { path } = await serve(context, async () => {
    asked += 1;
    return { grants: ['x'.repeat(64 * 1024)] };
  });
  const socket = createConnection(path);
  socket.on('error', () => undefined);
  context.after(() => socket.destroy());
  socket.pause();
  const some = '{"command":"grants"}\n'.repeat(100);
  // No faster than it is worked off, as one would who knows that longer pieces are refused.
  for (let sent = 100; sent <= 5_000; sent += 100) {
    socket.write(some);
    if (!(await waitFor(() => asked >= sent, { deadlineMs: 500 }).catch(() => false))) break;
  }
  assert.ok(asked < 5_000, `${asked} answers were made that nobody reads`);
  assert.deepEqual((await askDaemon(path, { command: 'grants' }, z.object({ grants: z.array(z.string()) }))).grants.length, 1);
});

test('a socket that a dead daemon left is replaced, one that answers is not, a file is not', async (context) => {
  const { path, server } = await serve(context, async () => ({}));
  await assert.rejects(
    serveControl(path, undefined, async () => ({})),
    { exitCode: 1, message: /another posternd answers/ },
  );
  await server.close();
  const file = `${path}.file`;
  writeFileSync(file, '');
  await assert.rejects(
    serveControl(file, undefined, async () => ({})),
    { exitCode: 2, message: /not a socket/ },
  );
});

test('without a daemon the command says how to start it', async (context) => {
  await assert.rejects(askDaemon(socketPath(context), { command: 'status' }, GrantsReport), (error: unknown) => {
    assert.ok(error instanceof NotRunning);
    assert.match(error.message, /is not running .*systemctl start posternd/);
    return true;
  });
});

test('a listing of a hundred thousand is sent in pieces: the event loop turns, and others are answered meanwhile', async (context) => {
  const COUNT = 100_000;
  function* lines(): Generator<object, void> {
    for (let id = 1; id <= COUNT; id += 1) yield { id: `g${id}`, client: 'alice', address: '192.0.2.1', service: 'ssh', ports: ['tcp/22'] };
  }
  const { path } = await serve(context, async (request) => (request.command === 'grants' ? { grants: lines() } : { grants: [] }));
  const text = raw(path, '{"command":"grants"}\n');
  let others = 0;
  let isOver = false;
  const all = text.then((line) => {
    isOver = true;
    return JSON.parse(line) as { value: { grants: { id: string }[] } };
  });
  while (!isOver) {
    await raw(path, '{"command":"status"}\n');
    others += 1;
  }
  const { grants } = (await all).value;
  assert.deepEqual([grants.length, grants[0]?.id, grants.at(-1)?.id], [COUNT, 'g1', `g${COUNT}`]);
  assert.ok(others > 5, `${others} others were answered`);
});

test('the answer is what JSON.stringify would give', () => {
  const values = [
    null,
    7,
    'text',
    [],
    {},
    { ok: true, value: { a: [1, undefined, { b: [] }], c: undefined, d: null, e: { f: 'ü\n"' } } },
    { list: Array.from({ length: 173 }, (_, at) => ({ at })) },
  ];
  for (const value of values) assert.equal([...piecesOf(value)].join(''), JSON.stringify(value));
  assert.equal([...piecesOf({ walked: new Set([1, 2]) })].join(''), '{"walked":[1,2]}');
});

test('what is left out of a listing stands nowhere, and is a reason to pause all the same', () => {
  const walk = [LEFT_OUT, 1, LEFT_OUT, 2, LEFT_OUT];
  assert.equal([...piecesOf({ walk })].join(''), '{"walk":[1,2]}');
  assert.equal([...piecesOf([LEFT_OUT])].join(''), '[]');
  let looked = 0;
  function* over(): Generator<unknown, void> {
    for (; looked < 10_000; looked += 1) yield LEFT_OUT;
    yield 'the only one';
  }
  const pieces = piecesOf(over());
  pieces.next();
  assert.ok(looked < 100, `${looked} were looked at in one go`);
});

test('while an order takes its time, whoever waits hears that the daemon is alive', async (context) => {
  const path = socketPath(context);
  let finish = (): void => undefined;
  const order = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const server = await serveControl(path, undefined, () => order.then(() => ({ grants: [] })), 5);
  context.after(() => server.close());
  const socket = createConnection(path, () => socket.write('{"command":"reload"}\n'));
  socket.setEncoding('utf8');
  let got = '';
  for await (const chunk of socket) {
    got += chunk;
    if (got === '\n\n\n') finish();
    if (got.trim() !== '') break;
  }
  assert.match(got, /^\n{3,}\{"ok":true,"value":\{"grants":\[\]\}\}\n$/);
});

test('empty lines before an answer are waited out', async (context) => {
  const path = socketPath(context);
  const server = createServer((socket) => {
    socket.write('\n\n');
    setImmediate(() => socket.write('\n{"ok":true,"value":{"grants":[]}}\n'));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  context.after(() => server.close());
  assert.deepEqual(await askDaemon(path, { command: 'grants' }, GrantsReport), { grants: [] });
});

test('an answer of another shape is not passed on', async (context) => {
  const { path } = await serve(context, async () => ({ surprise: 1 }));
  await assert.rejects(askDaemon(path, { command: 'grants' }, GrantsReport), { message: /another version/ });
});

test('without permission the command names the group', {
  skip: process.getuid?.() === 0 ? false : 'only root can become somebody else',
}, async (context) => {
  const { path } = await serve(context, async () => ({}));
  chmodSync(dirname(path), 0o755);
  process.seteuid?.(65534);
  context.after(() => process.seteuid?.(0));
  await assert.rejects(askDaemon(path, { command: 'status' }, GrantsReport), { exitCode: 3, message: /join the group/ });
  process.seteuid?.(0);
});

test('a peer that keeps its connection busy cannot keep the daemon from stopping', async (context) => {
  const { path, server } = await serve(context, async () => ({ grants: [] }));
  const peer = createConnection(path);
  const gone = new Promise((resolve) => peer.once('close', resolve));
  peer.on('error', () => undefined);
  peer.write('{"command":"grants"}\n');
  await new Promise((resolve) => peer.once('data', resolve));
  await server.close();
  await gone;
});

test('the one who answers is told which user asks, by the kernel', async (context) => {
  const users: unknown[] = [];
  const { path } = await serve(context, async (_, user) => {
    users.push(user);
    return { grants: [] };
  });
  await askDaemon(path, { command: 'grants' }, GrantsReport);
  assert.deepEqual(users, [process.geteuid?.()]);
});
