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

type Spoilt = { readonly leap?: number; readonly stratum?: number; readonly referenceId?: string; readonly offByMs?: number };

/** RFC 5905 figure 8, with this machine's time. */
function sntpAnswer(request: Buffer, { leap = 0, stratum = 2, referenceId = '', offByMs = 0 }: Spoilt): Buffer {
  const out = Buffer.alloc(48);
  out[0] = (leap << 6) | (4 << 3) | 4;
  out[1] = stratum;
  out.write(referenceId, 12, 'latin1');
  request.copy(out, 24, 40, 48);
  const unixS = (Date.now() + offByMs) / 1000;
  for (const at of [16, 32, 40]) {
    out.writeUInt32BE(Math.floor(unixS) + 2_208_988_800, at);
    out.writeUInt32BE(Math.floor((unixS % 1) * 2 ** 32), at + 4);
  }
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
  'sntp-honest': () => (request) => [sntpAnswer(request, {})],
  'sntp-kiss': () => (request) => [sntpAnswer(request, { stratum: 0, referenceId: 'DENY' })],
  'sntp-unsynchronized': () => (request) => [sntpAnswer(request, { leap: 3 })],
  // What arrives first are other people's guesses, a day off; the answer comes after them.
  'sntp-after-guesses': () => (request) => {
    const forged = sntpAnswer(request, { offByMs: 86_400_000 });
    forged[31] = (forged[31] ?? 0) ^ 1;
    const asClient = sntpAnswer(request, { offByMs: 86_400_000 });
    asClient[0] = 0x23;
    return [forged, asClient, forged.subarray(0, 47), sntpAnswer(request, {})];
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
