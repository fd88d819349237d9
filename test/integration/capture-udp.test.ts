// UDP sockets as the fallback, and the choice between the two, on the real kernel.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Host } from '../lab/host.ts';
import { createLab, type Lab, labMissing } from '../lab/lab.ts';
import { waitFor } from '../lab/wait.ts';
import { CaptureProcess, KNOCK_PORT } from './capture-running.ts';

const bytesOf = (text: string) => new TextEncoder().encode(text);

describe('UDP sockets', { skip: labMissing() ?? false, timeout: 60_000 }, () => {
  let lab: Lab;
  let server: Host;
  let client: Host;
  let capture: CaptureProcess;

  before(async () => {
    lab = await createLab({ label: 'udp' });
    server = await lab.host('server');
    client = await lab.host('client');
    await lab.link(server, client);
    capture = await CaptureProcess.start(server, { wish: 'udp' });
  });

  after(async () => lab?.close());

  test('say that they are used, why, and what that needs', () => {
    assert.equal(
      capture.first['sentence'],
      'capture udp, a socket on udp/62201 that every firewall of this host must let in: the configuration says so',
    );
    assert.deepEqual(capture.first['sieve'], { kind: 'pass', to: 'socket' });
  });

  test('hand on datagrams of both families with their source, IPv4 as IPv4 (P21)', async () => {
    for (const [at, to] of server.addresses().entries()) {
      await client.sendUdp(to, KNOCK_PORT, [bytesOf(`to ${to}`)], { sourcePort: 40_002 });
      const seen = await waitFor(() => capture.seen.find((one) => one.payload === `to ${to}`));
      assert.equal(seen.source, client.addresses()[at]);
      assert.equal(seen.sourcePort, 40_002);
    }
  });

  test('show a link-local source without its scope', async () => {
    const shown = await client.exec(['ip', '-6', '-o', 'address', 'show', 'dev', 'eth0', 'scope', 'link']);
    const source = /inet6 (fe80::[0-9a-f:]+)/.exec(shown.stdout)?.[1];
    const target = /inet6 (fe80::[0-9a-f:]+)/.exec(
      (await server.exec(['ip', '-6', '-o', 'address', 'show', 'dev', 'eth0', 'scope', 'link'])).stdout,
    )?.[1];
    await client.sendUdp(`${target}%eth0`, KNOCK_PORT, [bytesOf('link-local')]);
    const seen = await waitFor(() => capture.seen.find((one) => one.payload === 'link-local'));
    assert.equal(seen.source, source);
  });

  test('never answer: an empty datagram, junk, the largest there is', async () => {
    const wire = await client.capture({ direction: 'in', filter: 'udp or icmp or icmp6 and not (icmp6[0] >= 133 and icmp6[0] <= 137)' });
    const before_ = capture.seen.length;
    for (const to of server.addresses()) {
      for (const payload of [new Uint8Array(0), bytesOf('junk'), new Uint8Array(60_000)]) await client.sendUdp(to, KNOCK_PORT, [payload]);
    }
    await capture.waitForSeen(before_ + 6);
    // An answer to what comes next shows that the link was silent before, not deaf.
    await server.listen({ udp: [7] });
    const echo = await client.sendUdp(server.ipv4(), 7, [bytesOf('echo')], { wanted: 1, waitMs: 5_000 });
    assert.equal(echo.replies.length, 1);
    await wire.waitForFrames(1);
    assert.deepEqual(wire.payloads(KNOCK_PORT), []);
    assert.equal(wire.frames().length, 1, 'the echo alone came back');
    await wire.close();
  });

  test('count what the kernel had to drop while nobody read', async () => {
    capture.running.kill('SIGSTOP');
    const payloads = Array.from({ length: 200 }, () => bytesOf(`flood ${'x'.repeat(1_400)}`));
    const before_ = await dropsOf(server);
    await waitFor(async () => {
      await client.sendUdp(server.ipv4(), KNOCK_PORT, payloads);
      return (await dropsOf(server)) > before_;
    });
    capture.running.kill('SIGCONT');
    const expected = await dropsOf(server);
    assert.ok((await capture.waitForCounters(({ lost }) => lost >= expected)).lost > 0);
  });

  test('a port that another program has: an error that names it, on either family', async () => {
    const second = await CaptureProcess.start(server, { wish: 'udp' });
    assert.equal(second.first['fault'], 'port-in-use');
    assert.equal(
      second.first['failed'],
      'another program listens on udp/62201 (udp4): find it with `ss -lnup sport = :62201`, or set another port',
    );
    const six = server.start([process.execPath, '-e', HOLD_SIX]);
    await six.waitForOutput(/ready/);
    const third = await CaptureProcess.start(server, { wish: 'udp', port: 62_300 });
    assert.match(String(third.first['failed']), /another program listens on udp\/62300 \(udp6\)/);
    // The IPv4 socket that could be bound is gone again: the process ends.
    assert.equal((await third.running.exited).code, 0);
    await six.stop();
  });

  test('auto takes the packet log where the firewall can log, raw sockets where it cannot', async () => {
    const log = await CaptureProcess.start(server, { wish: 'auto', group: 50, port: 62_400 });
    assert.equal(log.first['started'], 'nflog');
    assert.equal(log.first['sentence'], 'capture nflog, group 50: the kernel logs knocks to us, nothing listens');
    const raw = await CaptureProcess.start(server, { wish: 'auto', canLog: false, port: 62_400 });
    assert.equal(raw.first['started'], 'raw');
    assert.match(String(raw.first['sentence']), /: this firewall cannot log$/);
    assert.deepEqual(raw.first['sieve'], { kind: 'none' });
    await Promise.all([log.stop(), raw.stop()]);
  });

  test('on a host without IPv6, IPv4 alone is used and told', async () => {
    const old = await lab.host('old');
    await old.sysctl({ 'net.ipv6.conf.all.disable_ipv6': 1, 'net.ipv6.conf.lo.disable_ipv6': 1 });
    const four = await CaptureProcess.start(old, { wish: 'udp' });
    assert.equal(four.first['started'], 'udp');
    await old.sendUdp('127.0.0.1', KNOCK_PORT, [bytesOf('four')]);
    assert.equal((await four.waitForSeen(1))[0]?.source, '127.0.0.1');
    await four.stop();
  });

  test('stopped sockets let their process end within a second', async () => {
    const { code, elapsedMs } = await capture.stop();
    assert.equal(code, 0);
    assert.ok(elapsedMs < 1_000, `${Math.round(elapsedMs)} ms`);
    assert.equal((await server.exec(['ss', '-Hlnu', 'sport', '=', ':62201'])).stdout, '');
  });
});

const HOLD_SIX = `const s = require('node:dgram').createSocket({ type: 'udp6', ipv6Only: true }); s.bind(62300, '::', () => console.log('ready'));`;

async function dropsOf(host: Host): Promise<number> {
  const table = (await host.exec(['cat', '/proc/net/udp'])).stdout.split('\n').filter((line) => line.includes(':F2F9 '));
  return table.reduce((sum, line) => sum + Number(line.trim().split(/\s+/).at(-1)), 0);
}
