// The program on the clients' side: sends knocks from a given address, and tries doors. Every attempt has a source port of its own, so that
// nothing is taken for a part of an earlier flow.
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

export type Door = {
  readonly protocol: 'tcp' | 'udp';
  readonly from: string;
  readonly to: string;
  readonly port: number;
  /** 0: one that was not used yet. */
  readonly sourcePort: number;
};
export type Outcome = 'open' | 'shut' | 'silent';

export type ProberCalls = {
  /** Each payload from a socket of its own. */
  send: { ask: { from: string; to: string; port: number; payloads: readonly string[] }; answer: null };
  probe: { ask: { doors: readonly Door[]; patienceMs: number }; answer: readonly Outcome[] };
};

const FIRST_PORT = 20_000;
const LAST_PORT = 60_000;
let lastPort = FIRST_PORT;

function nextPort(): number {
  lastPort = lastPort >= LAST_PORT ? FIRST_PORT : lastPort + 1;
  return lastPort;
}

function sendOne(from: string, to: string, port: number, payload: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4');
    socket.once('error', reject);
    socket.bind({ address: from, port: nextPort() }, () =>
      socket.send(payload, port, to, (error) => {
        socket.close();
        if (error === null) resolve();
        else reject(error);
      }),
    );
  });
}

function tryTcp({ from, to, port, sourcePort }: Door, patienceMs: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: to, port, localAddress: from, localPort: sourcePort === 0 ? nextPort() : sourcePort });
    const finish = (outcome: Outcome) => {
      clearTimeout(timer);
      // A reset and no FIN: no TIME_WAIT. While it is connecting, Node would wait for the connection first.
      if (outcome === 'open') socket.resetAndDestroy();
      else socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => finish('silent'), patienceMs);
    socket.once('connect', () => finish('open'));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET') finish('shut');
      else {
        clearTimeout(timer);
        reject(error);
      }
    });
  });
}

function tryUdp({ from, to, port, sourcePort }: Door, patienceMs: number): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(from.includes(':') ? 'udp6' : 'udp4');
    const finish = (outcome: Outcome) => {
      clearTimeout(timer);
      socket.close(() => resolve(outcome));
    };
    const timer = setTimeout(() => finish('silent'), patienceMs);
    socket.once('message', () => finish('open'));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') finish('shut');
      else {
        clearTimeout(timer);
        reject(error);
      }
    });
    socket.bind({ address: from, port: sourcePort === 0 ? nextPort() : sourcePort }, () =>
      socket.connect(port, to, () => socket.send('?')),
    );
  });
}

const CALLS: { readonly [K in keyof ProberCalls]: (ask: ProberCalls[K]['ask']) => Promise<ProberCalls[K]['answer']> } = {
  send: async ({ from, to, port, payloads }) => {
    for (const payload of payloads) await sendOne(from, to, port, Buffer.from(payload, 'base64'));
    return null;
  },
  probe: ({ doors, patienceMs }) =>
    Promise.all(doors.map((door) => (door.protocol === 'tcp' ? tryTcp(door, patienceMs) : tryUdp(door, patienceMs)))),
};

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const { id, call, ask } = message as { id: number; call: keyof ProberCalls; ask: never };
  CALLS[call](ask).then(
    (answer) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
process.send?.({ id: 0, answer: null });
