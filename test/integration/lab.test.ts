// The laboratory itself: hosts reach each other, captures see what passed, nothing stays behind.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import type { Host } from '../lab/host.ts';
import { createLab, type Lab, labMissing } from '../lab/lab.ts';
import { Running } from '../lab/process.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

describe('laboratory', { skip, timeout: 60_000 }, () => {
  let lab: Lab;
  let server: Host;
  let client: Host;
  before(async () => {
    lab = await createLab();
    [server, client] = [await lab.host('server'), await lab.host('client')];
    await lab.lan(server, client);
    await server.listen({ tcp: [8022], udp: [8053] });
  });
  after(() => lab.close());

  test('connects and exchanges datagrams over both families', async () => {
    for (const address of server.addresses()) {
      const connected = await client.connect(address, 8022, { payload: 'ping' });
      assert.deepEqual([connected.outcome, connected.reply], ['open', 'hello\nping']);
      const exchanged = await client.sendUdp(address, 8053, [Buffer.from('one'), Buffer.from('two')], { wanted: 2, waitMs: 5_000 });
      assert.equal(exchanged.replies.length, 2);
      assert.equal((await client.connect(address, 8099)).outcome, 'refused');
    }
  });

  test('tells a dropped connection from a refused one', async () => {
    await server.nft('table inet t { chain c { type filter hook input priority 0; tcp dport 8022 drop; }\n}');
    for (const address of server.addresses()) assert.equal((await client.connect(address, 8022, { timeoutMs: 200 })).outcome, 'timeout');
    await server.nft('delete table inet t');
  });

  test('captures what passed, up to the point where it settled', async () => {
    const capture = await client.capture({ filter: 'udp port 8053' });
    await client.sendUdp(server.ipv4(), 8053, [Buffer.from('seen')], { wanted: 1, waitMs: 5_000 });
    await capture.settle(server.ipv4());
    assert.deepEqual(capture.payloads(8053).map(String), [String(Buffer.from('seen'))]);
    assert.equal(capture.frames().length, 2);
    await capture.close();
    assert.ok(!existsSync(capture.file));
  });

  test('holds a connection and sees it reset', async () => {
    const connection = await client.ask('hold', { address: server.ipv4(), port: 8022, timeoutMs: 2_000 });
    assert.equal(await client.ask('talk', { connection, payload: 'x1', timeoutMs: 2_000 }), 'echoed');
    await server.exec(['ss', '-K', 'sport', '=', ':8022']);
    assert.match(await client.ask('talk', { connection, payload: 'x2', timeoutMs: 2_000 }), /reset|closed/);
  });

  test('puts two clients behind one address', async () => {
    const router = await lab.host('router');
    const [one, two] = [await lab.host('one'), await lab.host('two')];
    await lab.lan(router, one, two);
    await lab.link(router, server);
    await lab.route(router, 0, [one, two]);
    await lab.masquerade(router, 1);
    const capture = await server.capture({ interface: 'eth1', filter: 'udp port 8053', direction: 'in' });
    for (const host of [one, two]) {
      for (const address of [server.ipv4(1), server.ipv6(1)]) {
        assert.equal((await host.sendUdp(address, 8053, [Buffer.from('n')], { wanted: 1, waitMs: 5_000 })).replies.length, 1);
      }
    }
    const sources = new Set(
      (await capture.waitForFrames(4)).filter((f) => f.etherType === 0x0800).map((f) => f.ip.subarray(12, 16).join('.')),
    );
    assert.deepEqual([...sources], [router.ipv4(1)]);
    await capture.close();
  });

  test('leaves nothing behind when its process is interrupted, and sweeps up after one that was killed', async () => {
    const program = `import { createLab } from ${JSON.stringify(new URL('../lab/lab.js', import.meta.url).href)};
      const lab = await createLab(); const host = await lab.host('x'); host.start(['sleep', '1000']);
      console.log(host.namespace); setInterval(() => {}, 1000);`;
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const running = new Running([process.execPath, '--input-type=module', '-e', program]);
      const [namespace] = await running.waitForOutput(/pt-\S+/);
      running.kill(signal);
      await running.exited;
      if (signal === 'SIGKILL') {
        const next = await createLab();
        // createLab sweeps only when it is the first of its process; here one lives already.
        (await import('../lab/lab.ts')).sweep();
        await next.close();
      }
      await waitFor(() => !existsSync(`/run/netns/${namespace}`), { what: `${namespace} to go after ${signal}` });
    }
  });
});
