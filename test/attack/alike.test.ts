// Black box: with `refuse: reject` and `unmatched: pass` a hidden port is to look like any closed port. The answers are compared byte by byte, but for
// ports, sequence numbers and sums, with and without junk, knocks and grants before them.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { backendName } from '../lab/backend.ts';
import type { Frame } from '../lab/capture.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, PORT, Stage, UDP_PORT } from '../lab/stage.ts';
import { deliver, Mint, pathBetween } from './adversary.ts';
import { FLAG, frame, type IpOptions, packet, TCP, tcp, UDP, udp } from './frames.ts';

const skip = labMissing() ?? false;
const CLOSED_PORT = 8_090;
const SYN_DATA = Buffer.from('GET / HTTP/1.0\r\n\r\n');
/** Else the kernel answers a peer once a second, whatever it is asked. */
const ANSWER_ALWAYS = { 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 };

const SEGMENTS: Readonly<
  Record<string, { readonly flags: number; readonly data?: Uint8Array; readonly checksum?: 'wrong'; readonly ip?: IpOptions }>
> = {
  SYN: { flags: FLAG.syn },
  'SYN with data': { flags: FLAG.syn, data: SYN_DATA },
  'SYN with ECN': { flags: FLAG.syn | FLAG.ece | FLAG.cwr },
  ACK: { flags: FLAG.ack },
  'ACK with data': { flags: FLAG.ack | FLAG.psh, data: SYN_DATA },
  FIN: { flags: FLAG.fin },
  'no flag': { flags: 0 },
  'FIN, PSH, URG': { flags: FLAG.fin | FLAG.psh | FLAG.urg },
  RST: { flags: FLAG.rst },
  'SYN with a wrong checksum': { flags: FLAG.syn, checksum: 'wrong' },
  'SYN with a hop limit of two': { flags: FLAG.syn, ip: { ttl: 2 } },
};

describe(`${backendName()}: a hidden port that answers`, { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let mint: Mint;
  before(async () => {
    stage = await Stage.create({ label: 'alike', config: { refuse: 'reject', unmatched: 'pass' } });
    await stage.server.sysctl(ANSWER_ALWAYS);
    mint = new Mint(stage.alice, stage.postern);
  });
  after(() => stage?.close());

  /** What comes back for these packets, each from a port of its own: `undefined` for silence. */
  const answers = async (at: 0 | 1, packets: readonly ((from: number) => Uint8Array)[]) => {
    const first = nextPorts(packets.length);
    const capture = await stage.server.capture({ direction: 'out' });
    await deliver(
      stage.stranger,
      stage.server,
      packets.map((make, nth) => make(first + nth)),
    );
    const frames = await capture.settle(stage.stranger.addresses()[at]);
    await capture.close();
    const byPort = new Map(frames.flatMap((each) => normal(each, at)));
    return packets.map((_, nth) => byPort.get(first + nth));
  };

  for (const { family, at } of FAMILIES) {
    test(`answers each segment of TCP as a closed port does, over ${family}`, async () => {
      const path = pathBetween(stage.stranger, stage.server, at);
      const to = (port: number) =>
        Object.values(SEGMENTS).map(({ flags, data, checksum, ip }) => (from: number) => {
          const segment = tcp(path, { from, to: port }, { flags, checksum: checksum ?? 'right' }, data);
          return frame(path, packet(path, TCP, segment, ip));
        });
      const [closed, hidden] = [await answers(at, to(CLOSED_PORT)), await answers(at, to(PORT))];
      const named = (all: readonly (string | undefined)[]) => Object.keys(SEGMENTS).map((name, nth) => `${name}: ${all[nth] ?? 'silence'}`);
      assert.notEqual(closed[0], undefined, 'a closed port answers a SYN');
      assert.deepEqual(named(hidden), named(closed));
    });

    test(`answers a datagram, junk, a true knock and its replay as a closed port does, over ${family}`, async () => {
      const path = pathBetween(stage.stranger, stage.server, at);
      const knock = mint.packet({}, 'shortest');
      const junk = new Uint8Array(knock.length).fill(7);
      const to = (port: number, payload: Uint8Array) => (from: number) =>
        frame(path, packet(path, UDP, udp(path, { from, to: port }, payload)));
      const [closed, hidden, ...knocks] = await answers(at, [
        to(CLOSED_PORT, junk),
        to(UDP_PORT, junk),
        to(KNOCK_PORT, junk),
        to(KNOCK_PORT, knock),
        to(KNOCK_PORT, knock),
        to(KNOCK_PORT, junk),
      ]);
      assert.notEqual(closed, undefined, 'a closed port answers a datagram');
      assert.equal(hidden, closed);
      assert.deepEqual(knocks, new Array(knocks.length).fill(closed));
      const { grants } = await stage.postern.status();
      assert.equal(grants.length, 1, 'one of them was a knock');
      await stage.postern.posternd(['revoke', 'alice']);
    });
  }
});

let lastPort = 20_000;
function nextPorts(count: number): number {
  lastPort += count;
  return lastPort - count;
}

/** The asker's port, and the answer without what differs from one answer to the next. */
function normal(answer: Frame, at: 0 | 1): readonly [number, string][] {
  const ip = Buffer.from(answer.ip);
  const header = at === 0 ? 20 : 40;
  const protocol = at === 0 ? ip[9] : ip[6];
  if (answer.etherType === 0x0806) return [];
  if (at === 0) ip.fill(0, 4, 6).fill(0, 10, 12);
  // The flow label is drawn by chance for each flow.
  else ip.fill(0, 1, 4);
  const body = ip.subarray(header);
  if (protocol === TCP) {
    const port = body.readUInt16BE(2);
    body.fill(0, 0, 4).fill(0, 16, 18);
    return [[port, ip.toString('hex')]];
  }
  if (protocol !== 1 && !(protocol === 58 && (body[0] ?? 0) < 128)) return [];
  // Of the quoted packet: type, code and all but its ports, its payload and the sums.
  const quoted = body.subarray(8);
  const port = quoted.readUInt16BE(header);
  return [[port, `${ip.subarray(0, header + 2).toString('hex')} ${quoted.subarray(0, header).toString('hex').length} ${ip.length}`]];
}
