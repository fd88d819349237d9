// The daemon's end of the control socket: reads one request a line, lets `answer` decide, writes one reply a line.
import { chmodSync, chownSync, closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { CommandError } from '../command-error.ts';
import { peerUser } from '../netlink/peer-user.ts';
import { pacing } from '../pacing.ts';
import { type Reply, Request } from './messages.ts';
import { piecesOf } from './pieces.ts';

// Tunable: nobody has a reason to send more than this in one line, or to hold more connections.
const MAX_LINE_BYTES = 4096;
const MAX_CONNECTIONS = 32;
/** From linux/fcntl.h; Node does not name it. */
const O_PATH = 0o10000000;
/** Tunable: an idle peer is let go. */
const IDLE_MS = 10_000;
/** Tunable: well below the patience of whoever asks. */
const ALIVE_MS = 2_000;

/** `user`: the number of who asks, where the kernel tells. */
export type Answer = (request: Request, user: number | undefined) => Promise<unknown>;

export type ControlServer = {
  /** Listens no more and hangs up on everybody: no peer can keep the daemon from stopping. */
  readonly close: () => Promise<void>;
};

/**
 * Listens on a UNIX socket, mode 0660, owned by `groupId` where that is given; whoever may connect may command.
 * A socket that a dead daemon left is replaced; one that answers is not (CommandError).
 */
export async function serveControl(path: string, groupId: number | undefined, answer: Answer, aliveMs = ALIVE_MS): Promise<ControlServer> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  await clearStale(path);
  const peers = new Set<Socket>();
  const server = createServer((socket) => {
    peers.add(socket);
    socket.once('close', () => peers.delete(socket));
    converse(socket, answer, aliveMs);
  });
  server.maxConnections = MAX_CONNECTIONS;
  // Created closed to all others, then opened to the group: never the other way round.
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
  } catch (error) {
    throw new CommandError(
      1,
      `cannot listen on ${path} (${String(error)}): check the folder's owner, or set "control" in the configuration`,
    );
  } finally {
    process.umask(before);
  }
  try {
    if (groupId !== undefined) giveToGroup(path, groupId);
  } catch (error) {
    // An open server would keep the process from ending.
    server.close();
    throw new CommandError(1, `cannot give ${path} to its group (${String(error)}): start the daemon as a member of that group`);
  }
  return {
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const peer of peers) peer.destroy();
      }),
  };
}

/** The socket itself, never what a link in its place leads to: root may run this in a folder of the daemon's user. */
function giveToGroup(path: string, groupId: number): void {
  const file = openSync(path, O_PATH | constants.O_NOFOLLOW);
  try {
    if (!fstatSync(file).isSocket()) throw new Error('somebody put another file in its place');
    const itself = `/proc/self/fd/${file}`;
    chownSync(itself, -1, groupId);
    chmodSync(itself, 0o660);
  } finally {
    closeSync(file);
  }
}

async function clearStale(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new CommandError(2, `${path} exists and is not a socket: move it away, or set "control" to another path`);
  const answered = await new Promise<boolean>((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
  if (answered) throw new CommandError(1, `another posternd answers at ${path}: stop it first, or give this one a "control" of its own`);
  unlinkSync(path);
}

function converse(socket: Socket, answer: Answer, aliveMs: number): void {
  let pending = '';
  let turn: Promise<unknown> = Promise.resolve();
  socket.setEncoding('utf8');
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk: string) => {
    pending += chunk;
    if (pending.length > MAX_LINE_BYTES) {
      pending = '';
      turn = turn.then(() => send(socket, { ok: false, exit: 2, message: `a request is one line of at most ${MAX_LINE_BYTES} bytes` }));
      turn = turn.then(() => socket.end());
      return;
    }
    const lines = pending.split('\n');
    pending = lines.pop() ?? '';
    if (lines.length === 0) return;
    // Worked off at once, answered in the order of asking. Who does not read the answers is not listened to either: they would pile up here.
    const user = userOf(socket);
    for (const sentence of lines.map((line) => reply(line, (request) => answer(request, user))))
      turn = turn.then(() => sendWhenReady(socket, sentence, aliveMs));
    socket.pause();
    void turn.then(() => socket.resume());
  });
}

/** While an order takes its time (ten thousand clients are read anew), empty lines tell the one who waits that this daemon is alive. */
async function sendWhenReady(socket: Socket, sentence: Promise<Reply>, aliveMs: number): Promise<void> {
  const alive = setInterval(() => socket.writable && socket.write('\n'), aliveMs);
  try {
    await send(socket, await sentence.finally(() => clearInterval(alive)));
  } catch {
    // The peer is gone, or what was to be listed could not be: half an answer is none.
    socket.destroy();
  }
}

/** As fast as the peer reads it, in slices of time. */
async function send(socket: Socket, sentence: Reply): Promise<void> {
  const pace = pacing();
  for (const piece of piecesOf(sentence)) {
    if (!socket.writable) return;
    if (!socket.write(piece)) await drained(socket);
    await pace();
  }
  if (socket.writable) socket.write('\n');
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
}

async function reply(line: string, answer: (request: Request) => Promise<unknown>): Promise<Reply> {
  const request = Request.safeParse(readJson(line));
  if (!request.success)
    return { ok: false, exit: 2, message: 'not a request that this posternd knows: is the command from another version?' };
  try {
    return { ok: true, value: await answer(request.data) };
  } catch (error) {
    if (error instanceof CommandError) return { ok: false, exit: error.exitCode, message: error.message };
    return { ok: false, exit: 1, message: error instanceof Error ? error.message : String(error) };
  }
}

/** Node hands the descriptor out by no other way. */
function userOf(socket: Socket): number | undefined {
  const fd: unknown = Object(Object(socket)._handle).fd;
  return typeof fd === 'number' && fd >= 0 ? peerUser(fd) : undefined;
}

function readJson(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return undefined;
  }
}
