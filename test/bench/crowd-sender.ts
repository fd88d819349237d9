// The program that knocks for the crowd, in the client's network namespace: many people at a steady pace, or one, timed to the open port.
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { crowdAddress, TIMED_PORT } from './crowd.ts';
import { CrowdKnocks, TIMED_REQUEST } from './crowd-knocks.ts';

export type SenderCalls = {
  /** Computes what the first `people` clients need. */
  prepare: { ask: { serverKey: string; people: number; server: string; knockPort: number }; answer: null };
  /** One knock by each of these people, from an address of its own, for what the rules give by default; all end at `endAtMs`. */
  everybody: { ask: { first: number; count: number; perSecond: number; endAtMs: number }; answer: null };
  /** From the knock's packet to an accepted connection, in milliseconds; each round from a fresh address. */
  time: { ask: { person: number; rounds: number; firstAddress: number }; answer: readonly number[] };
};

let crowd: CrowdKnocks | undefined;
let server = '';
let knockPort = 0;

function knocks(): CrowdKnocks {
  if (crowd === undefined) throw new Error('prepare comes first');
  return crowd;
}

async function boundSocket(address: string): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind({ address, port: 0 });
  await once(socket, 'listening');
  return socket;
}

async function sendFrom(address: string, packet: Uint8Array): Promise<void> {
  const socket = await boundSocket(address);
  await new Promise<void>((resolve) => socket.send(packet, knockPort, server, () => resolve()));
  socket.close();
}

async function everybody({ first, count, perSecond, endAtMs }: SenderCalls['everybody']['ask']): Promise<null> {
  const started = performance.now();
  for (let at = 0; at < count; at += 1) {
    const early = started + (at * 1000) / perSecond - performance.now();
    if (early > 2) await delay(early);
    const lifetimeSeconds = Math.max(1, Math.round((endAtMs - Date.now()) / 1000));
    await sendFrom(crowdAddress(first + at), knocks().seal(first + at, { requests: [], lifetimeSeconds }));
  }
  return null;
}

async function time({ person: number, rounds, firstAddress }: SenderCalls['time']['ask']): Promise<readonly number[]> {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const address = crowdAddress(firstAddress + round);
    const packet = knocks().seal(number, { requests: TIMED_REQUEST, lifetimeSeconds: 1 });
    const socket = await boundSocket(address);
    const started = performance.now();
    socket.send(packet, knockPort, server);
    while (!(await accepts(address))) {
      if (performance.now() - started > 5_000) throw new Error(`person ${number} is not let in after 5 s`);
    }
    times.push(performance.now() - started);
    socket.close();
  }
  return times;
}

/** One fresh connection; a closed port refuses at once. */
function accepts(localAddress: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: server, port: TIMED_PORT, localAddress });
    socket.once('connect', () => {
      socket.resetAndDestroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

const CALLS: { readonly [K in keyof SenderCalls]: (ask: SenderCalls[K]['ask']) => Promise<SenderCalls[K]['answer']> } = {
  prepare: async (ask) => {
    crowd = new CrowdKnocks(ask.serverKey);
    [server, knockPort] = [ask.server, ask.knockPort];
    for (let number = 0; number < ask.people; number += 1) crowd.person(number);
    return null;
  },
  everybody,
  time,
};

process.on('disconnect', () => process.exit(0));
process.on('message', (message) => {
  const { id, call, ask } = message as { id: number; call: keyof SenderCalls; ask: never };
  CALLS[call](ask).then(
    (answer) => process.send?.({ id, answer }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
process.send?.({ id: 0, answer: null });
