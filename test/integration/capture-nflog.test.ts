// The packet log of the real kernel: what arrives, what is ignored, what happens when we are slow, killed or in the way.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { attribute, concatBytes, encodeMessage, nfgenmsg, u32 } from '../../daemon/netlink/message.ts';
import type { Host } from '../lab/host.ts';
import { createLab, type Lab, labMissing } from '../lab/lab.ts';
import { run } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';
import { build, destination, fragments, frame, hop, pcap, plain, routing, type Shape } from '../unit/capture-packets.ts';
import { CaptureProcess, GROUP, KNOCK_PORT, RULES } from './capture-running.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);

describe('the packet log', { skip: labMissing() ?? false, timeout: 120_000 }, () => {
  let lab: Lab;
  let server: Host;
  let client: Host;
  let capture: CaptureProcess;
  let folder: string;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'postern-nflog-'));
    lab = await createLab({ label: 'nflog' });
    server = await lab.host('server');
    client = await lab.host('client');
    await lab.link(server, client);
    await server.nft(RULES);
    capture = await CaptureProcess.start(server);
  });

  after(async () => {
    await lab?.close();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  /** Sends frames as they are, past the sender's own stack. */
  async function replay(packets: readonly Uint8Array[]): Promise<void> {
    const [from, to] = [client.interfaces[0]?.mac ?? '', server.interfaces[0]?.mac ?? ''];
    const file = join(folder, 'frames.pcap');
    writeFileSync(file, pcap(packets.map((packet) => frame(packet, from, to))));
    await client.exec(['tcpreplay', '-q', '-i', 'eth0', '--topspeed', file]);
  }

  const shaped = (version: 4 | 6, text: string, more: Partial<Shape> = {}): Shape => ({
    ...plain(version),
    payload: bytesOf(text),
    source: version === 4 ? [10, 77, 1, 2] : [0xfd, 0, 0, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    target: version === 4 ? [10, 77, 1, 1] : [0xfd, 0, 0, 0x77, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ...more,
  });

  /** Nothing of what was sent before this is still under way: a datagram sent now has arrived. */
  async function settle(): Promise<readonly string[]> {
    const marker = `marker ${performance.now()}`;
    await client.sendUdp(server.ipv4(), KNOCK_PORT, [bytesOf(marker)]);
    await waitFor(() => capture.seen.some((seen) => seen.payload === marker), { what: 'the marker' });
    return capture.seen.map((seen) => seen.payload);
  }

  test('hands on datagrams of both families with their source, whatever the checksum offload of the link', async () => {
    // veth leaves checksums unfinished (CHECKSUM_PARTIAL) with offload, and finishes them without.
    for (const offload of ['on', 'off']) {
      await run(['ip', 'netns', 'exec', client.namespace, 'ethtool', '-K', 'eth0', 'tx', offload]);
      for (const [at, to] of server.addresses().entries()) {
        const text = `hello over ${to}, offload ${offload}`;
        await client.sendUdp(to, KNOCK_PORT, [bytesOf(text)], { sourcePort: 40_001 });
        const seen = await waitFor(() => capture.seen.find((one) => one.payload === text), { what: text });
        assert.equal(seen.source, client.addresses()[at]);
        assert.equal(seen.sourcePort, 40_001);
      }
    }
    await client.exec(['ethtool', '-K', 'eth0', 'tx', 'on']);
  });

  test('hands on a datagram that this host sends to itself', async () => {
    await server.sendUdp('127.0.0.1', KNOCK_PORT, [bytesOf('from myself')]);
    await server.sendUdp('::1', KNOCK_PORT, [bytesOf('from myself six')]);
    await waitFor(() => capture.seen.find((seen) => seen.payload === 'from myself six' && seen.source === '::1'));
    assert.ok(capture.seen.some((seen) => seen.payload === 'from myself' && seen.source === '127.0.0.1'));
  });

  test('reads past IP options and extension headers, and refuses what is cut, lying or spoiled', async () => {
    const before_ = await capture.counters();
    const good: readonly (readonly [string, Shape])[] = [
      ['four bytes of options', shaped(4, 'g1', { options: [1, 1, 1, 0] })],
      ['router alert and forty bytes', shaped(4, 'g2', { options: [148, 4, 0, 0, ...new Array<number>(36).fill(1)] })],
      ['hop-by-hop options', shaped(6, 'g3', { extensions: [hop] })],
      ['destination options', shaped(6, 'g4', { extensions: [destination] })],
      ['both', shaped(6, 'g5', { extensions: [hop, destination] })],
      ['no checksum', shaped(4, 'g6', { checksum: 'none' })],
    ];
    const bad: readonly (readonly [string, Uint8Array])[] = [
      ['a UDP length beyond the packet', build(shaped(4, 'b1', { udpLength: 400 }))],
      ['a UDP length below the packet', build(shaped(6, 'b2', { udpLength: 9 }))],
      ['a wrong checksum', build(shaped(4, 'b3', { checksum: 'wrong' }))],
      ['a wrong checksum over IPv6', build(shaped(6, 'b4', { checksum: 'wrong' }))],
      ['no checksum over IPv6', build(shaped(6, 'b5', { checksum: 'none' }))],
      ['a first fragment', fragments(shaped(4, 'b6 long enough to be cut in two'), 16)[0]],
      ['an atomic fragment', build(shaped(6, 'b7', { extensions: [{ type: 44, body: [0, 0, 0, 0, 0, 1] }] }))],
      ['a routing header with segments left', build(shaped(6, 'b8', { extensions: [routing(1)] }))],
    ];
    await replay([...good.map(([, shape]) => build(shape)), ...bad.map(([, packet]) => packet)]);
    const payloads = await settle();
    for (const [text, shape] of good) assert.ok(payloads.includes(Buffer.from(shape.payload).toString()), text);
    assert.deepEqual(
      payloads.filter((payload) => /^b\d/.test(payload)),
      [],
    );
    const counters = await capture.counters();
    assert.equal(counters.malformed - before_.malformed, bad.length);
    assert.equal(counters.lost, 0);
  });

  test('takes a frame that Ethernet padded, for its IP length', async () => {
    await replay([Uint8Array.from([...build(shaped(4, 'padded')), ...new Array<number>(12).fill(0xaa)])]);
    assert.ok((await settle()).includes('padded'));
  });

  test('counts what other rules log to the same group as foreign: another prefix, a shorter, none, another hook', async () => {
    const before_ = await capture.counters();
    for (const port of [62_202, 62_203, 62_204, 62_205]) await client.sendUdp(server.ipv4(), port, [bytesOf(`other ${port}`)]);
    const payloads = await settle();
    assert.ok(!payloads.some((payload) => payload.startsWith('other')));
    const counters = await capture.counters();
    assert.equal(counters.foreign - before_.foreign, 4);
    assert.equal(counters.lost, 0);
  });

  test('ignores a message that another process forged', async () => {
    const before_ = await capture.counters();
    const packet = build(shaped(4, 'forged'));
    const message = encodeMessage({
      type: 4 << 8,
      flags: 0,
      sequence: 0,
      payload: concatBytes([
        nfgenmsg(2, GROUP),
        attribute(1, Uint8Array.of(8, 0, 0, 0)),
        attribute(10, bytesOf('postern\0')),
        u32(12, 900),
        attribute(9, packet),
      ]),
    });
    const holder = (await server.exec(['cat', '/proc/net/netfilter/nfnetlink_log'])).stdout.trim().split(/\s+/);
    assert.equal(holder[0], String(GROUP));
    const forger = new URL('./capture-forger.js', import.meta.url).pathname;
    await server.exec([process.execPath, forger, holder[1] ?? '', Buffer.from(message).toString('hex')]);
    const payloads = await settle();
    assert.ok(!payloads.includes('forged'));
    const counters = await capture.counters();
    assert.equal(counters.foreign - before_.foreign, 1);
    assert.equal(counters.lost, 0, 'its number is not one of our sequence');
  });

  test('goes on when the receiver of a datagram throws, and says so', async () => {
    await client.sendUdp(server.ipv4(), KNOCK_PORT, [bytesOf('throw')]);
    assert.ok((await settle()).length > 0);
    assert.deepEqual(capture.troubles, ['a datagram could not be handled (the test wanted it)']);
  });

  test('10,000 datagrams that nobody reads all arrive later, in order', async () => {
    const texts = Array.from({ length: 10_000 }, (_, at) => `burst ${at} `.padEnd(300, '.'));
    capture.running.kill('SIGSTOP');
    for (let at = 0; at < texts.length; at += 100) {
      await client.sendUdp(server.ipv4(), KNOCK_PORT, texts.slice(at, at + 100).map(bytesOf));
    }
    capture.running.kill('SIGCONT');
    await settle();
    assert.deepEqual(
      capture.seen.map((seen) => seen.payload).filter((payload) => payload.startsWith('burst')),
      texts,
    );
    assert.equal((await capture.counters()).lost, 0);
  });

  test('an overrun is counted, told rarely, and over as soon as something has been read', async () => {
    const before_ = await capture.counters();
    capture.running.kill('SIGSTOP');
    // Each takes two kilobytes and more of the queue's 8 MiB (the kernel counts twice that): this is more than fits.
    const packets = Array.from({ length: 500 }, () => build(shaped(4, `flood ${'x'.repeat(1_300)}`)));
    const [from, to] = [client.interfaces[0]?.mac ?? '', server.interfaces[0]?.mac ?? ''];
    const file = join(folder, 'flood.pcap');
    writeFileSync(file, pcap(packets.map((packet) => frame(packet, from, to))));
    await client.exec(['tcpreplay', '-q', '-i', 'eth0', '--topspeed', '--loop=40', file]);
    capture.running.kill('SIGCONT');
    await capture.waitForCounters(({ seen }) => seen > before_.seen);
    // Then there is room for one more, though the queue was full and is far from empty.
    await settle();
    const { seen, lost } = await waitFor(async () => {
      const counters = await capture.counters();
      const since = { seen: counters.seen - before_.seen, lost: counters.lost - before_.lost };
      return since.seen + since.lost >= 20_001 && since;
    });
    assert.ok(lost > 0, 'there was a loss');
    assert.equal(seen + lost, 20_001, 'every packet is either handed on or counted as lost');
    assert.ok(capture.troubles.some((trouble) => trouble.startsWith('the kernel had to drop logged packets')));
    assert.ok(capture.troubles.length < 20, `${capture.troubles.length} lines`);
  });

  test('nothing of it is a listening socket', async () => {
    assert.equal((await server.exec(['ss', '-Hlntup'])).stdout, '');
    assert.equal((await server.exec(['ss', '-Hlw'])).stdout, '');
  });

  test('a taken group: the next one is used, and the rule can follow', async () => {
    const second = await CaptureProcess.start(server);
    assert.deepEqual(second.first['sieve'], { kind: 'log', group: GROUP + 1, prefix: 'postern' });
    assert.match(String(second.first['sentence']), /group 6 \(group 5 is taken\)/);
    await server.nft(`table inet second { chain c { type filter hook prerouting priority -310; udp dport 62209 log prefix "postern" group 6 drop; }
}`);
    await client.sendUdp(server.ipv4(), 62_209, [bytesOf('second group')]);
    assert.equal((await second.waitForSeen(1))[0]?.payload, 'second group');
    assert.equal((await second.stop()).code, 0);
  });

  test('sixteen taken groups are an error that says so', async () => {
    const others: CaptureProcess[] = [];
    // The first is group 5's holder above.
    for (let count = 1; count < 16; count += 1) others.push(await CaptureProcess.start(server));
    assert.deepEqual(others.at(-1)?.first['sieve'], { kind: 'log', group: GROUP + 15, prefix: 'postern' });
    const last = await CaptureProcess.start(server);
    assert.equal(last.first['fault'], 'groups-taken');
    assert.match(String(last.first['failed']), /hold the packet log groups 5 to 20: set nflog_group/);
    assert.equal((await last.running.exited).code, 0);
    await Promise.all(others.map((other) => other.stop()));
  });

  test('without CAP_NET_ADMIN it says what it needs, and does not try the next groups', async () => {
    const program = new URL('./capture-program.js', import.meta.url).pathname;
    const options = JSON.stringify({ wish: 'auto', port: KNOCK_PORT, group: 100 });
    const result = await server.exec(['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', process.execPath, program, options]);
    assert.match(result.stdout, /"failed":"the packet log \(NFLOG\) needs CAP_NET_ADMIN: run posternd as root/);
    assert.match(result.stdout, /"fault":"not-permitted"/);
  });

  test('a stopped capture gives the group back and lets its process end within a second', async () => {
    const { code, elapsedMs, resources } = await capture.stop();
    assert.equal(code, 0);
    assert.ok(elapsedMs < 1_000, `${Math.round(elapsedMs)} ms`);
    assert.deepEqual(
      resources.filter((resource) => !['PipeWrap', 'Timeout', 'Immediate'].includes(resource)),
      [],
    );
    assert.equal((await server.exec(['cat', '/proc/net/netfilter/nfnetlink_log'])).stdout.trim(), '');
  });

  test('SIGKILL frees the group, and a new start has it again at once', async () => {
    for (let round = 0; round < 5; round += 1) {
      capture = await CaptureProcess.start(server);
      assert.deepEqual(capture.first['sieve'], { kind: 'log', group: GROUP, prefix: 'postern' });
      await client.sendUdp(server.ipv4(), KNOCK_PORT, [bytesOf(`round ${round}`)]);
      await capture.waitForSeen(1);
      capture.running.kill('SIGKILL');
      await capture.running.exited;
    }
  });

  test('with connection tracking in use, fragments arrive as the whole datagram they were', async () => {
    await server.nft('table inet track { chain c { type filter hook prerouting priority mangle; ct state established accept; }\n}');
    capture = await CaptureProcess.start(server);
    await replay([...fragments(shaped(4, 'first part, second part of one datagram'), 24)]);
    assert.ok((await settle()).includes('first part, second part of one datagram'));
    assert.equal((await capture.counters()).malformed, 0);
    await capture.stop();
  });
});
