// The stopwatch of timing.ts, in the stranger's network namespace: sends one packet to the knock port, asks an unrelated service at once, and writes
// down how long that took. argv: address, knock port, echo port (UDP), TCP port. stdin: the packets as JSON. stdout: the samples as JSON.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { Sample, TimedPacket } from './timing.ts';

const [, , address = '', knockPort = '', echoPort = '', tcpPort = ''] = process.argv;
/** Between two samples, so that the one before is over. */
const PAUSE_MS = 8;

const family = address.includes(':') ? 'udp6' : 'udp4';
const knocking = createSocket(family);
const asking = createSocket(family);
for (const [socket, port] of [
  [knocking, knockPort],
  [asking, echoPort],
] as const) {
  socket.connect(Number(port), address);
  await once(socket, 'connect');
}
knocking.on('error', () => undefined);

async function echoUs(): Promise<number> {
  const started = process.hrtime.bigint();
  asking.send('?');
  await once(asking, 'message');
  return Number(process.hrtime.bigint() - started) / 1000;
}

async function connectUs(): Promise<number> {
  const started = process.hrtime.bigint();
  const socket = connect(Number(tcpPort), address);
  await once(socket, 'connect');
  const took = Number(process.hrtime.bigint() - started) / 1000;
  socket.resetAndDestroy();
  return took;
}

const packets = JSON.parse(await text(process.stdin)) as readonly TimedPacket[];
const samples: Sample[] = [];
for (const { kind, bytes } of packets) {
  knocking.send(Buffer.from(bytes, 'base64'));
  const asked = samples.length % 2 === 0 ? 'echo' : 'connect';
  samples.push({ kind, asked, us: asked === 'echo' ? await echoUs() : await connectUs() });
  await delay(PAUSE_MS);
}
process.stdout.write(JSON.stringify(samples));
process.exit(0);
