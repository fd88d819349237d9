// The program that sends knocks and tries doors, in the client's namespace: the same for every system, so that what differs is the server. It calls
// libc itself: a connection through Node's event loop takes longer than what is measured here.
import { spawn, spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { TIMED_PORT } from './crowd.ts';
import type { Command, SenderCalls, SentKnock } from './knock-sender-calls.ts';

const [AF_INET, SOCK_STREAM, SOCK_DGRAM, SOL_SOCKET, SO_LINGER, SO_SNDTIMEO, PR_SET_TIMERSLACK] = [2, 1, 2, 1, 13, 21, 29];
const RESET_ON_CLOSE = new Uint8Array(Int32Array.of(1, 0).buffer);
/** A SYN that got lost is repeated by the kernel only after a second; a fresh connection is the faster look. */
const ATTEMPT_MS = 50;
/** Between two looks the processor is free for the server. */
const PAUSE_US = 20;

type Call = (...args: readonly unknown[]) => number;
const koffi = createRequire(import.meta.url)('koffi') as {
  load: (path: null) => { func: (name: string, result: string, args: readonly string[]) => Call };
};
const libc = koffi.load(null);
const socket = libc.func('socket', 'int', ['int', 'int', 'int']);
const bind = libc.func('bind', 'int', ['int', 'void *', 'uint32_t']);
const connect = libc.func('connect', 'int', ['int', 'void *', 'uint32_t']);
const setsockopt = libc.func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint32_t']);
const sendto = libc.func('sendto', 'intptr_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint32_t']);
const close = libc.func('close', 'int', ['int']);
const usleep = libc.func('usleep', 'int', ['uint32_t']);
libc.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong'])(PR_SET_TIMERSLACK, 1000, 0, 0, 0);

/** struct sockaddr_in */
function endpoint(address: string, port: number): Uint8Array {
  return new Uint8Array([AF_INET, 0, port >> 8, port & 0xff, ...address.split('.').map(Number), 0, 0, 0, 0, 0, 0, 0, 0]);
}

function boundSocket(type: number, from: string): number {
  const fd = socket(AF_INET, type, 0);
  if (fd < 0) throw new Error('socket failed');
  const local = endpoint(from, 0);
  if (bind(fd, local, local.length) !== 0) throw new Error(`bind to ${from} failed`);
  return fd;
}

/** struct timeval for SO_SNDTIMEO, which connect(2) heeds. */
const ATTEMPT = new Uint8Array(BigInt64Array.of(0n, BigInt(ATTEMPT_MS * 1000)).buffer);

/** One fresh connection, reset at once: it leaves nothing behind. */
function accepts(from: string, to: Uint8Array): boolean {
  const fd = boundSocket(SOCK_STREAM, from);
  setsockopt(fd, SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE, RESET_ON_CLOSE.length);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, ATTEMPT, ATTEMPT.length);
  const isOpen = connect(fd, to, to.length) === 0;
  close(fd);
  return isOpen;
}

type Ready = { readonly to: Uint8Array; readonly payload: Uint8Array };

function ready(knock: SentKnock, to: string): readonly Ready[] {
  return knock.datagrams.map(({ port, payload }) => ({ to: endpoint(to, port), payload: Buffer.from(payload, 'base64') }));
}

function sendAll(fd: number, datagrams: readonly Ready[]): void {
  for (const { to, payload } of datagrams) {
    if (sendto(fd, payload, payload.length, 0, to, to.length) !== payload.length) throw new Error('sendto failed');
  }
}

/** Between two looks while a command runs: the processors are its own and the server's. */
const LONG_PAUSE_US = 200;

function environment({ env }: Command): Readonly<Record<string, string>> {
  return { PATH: process.env['PATH'] ?? '', ...env };
}

const CALLS: { readonly [K in keyof SenderCalls]: (ask: SenderCalls[K]['ask']) => SenderCalls[K]['answer'] } = {
  time: ({ to, knock, deadlineMs }) => {
    const door = endpoint(to, TIMED_PORT);
    const datagrams = ready(knock, to);
    if (accepts(knock.from, door)) throw new Error(`${to}:${TIMED_PORT} is open for ${knock.from} before the knock`);
    const fd = boundSocket(SOCK_DGRAM, knock.from);
    const started = performance.now();
    sendAll(fd, datagrams);
    let looks = 0;
    let isOpen = false;
    while (!isOpen && performance.now() - started < deadlineMs) {
      if (looks > 0) usleep(PAUSE_US);
      looks += 1;
      isOpen = accepts(knock.from, door);
    }
    const ms = performance.now() - started;
    close(fd);
    return { ms: isOpen ? ms : null, looks };
  },
  blast: ({ to, knocks, perSecond }) => {
    const all = knocks.map((knock) => ({ from: knock.from, datagrams: ready(knock, to) }));
    const started = performance.now();
    for (const [at, { from, datagrams }] of all.entries()) {
      const earlyMs = started + (at * 1000) / perSecond - performance.now();
      if (earlyMs > 0.1) usleep(Math.floor(earlyMs * 1000));
      const fd = boundSocket(SOCK_DGRAM, from);
      sendAll(fd, datagrams);
      close(fd);
    }
    return { tookMs: performance.now() - started };
  },
  run: (command) => {
    const [program = '', ...args] = command.argv;
    const started = performance.now();
    const { status, stderr } = spawnSync(program, args, {
      env: environment(command),
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
    });
    const ms = performance.now() - started;
    if (status !== 0) throw new Error(`${program}: exit ${status}: ${stderr}`);
    return { ms };
  },
  runToOpen: ({ to, from, deadlineMs, ...command }) => {
    const [program = '', ...args] = command.argv;
    const door = endpoint(to, TIMED_PORT);
    if (accepts(from, door)) throw new Error(`${to}:${TIMED_PORT} is open for ${from} before the command`);
    const started = performance.now();
    spawn(program, args, { env: environment(command), stdio: 'ignore' }).unref();
    let isOpen = false;
    while (!isOpen && performance.now() - started < deadlineMs) {
      usleep(LONG_PAUSE_US);
      isOpen = accepts(from, door);
    }
    return { ms: isOpen ? performance.now() - started : null };
  },
  open: ({ to, from }) => {
    const door = endpoint(to, TIMED_PORT);
    return from.filter((address) => accepts(address, door));
  },
};

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const { id, call, ask } = message as { id: number; call: keyof SenderCalls; ask: never };
  try {
    process.send?.({ id, answer: CALLS[call](ask) });
  } catch (error) {
    process.send?.({ id, error: String(error) });
  }
});
