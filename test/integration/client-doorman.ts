// A server for the client's tests: opens each knock with protocol/, says as a JSON line what it read, and opens a door for its sender.
// It is no posternd: no ledger, no policy; what it refuses it says. Started by client-doorway.ts.
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';
import { type IpAddress, parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { checkPublicKey, secretFromSeed } from '../../protocol/identity.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { openKnock, tagOfDatagram } from '../../protocol/packet.ts';
import { type Pairing, pairAsServer } from '../../protocol/pairing.ts';
import { MAX_SLOTS, tagOf, windowOf } from '../../protocol/tags.ts';

/** `serverSeed`: hexadecimal. The client's public key comes by standard input, a line of hexadecimal digits, whenever it changes. */
export type DoormanOptions = { readonly serverSeed: string; readonly port: number };

/** What one datagram was. `tag` holds hexadecimal digits. */
export type Heard = {
  readonly heard: 'knock' | 'replay' | 'junk';
  readonly from: string;
  readonly fromPort: number;
  readonly bytes: number;
  readonly window?: number;
  readonly slot?: number;
  readonly body?: {
    readonly action: KnockBody['action'];
    readonly source: string | null;
    readonly requests: KnockBody['requests'];
  };
};

const options = JSON.parse(process.argv[2] ?? '{}') as DoormanOptions;
const server = secretFromSeed(Buffer.from(options.serverSeed, 'hex'));
let pairing: Pairing | undefined;
const used = new Set<string>();

createInterface(process.stdin).on('line', (line) => {
  const client = checkPublicKey(Buffer.from(line, 'hex'));
  if (!client.ok) throw new Error(client.why);
  pairing = pairAsServer(server, client.value);
  used.clear();
  say({ serving: line });
});

const socket = createSocket({ type: 'udp6', ipv6Only: false });
socket.on('message', (payload, { address, port }) => {
  const from = parseAddress(address);
  if (!from.ok) throw new Error(from.why);
  const heard = read(payload);
  if (heard.heard === 'knock' && heard.body !== undefined) turnDoor(from.value, heard.body.action.kind);
  say({ ...heard, from: from.value.text, fromPort: port, bytes: payload.length });
});
socket.bind(options.port, '::', () => say({ ready: true }));

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function read(payload: Uint8Array): Pick<Heard, 'heard' | 'window' | 'slot' | 'body'> {
  const tag = tagOfDatagram(payload);
  const now = windowOf(unixMs(Date.now()));
  for (const window of [now, now - 1, now + 1]) {
    for (let slot = 0; tag !== undefined && pairing !== undefined && slot < MAX_SLOTS; slot += 1) {
      if (Buffer.compare(tagOf(pairing, window, slot), tag) !== 0) continue;
      const opened = openKnock(payload, pairing, window);
      if (!opened.ok) return { heard: 'junk' };
      const { action, source, requests } = opened.body;
      const body = { action, source: source.kind === 'bound' ? source.address.text : null, requests };
      const heard = used.has(`${window}.${slot}`) ? 'replay' : 'knock';
      used.add(`${window}.${slot}`);
      return { heard, window, slot, body };
    }
  }
  return { heard: 'junk' };
}

function turnDoor(address: IpAddress, action: 'open' | 'close'): void {
  const element = `element inet door open${address.family} { ${address.text} }`;
  // Add before delete: it must not matter whether the door was open.
  try {
    execFileSync('nft', [action === 'open' ? `add ${element}` : `add ${element}; delete ${element}`], { stdio: 'pipe' });
  } catch (cause) {
    // A test took the door away.
    say({ doorless: String(cause) });
  }
}
