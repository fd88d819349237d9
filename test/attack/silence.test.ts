// Black box: a sniffer on the server's way out through scans, junk, replays, forged senders and knocks. Everything that leaves has somebody to whom
// it is owed, and none of it has to do with the hidden ports. `npm run attack` scans all 65,535 ports; the short run a few hundred.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { parseAddress } from '../../protocol/address.ts';
import { backendName, lacks } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, FORBIDDEN_PORT, KNOCK_PORT, PORT, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { deliver, Mint, pathBetween } from './adversary.ts';
import { FLAG, frame, packet, TCP, tcp, UDP, udp } from './frames.ts';
import { hexOf, type Known, owedTo } from './owed.ts';

const skip = labMissing() ?? false;
const FULL = process.env['POSTERN_ATTACK'] === 'full';
const OPEN_PORT = 8_024;
const CLOSED_PORT = 8_090;
const PORTS = FULL ? '-' : `${OPEN_PORT},${CLOSED_PORT},${PORT},${FORBIDDEN_PORT},${UDP_PORT},${KNOCK_PORT - 5}-${KNOCK_PORT + 5}`;
const HIDDEN = [`tcp/${PORT}`, `tcp/${FORBIDDEN_PORT}`, `udp/${UDP_PORT}`, `udp/${KNOCK_PORT}`];
/** Otherwise the kernel answers a peer once a second, and a scan shows closed ports as silent. */
const ANSWER_ALWAYS = { 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 };
const SCAN = ['-n', '-Pn', '--max-retries', '1', '--min-rate', '5000', '--max-rtt-timeout', '200ms', '--initial-rtt-timeout', '100ms'];

describe(`${backendName()}: on the server's way out`, { skip, timeout: 600_000 }, () => {
  let stage: Stage;
  let alice: Mint;
  before(async () => {
    stage = await Stage.create({ label: 'silence' });
    await stage.server.listen({ tcp: [OPEN_PORT] });
    await stage.server.sysctl(ANSWER_ALWAYS);
    alice = new Mint(stage.alice, stage.postern);
  });
  after(() => stage?.close());

  const nmap = async (from: Host, address: string, ...args: readonly string[]) => {
    const { stdout } = await from.exec(['nmap', ...SCAN, ...(address.includes(':') ? ['-6'] : []), ...args, address], {
      timeoutMs: 300_000,
    });
    return Object.fromEntries([...stdout.matchAll(/^(\d+\/(?:tcp|udp)) +(\S+)/gm)].map(([, port = '', state = '']) => [port, state]));
  };
  const knownBut = (address: string): Known => {
    const parsed = parseAddress(address);
    assert.ok(parsed.ok);
    return { hidden: HIDDEN, granted: [address.includes(':') ? hexOf(parsed.value.bytes) : address] };
  };
  /** What was sent while `action` ran, by whom it was owed to; the frames that nobody was owed as text. */
  const sentDuring = async (at: 0 | 1, granted: Host, action: () => Promise<void>) => {
    const capture = await stage.server.capture({ direction: 'out', bytesOfFrame: 160 });
    await action();
    const frames = await capture.settle(stage.stranger.addresses()[at]);
    const missed = await capture.stop();
    await capture.close();
    assert.equal(missed, 0, 'frames that the sniffer could not keep up with');
    const known = knownBut(granted.addresses()[at]);
    const owed = frames.map((each) => owedTo(each, known));
    const unowed = frames.filter((_, nth) => owed[nth] === undefined);
    return { kinds: new Set(owed), unowed: unowed.map(({ ip }) => Buffer.from(ip).toString('hex')) };
  };

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`scans find what is open, and nothing of what is hidden, over ${family}`, async () => {
      const { kinds, unowed } = await sentDuring(at, stage.client, async () => {
        const found = await nmap(stage.stranger, address(), '-sS', '-p', PORTS);
        assert.equal(found[`${OPEN_PORT}/tcp`], 'open');
        for (const port of [PORT, FORBIDDEN_PORT]) assert.notEqual(found[`${port}/tcp`], 'open');
        await nmap(stage.stranger, address(), '-sU', '-p', PORTS);
        if (!FULL) return;
        const versions = await nmap(stage.stranger, address(), '-sS', '-sV', '--version-light', '-p', `${PORT},${OPEN_PORT}`);
        assert.equal(versions[`${PORT}/tcp`], 'filtered');
        for (const kind of ['-sF', '-sX', '-sN', '-sA', '-sM']) await nmap(stage.stranger, address(), kind, '-p', `${PORT},${CLOSED_PORT}`);
      });
      assert.deepEqual(unowed, []);
      assert.ok(kinds.has('other ports') && kinds.has('closed ports'), [...kinds].join());
    });

    test(`junk, knocks, replays, refused and relayed knocks, forged senders: none is answered, over ${family} (P7, P20)`, async () => {
      const asked = await stage.counter('refused');
      const { unowed } = await sentDuring(at, stage.client, async () => {
        const path = pathBetween(stage.stranger, stage.server, at);
        const forged = { ...path, from: stage.client.addresses()[at] };
        const knock = alice.packet();
        const refused = alice.packet({ requests: [{ kind: 'ports', ports: { protocol: 'tcp', first: 1, last: 1 } }] });
        const junk = [0, 1, 15, 16, 191, 192, 448, 449, 1_400].map((length) => new Uint8Array(randomBytes(length)));
        const datagrams = [...junk, knock, knock, refused, damaged(alice.packet())];
        const to = { from: 40_000, to: KNOCK_PORT };
        const frames = [path, forged].flatMap((way) => datagrams.map((each) => frame(way, packet(way, UDP, udp(way, to, each)))));
        // And as the victim of forged senders: SYNs in a client's name, whom nobody has let in.
        const syn = tcp(forged, { from: 40_001, to: FORBIDDEN_PORT }, { flags: FLAG.syn });
        await deliver(stage.stranger, stage.server, [...frames, frame(forged, packet(forged, TCP, syn))]);
        await waitFor(async () => (await stage.counter('refused')) > asked, { what: 'the last SYN to be refused' });
        const listed = () => stage.postern.status();
        // The first delivery, by the stranger: that is whom an unbound knock opens for.
        await waitFor(async () => (await listed()).grants.length > 0, { what: 'the knock among the junk' });
      });
      assert.deepEqual(unowed, []);
      await stage.postern.posternd(['revoke', 'alice']);
    });

    test(`who was let in is answered, and nobody else, over ${family}`, async () => {
      await stage.knock(address());
      const { kinds, unowed } = await sentDuring(at, stage.client, async () => {
        assert.equal(await stage.door(address()), 'open');
        assert.equal(await stage.door(address(), stage.stranger), 'timeout');
      });
      assert.deepEqual(unowed, []);
      assert.ok(kinds.has('who was let in'));
      await stage.postern.posternd(['revoke', 'alice']);
    });
  }

  test('the daemon was not woken by any junk', { skip: lacks('sieve') }, async () => {
    const before_ = await stage.postern.status();
    const junk = Array.from({ length: 500 }, (_, nth) => new Uint8Array(randomBytes(192 + (nth % 257))));
    for (const { at } of FAMILIES) await stage.stranger.sendUdp(stage.server.addresses()[at], KNOCK_PORT, junk);
    await waitFor(async () => (await stage.counter('junk')) >= before_.kernel.junk + 1_000, { what: 'the sieve to count the junk' });
    assert.equal((await stage.postern.status()).capture.seen, before_.capture.seen);
  });

  // Last: the gate stays down.
  test('without the gate the same sniffer sees the hidden ports speak', async () => {
    await stage.postern.posternd(['gate', 'down']);
    for (const { at } of FAMILIES) {
      const { unowed } = await sentDuring(at, stage.client, async () => {
        assert.equal(await stage.door(stage.server.addresses()[at], stage.stranger), 'open');
        await stage.stranger.sendUdp(stage.server.addresses()[at], KNOCK_PORT, [new Uint8Array(1)], { waitMs: 100 });
      });
      assert.ok(unowed.length >= 2, unowed.join('\n'));
    }
  });
});

/** A true tag over a seal that does not open. */
function damaged(knock: Uint8Array): Uint8Array {
  knock[60] = (knock[60] ?? 0) ^ 1;
  return knock;
}
