// A server of another protocol for the client's tests, in bytes of its own: STUN and SNTP, honest or not. Prints a line when it listens.
// Started as: node client-answerer.js KIND PORT ARGUMENT
import { createSocket } from 'node:dgram';
import { parseAddress } from '../../protocol/address.ts';

type Answer = (request: Buffer) => readonly Buffer[];

/** XOR-MAPPED-ADDRESS for an IPv4 address, behind a header that a test may spoil. */
function stunAnswer(request: Buffer, address: string): Buffer {
  const parsed = parseAddress(address);
  if (!parsed.ok || parsed.value.family !== 4) throw new Error(address);
  const out = Buffer.alloc(32);
  out.writeUInt16BE(0x0101, 0);
  out.writeUInt16BE(12, 2);
  request.copy(out, 4, 4, 20);
  out.writeUInt16BE(0x0020, 20);
  out.writeUInt16BE(8, 22);
  out.writeUInt16BE(1, 24);
  for (const [at, byte] of parsed.value.bytes.entries()) out[28 + at] = byte ^ (out[4 + at] ?? 0);
  return out;
}

const KINDS: Readonly<Record<string, (argument: string) => Answer>> = {
  'stun-says': (address) => (request) => [stunAnswer(request, address)],
  'stun-other-transaction': (address) => (request) => {
    const forged = stunAnswer(request, address);
    forged[19] = (forged[19] ?? 0) ^ 1;
    return [forged];
  },
  // What arrives first is somebody else's guess; the answer comes after it.
  'stun-after-a-guess': (address) => (request) => {
    const forged = stunAnswer(request, '9.9.9.9');
    forged[8] = (forged[8] ?? 0) ^ 0x80;
    return [forged, Buffer.from('junk'), stunAnswer(request, address)];
  },
  silent: () => () => [],
};

const [kind = '', port = '', argument = ''] = process.argv.slice(2);
const answer = KINDS[kind]?.(argument);
if (answer === undefined) throw new Error(`no such answerer: ${kind}`);
const socket = createSocket({ type: 'udp6', ipv6Only: false });
socket.on('message', (request, from) => {
  process.stdout.write('asked\n');
  for (const datagram of answer(request)) socket.send(datagram, from.port, from.address);
});
socket.bind(Number(port), '::', () => process.stdout.write('ready\n'));
