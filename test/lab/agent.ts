// The program that lives in a laboratory host: opens and accepts connections there when the test asks over IPC.
// It ends with its parent.
import { createSocket } from 'node:dgram';
import { connect, createServer, isIPv6, type Socket } from 'node:net';
import type { AgentCall, Answer, Ask, ConnectOutcome } from './agent-protocol.ts';

type Held = { readonly socket: Socket; ending: 'closed' | 'reset' };
const held = new Map<number, Held>();
let lastHeld = 0;

const CALLS: { readonly [K in AgentCall]: (ask: Ask<K>) => Promise<Answer<K>> } = {
  listen: async ({ tcp, udp, banner }) => {
    await Promise.all([...tcp.map((port) => listenTcp(port, banner ?? 'hello\n')), ...udp.map(listenUdp)]);
    return null;
  },
  connect: tryConnect,
  hold: holdConnection,
  talk: talkOver,
  hangUp: async ({ connection }) => {
    held.get(connection)?.socket.destroy();
    held.delete(connection);
    return null;
  },
  udp: exchangeUdp,
};

function listenTcp(port: number, banner: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.setNoDelay(true);
      socket.write(banner);
      socket.pipe(socket);
    });
    server.once('error', reject);
    server.listen({ port, host: '::', backlog: 1024 }, resolve);
  });
}

async function listenUdp(port: number): Promise<void> {
  await Promise.all(
    (['udp4', 'udp6'] as const).map(
      (type) =>
        new Promise<void>((resolve, reject) => {
          const socket = createSocket(type === 'udp6' ? { type, ipv6Only: true } : { type });
          socket.once('error', reject);
          socket.on('message', (bytes, from) => socket.send(bytes, from.port, from.address));
          socket.bind(port, () => resolve());
        }),
    ),
  );
}

function outcomeOf(error: NodeJS.ErrnoException): ConnectOutcome['outcome'] {
  if (error.code === 'ECONNREFUSED') return 'refused';
  if (error.code === 'ECONNRESET') return 'reset';
  return error.code === 'ETIMEDOUT' ? 'timeout' : 'unreachable';
}

function tryConnect(ask: Ask<'connect'>): Promise<ConnectOutcome> {
  return new Promise((resolve) => {
    const started = performance.now();
    let reply = '';
    let localPort = ask.sourcePort ?? 0;
    const socket = connect({
      host: ask.address,
      port: ask.port,
      ...(ask.sourcePort === undefined ? {} : { localPort: ask.sourcePort }),
      ...(ask.localAddress === undefined ? {} : { localAddress: ask.localAddress }),
    });
    const finish = (outcome: ConnectOutcome['outcome']): void => {
      clearTimeout(timer);
      // A reset instead of a FIN: no TIME_WAIT, so that the same source port can be used again at once. Not while it is
      // connecting: Node would wait for the connection first, and the kernel would go on sending SYNs.
      if (outcome === 'open') socket.resetAndDestroy();
      else socket.destroy();
      resolve({ outcome, elapsedMs: performance.now() - started, reply, localPort });
    };
    const timer = setTimeout(() => finish('timeout'), ask.timeoutMs);
    socket.setEncoding('utf8');
    socket.once('error', (error: NodeJS.ErrnoException) => finish(outcomeOf(error)));
    socket.once('connect', () => {
      localPort = socket.localPort ?? localPort;
      if (ask.payload === undefined) finish('open');
      else socket.write(ask.payload);
    });
    socket.on('data', (text: string) => {
      reply += text;
      if (ask.payload !== undefined && reply.endsWith(ask.payload)) finish('open');
    });
  });
}

function holdConnection(ask: Ask<'hold'>): Promise<number> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: ask.address, port: ask.port });
    const connection: Held = { socket, ending: 'closed' };
    const timer = setTimeout(() => socket.destroy(new Error(`no connection in ${ask.timeoutMs} ms`)), ask.timeoutMs);
    socket.setEncoding('utf8').setNoDelay(true);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      connection.ending = error.code === 'ECONNRESET' || error.code === 'EPIPE' ? 'reset' : 'closed';
      reject(error);
    });
    socket.once('connect', () => {
      clearTimeout(timer);
      lastHeld += 1;
      held.set(lastHeld, connection);
      socket.resume();
      resolve(lastHeld);
    });
  });
}

function talkOver(ask: Ask<'talk'>): Promise<Answer<'talk'>> {
  return new Promise((resolve) => {
    const connection = held.get(ask.connection);
    if (connection === undefined || connection.socket.destroyed) return resolve(connection?.ending ?? 'closed');
    const { socket } = connection;
    let reply = '';
    const finish = (answer: Answer<'talk'>): void => {
      clearTimeout(timer);
      socket.off('data', gather).off('close', onClose);
      resolve(answer);
    };
    const gather = (text: string): void => {
      reply += text;
      if (reply.includes(ask.payload)) finish('echoed');
    };
    const onClose = (): void => finish(connection.ending);
    const timer = setTimeout(() => finish('timeout'), ask.timeoutMs);
    socket.on('data', gather).on('close', onClose);
    socket.write(ask.payload);
  });
}

function exchangeUdp(ask: Ask<'udp'>): Promise<Answer<'udp'>> {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(ask.address) ? 'udp6' : 'udp4');
    const replies: string[] = [];
    let error = '';
    const finish = (): void => {
      clearTimeout(timer);
      socket.close(() => resolve({ replies, error }));
    };
    let timer: NodeJS.Timeout | undefined;
    socket.on('error', (problem: NodeJS.ErrnoException) => {
      error = problem.code ?? problem.message;
    });
    socket.on('message', (bytes) => {
      replies.push(bytes.toString('base64'));
      if (replies.length === ask.wanted) finish();
    });
    socket.bind(ask.sourcePort ?? 0, () => {
      // Connected, so that an ICMP answer of the other side is seen as an error.
      socket.connect(ask.port, ask.address, (problem?: Error) => {
        if (problem !== undefined) error = problem.message;
        let left = ask.payloads.length;
        for (const payload of ask.payloads) {
          socket.send(Buffer.from(payload, 'base64'), () => {
            left -= 1;
            if (left === 0) timer = setTimeout(finish, ask.waitMs);
          });
        }
      });
    });
  });
}

type Envelope = { readonly id: number; readonly call: AgentCall; readonly ask: never };

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const { id, call, ask } = message as Envelope;
  CALLS[call](ask).then(
    (answer: unknown) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
process.send?.({ id: 0, answer: null });
