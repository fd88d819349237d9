// The program that knocks for the crowd, in the client's network namespace: many people at a steady pace, or one, timed to the open port.
import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { unixMs } from '../../protocol/brand.ts';
import { checkPublicKey, type PublicKey, type SecretKey } from '../../protocol/identity.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { sealKnock } from '../../protocol/packet.ts';
import { type Pairing, pairAsClient } from '../../protocol/pairing.ts';
import { windowOf } from '../../protocol/tags.ts';
import { crowdAddress, personKey, TIMED_PORT } from './crowd.ts';

export type SenderCalls = {
  /** Computes what the first `people` clients need. */
  prepare: { ask: { serverKey: string; people: number; server: string; knockPort: number }; answer: null };
  /** One knock by each of these people, from an address of its own, for what the rules give by default; all end at `endAtMs`. */
  everybody: { ask: { first: number; count: number; perSecond: number; endAtMs: number }; answer: null };
  /** From the knock's packet to an accepted connection, in milliseconds; each round from a fresh address. */
  time: { ask: { person: number; rounds: number; firstAddress: number }; answer: readonly number[] };
};

type Person = { readonly secret: SecretKey; readonly pairing: Pairing };

const people = new Map<number, Person>();
const usedSlots = new Map<string, number>();
let serverKey: PublicKey | undefined;
let server = '';
let knockPort = 0;

function person(number: number): Person {
  const known = people.get(number);
  if (known !== undefined) return known;
  if (serverKey === undefined) throw new Error('prepare comes first');
  const secret = personKey(number);
  const made = { secret, pairing: pairAsClient(secret, serverKey) };
  people.set(number, made);
  return made;
}

function seal(number: number, requests: KnockBody['requests'], lifetimeSeconds: number): Uint8Array {
  const sentAtMs = unixMs(Date.now());
  const window = windowOf(sentAtMs);
  const slot = usedSlots.get(`${number} ${window}`) ?? 0;
  if (slot > 15) throw new Error(`person ${number} has no slot left in this minute`);
  usedSlots.set(`${number} ${window}`, slot + 1);
  const action = { kind: 'open', lifetimeSeconds, once: false } as const;
  const body: KnockBody = { action, sentAtMs, source: { kind: 'unbound' }, sourcePort: 0, requests };
  return sealKnock({ ...person(number), window, slot, body, random: (count) => new Uint8Array(randomBytes(count)) });
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
    await sendFrom(crowdAddress(first + at), seal(first + at, [], lifetimeSeconds));
  }
  return null;
}

async function time({ person: number, rounds, firstAddress }: SenderCalls['time']['ask']): Promise<readonly number[]> {
  const request: KnockBody['requests'] = [{ kind: 'ports', ports: { protocol: 'tcp', first: TIMED_PORT, last: TIMED_PORT } }];
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const address = crowdAddress(firstAddress + round);
    const packet = seal(number, request, 1);
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
    const key = checkPublicKey(Buffer.from(ask.serverKey, 'base64'));
    if (!key.ok) throw new Error(key.why);
    [serverKey, server, knockPort] = [key.value, ask.server, ask.knockPort];
    people.clear();
    for (let number = 0; number < ask.people; number += 1) person(number);
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
