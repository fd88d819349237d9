// Black box: whatever arrives at the knock port, nothing leaves the server (P7, P20), and a flood of it costs the daemon nothing (P17).
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lacks } from '../lab/backend.ts';
import type { Frame } from '../lab/capture.ts';
import { cpuMs, Installation } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, knockBy, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';

const skip = labMissing() ?? false;
const FLOOD_MS = 5_000;
/** Some thousand packets a second. */
const LONG_JUNK_GAP = '100us';

describe('the knock port', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'silence' });
  });
  after(() => stage?.close());

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`answers nothing to junk, knocks, replays and refused knocks, over ${family} (P7, P20)`, async () => {
      const elsewhere = await Installation.create(stage.stranger, { protect: [REQUEST] }, rulesFor([stage.alice]));
      // Neighbors must know each other before, so that only answers are left to be seen.
      await stage.door(address());
      const capture = await stage.server.capture({ direction: 'out' });
      const bytes = (length: number, fill: number) => new Uint8Array(length).fill(fill);
      const junk = [0, 1, 15, 16, 191, 192, 300, 448, 449, 1400].flatMap((length) => [bytes(length, 0), bytes(length, 0xff)]);
      await stage.client.sendUdp(address(), KNOCK_PORT, junk);
      const recorded = await stage.lostKnock(address(), '--source', 'bound');
      const otherServer = ['--server-key', elsewhere.publicLine];
      for (const args of [
        [profileOf(address()), REQUEST], // a good one
        [profileOf(address()), 'tcp/1'], // not in the rules
        [profileOf(address()), 'nobody-defined-this'],
        [address(), REQUEST, ...otherServer], // for another server
      ]) {
        await stage.alice.knock([...args, '--no-verify', '--retries', '0'], { mayFail: true });
      }
      await stage.resend(stage.stranger, recorded, address()); // caught, from elsewhere
      await stage.resend(stage.client, recorded, address()); // used up
      const frames = (await capture.settle(stage.client.addresses()[at])).filter((frame) => !isNeighborTalk(frame));
      assert.deepEqual(
        frames.map((frame) => Buffer.from(frame.bytes).toString('hex')),
        [],
      );
      await capture.close();
      await elsewhere.close();
    });

    test(`under a flood of junk: the daemon sleeps, and knocks open at once, over ${family} (P17, P18)`, async (t) => {
      const file = join(stage.postern.folder, `flood${at}.trafgen`);
      // Without a sieve only what is as long as a knock can be one.
      writeFileSync(file, floodPacket(stage, at, lacks('sieve') === false ? 250 : 150));
      const pid = stage.postern.daemon.pid;
      await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
      const [junk, seen, cpu] = [await stage.counter('junk'), (await stage.postern.status()).capture.seen, cpuMs(pid)];
      const started = performance.now();
      const flood = stage.stranger.start(['timeout', String(FLOOD_MS / 1000), 'trafgen', '--dev', 'eth0', '--conf', file, '--cpus', '1']);
      const opened: string[] = [];
      for (let round = 0; round < 3; round += 1) {
        opened.push(await knockBy(stage.alice, address(), '-t', '20s'));
        await stage.alice.knock(['close', profileOf(address()), REQUEST]);
      }
      await flood.exited;
      const elapsedMs = performance.now() - started;
      const used = cpuMs(pid) - cpu;
      const dropped = (await stage.counter('junk')) - junk;
      t.diagnostic(
        `${dropped} junk packets in ${Math.round(elapsedMs)} ms; the daemon used ${used} ms; ${opened.map((said) => said.trim()).join('; ')}`,
      );
      assert.ok(dropped > 50_000, `only ${dropped} junk packets arrived\n${flood.stdout}${flood.stderr}`);
      for (const said of opened) assert.match(said, /open after/);
      // Six knocks, a tick each second, and what the machine books on a process for the packets of others.
      assert.ok(used < elapsedMs / 10, `${used} ms of ${elapsedMs} ms`);
      const status = await stage.postern.status();
      assert.ok(status.capture.seen - seen <= 6, `${status.capture.seen - seen} packets woke the daemon`);
    });

    test(`without a sieve, under a flood of junk that is as long as a knock: knocks open all the same, over ${family} (P17)`, {
      skip: lacks('sieve') === false && 'the kernel drops it: the test before',
    }, async (t) => {
      const file = join(stage.postern.folder, `long${at}.trafgen`);
      writeFileSync(file, floodPacket(stage, at, 250));
      const logged = await stage.counter('knocks');
      const argv = ['timeout', String(FLOOD_MS / 1000), 'trafgen', '--dev', 'eth0', '--conf', file, '--cpus', '1', '--gap', LONG_JUNK_GAP];
      const flood = stage.stranger.start(argv);
      for (let round = 0; round < 3; round += 1) {
        assert.match(await knockBy(stage.alice, address(), '-t', '20s'), /open after/);
        await stage.alice.knock(['close', profileOf(address()), REQUEST]);
      }
      await flood.exited;
      const woken = (await stage.counter('knocks')) - logged;
      t.diagnostic(`${woken} datagrams were handed to the daemon in ${FLOOD_MS} ms`);
      assert.ok(woken > 1_000, `only ${woken} junk packets came\n${flood.stderr}`);
    });
  }
});

/** ARP, neighbor discovery and multicast listener reports: how hosts find each other, with or without Postern. */
function isNeighborTalk(frame: Frame): boolean {
  if (frame.etherType !== 0x86dd) return frame.etherType !== 0x0800;
  // A hop-by-hop header stands before multicast listener reports.
  const icmpAt = frame.ip[6] === 58 ? 40 : frame.ip[6] === 0 && frame.ip[40] === 58 ? 48 : undefined;
  if (icmpAt === undefined) return false;
  const type = frame.ip[icmpAt] ?? 0;
  return (type >= 130 && type <= 137) || type === 143;
}

/** trafgen's text for one UDP datagram of random bytes (checksums left to the kernel's indifference), random source port. */
function floodPacket(stage: Stage, at: number, payload: number): string {
  const mac = (text = '') =>
    text
      .split(':')
      .map((byte) => `0x${byte}`)
      .join(', ');
  const ether = `${mac(stage.server.interfaces[0]?.mac)}, ${mac(stage.stranger.interfaces[0]?.mac)}`;
  const length = 8 + payload;
  const udp = `drnd(2), c16(${KNOCK_PORT}), c16(${length}), c16(0), drnd(${payload})`;
  const bytes = (text: string) => text.split('.').join(', ');
  if (at === 0) {
    const [from, to] = [stage.stranger.ipv4(), stage.server.ipv4()];
    return `{ ${ether}, 0x08, 0x00, 0x45, 0, c16(${20 + length}), 0, 0, 0, 0, 64, 17, csumip(14, 33), ${bytes(from)}, ${bytes(to)}, ${udp} }\n`;
  }
  const [from, to] = [stage.stranger.ipv6(), stage.server.ipv6()].map(ipv6Bytes);
  // The UDP checksum may not be zero over IPv6; the sieve stands before anyone looks at it.
  return `{ ${ether}, 0x86, 0xdd, 0x60, 0, 0, 0, c16(${length}), 17, 64, ${from}, ${to}, ${udp.replace('c16(0)', 'c16(1)')} }\n`;
}

/** fd00:77:N::k as trafgen's bytes. */
function ipv6Bytes(text: string): string {
  const [head = '', tail = ''] = text.split('::');
  const groups = head.split(':');
  const last = tail === '' ? [] : tail.split(':');
  const all = [...groups, ...new Array<string>(8 - groups.length - last.length).fill('0'), ...last].map((group) =>
    Number.parseInt(group, 16),
  );
  return all.map((group) => `${group >> 8}, ${group & 0xff}`).join(', ');
}
