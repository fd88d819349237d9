// Netlink sockets against the real kernel: answers, errno, timeouts, the end of the process.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { decodeMessages, encodeMessage, NLM_F_ACK, NLM_F_REQUEST, nfgenmsg } from '../../daemon/netlink/message.ts';
import { KernelError, openNetlink } from '../../daemon/netlink/socket.ts';

const NETLINK_NETFILTER = 12;
const GETGEN = (10 << 8) | 16;
const getGeneration = encodeMessage({ type: GETGEN, flags: NLM_F_REQUEST, sequence: 77, payload: nfgenmsg(0, 0) });

test('asks the kernel and reads its answer without waiting', async () => {
  const socket = openNetlink(NETLINK_NETFILTER);
  assert.notEqual(socket.portId, 0);
  assert.equal(socket.receive(), undefined);
  socket.send(getGeneration);
  const answer = decodeMessages(socket.receive() ?? new Uint8Array());
  assert.deepEqual(
    answer.map(({ sequence, port }) => [sequence, port]),
    [[77, socket.portId]],
  );
  await socket.sendAsync(getGeneration);
  assert.notEqual(socket.receive(), undefined);
  await socket.close();
});

test('waits on a thread: a message, a timeout, the end', async () => {
  const socket = openNetlink(NETLINK_NETFILTER, { receiveTimeoutMs: 20 });
  assert.deepEqual(await socket.receiveAsync(), { kind: 'timeout' });
  socket.send(getGeneration);
  const received = await socket.receiveAsync();
  assert.equal(received.kind, 'message');
  const waiting = socket.receiveAsync();
  await assert.rejects(socket.receiveAsync(), /waiting already/);
  await socket.close();
  assert.deepEqual(await waiting, { kind: 'closed' });
  assert.deepEqual(await socket.receiveAsync(), { kind: 'closed' });
  assert.throws(() => socket.send(getGeneration), /EBADF/);
});

test('keeps the error number of a call on a thread', async () => {
  const socket = openNetlink(NETLINK_NETFILTER);
  // Longer than the socket's send buffer: EMSGSIZE, which nothing else here gives.
  await assert.rejects(
    socket.sendAsync(new Uint8Array(8 * 1024 * 1024)),
    (error) => error instanceof KernelError && error.code === 'EMSGSIZE',
  );
  assert.throws(
    () => openNetlink(9999),
    (error) => error instanceof KernelError && error.code === 'EPROTONOSUPPORT',
  );
  await socket.close();
});

test('reports an overrun and goes on', async () => {
  const socket = openNetlink(NETLINK_NETFILTER);
  const SOL_SOCKET = 1;
  const SO_RCVBUF = 8;
  socket.setOption(SOL_SOCKET, SO_RCVBUF, 1);
  // Errors are queued as long as there is room; then the socket is marked.
  const refused = encodeMessage({ type: 0xfff, flags: NLM_F_REQUEST | NLM_F_ACK, sequence: 1, payload: nfgenmsg(0, 0) });
  for (let count = 0; count < 100; count += 1) socket.send(refused);
  const kinds = new Set<string>();
  for (let count = 0; count < 100; count += 1) {
    const { kind } = await socket.receiveAsync();
    kinds.add(kind);
    if (kind === 'timeout') break;
  }
  assert.deepEqual([...kinds].sort(), ['message', 'overrun', 'timeout']);
  await socket.close();
});

test('a receive that waits does not keep the process from exiting', async () => {
  const source = `
    const { openNetlink } = await import(${JSON.stringify(new URL('../../daemon/netlink/socket.js', import.meta.url).href)});
    void openNetlink(12).receiveAsync();
    setTimeout(() => process.exit(7), 20);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], { stdio: 'inherit' });
  const guard = setTimeout(() => child.kill('SIGKILL'), 10_000);
  const [code] = await once(child, 'exit');
  clearTimeout(guard);
  assert.equal(code, 7);
});
