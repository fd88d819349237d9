// Black box: what the configuration says the gate is: what closed ports and the knock port answer, who is trusted, on which interfaces it
// stands, services of several ports and ranges, and grants that last a month.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isNftables } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, PORT, profileOf, REQUEST, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
/** Otherwise the kernel answers a peer once a second, after a first burst of six. */
const ANSWER_ALWAYS = { 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 };
const PROTECT = [REQUEST, 'tcp/9000-9010', `udp/${UDP_PORT}`];
/** Nothing is there, and nothing is protected. */
const CLOSED_PORT = 7777;
const MONTH_S = 30 * 86_400;

describe('the gate as it is configured', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  /** On a cable of its own to the server's second interface. */
  let other: Host;
  before(async () => {
    stage = await Stage.create({
      label: 'layout',
      start: false,
      config: { protect: PROTECT },
      allow: [{ services: [REQUEST, 'pool', 'tcp/9005-9010', `udp/${UDP_PORT}`], ttl: '30s', max_ttl: '30d', default: false }],
    });
    other = await stage.lab.host('other');
    await stage.lab.link(other, stage.server);
    await stage.server.sysctl(ANSWER_ALWAYS);
    await stage.server.listen({ tcp: [9000, 9001, 9005, 9010] });
    stage.postern.writeConfig(config());
    await stage.postern.start();
  });
  after(() => stage?.close());

  function config(more: Readonly<Record<string, unknown>> = {}) {
    return { protect: PROTECT, port: KNOCK_PORT, services: { pool: ['tcp/9000-9002', `udp/${UDP_PORT}`] }, ...more };
  }
  async function configure(more: Readonly<Record<string, unknown>> = {}): Promise<void> {
    stage.postern.writeConfig(config(more));
    await stage.postern.posternd(['reload']);
    for (const { id } of (await stage.postern.status()).grants) await stage.postern.posternd(['revoke', id]);
  }
  const grants = async () => (await stage.postern.status()).grants;
  /** What a datagram to this port is answered with: data, an ICMP error, nothing. */
  const answer = async (address: string, port: number, from: Host = stage.client) => {
    const { replies, error } = await from.sendUdp(address, port, [Buffer.from('hello')], { wanted: 1, waitMs: 300 });
    return replies.length > 0 ? 'data' : error === '' ? 'nothing' : error;
  };

  for (const { family, at } of FAMILIES) {
    const server = () => stage.server.addresses()[at];
    const knock = (...services: readonly string[]) => stage.alice.knock([profileOf(server()), ...services, '--no-verify']);

    test(`refuse: drop is silence, reject is the answer of a closed port, and a knock opens with either, over ${family}`, async () => {
      for (const [refuse, tcp, udp] of [
        ['drop', 'timeout', 'nothing'],
        ['reject', 'refused', 'ECONNREFUSED'],
      ] as const) {
        await configure({ refuse });
        for (const port of [PORT, 9001]) assert.equal(await stage.door(server(), stage.client, port), tcp, `${refuse} ${port}`);
        assert.equal(await answer(server(), UDP_PORT), udp, refuse);
        if (refuse === 'reject') assert.equal(await stage.door(server(), stage.client, CLOSED_PORT), tcp, 'as a closed port');
        await knock(REQUEST, `udp/${UDP_PORT}`);
        await waitFor(async () => (await stage.door(server())) === 'open', { what: 'the door' });
        assert.equal(await answer(server(), UDP_PORT), 'data');
      }
    });

    test(`unmatched: drop is silence; with pass the knock port answers like a closed one, to junk and to knocks, over ${family}`, async () => {
      for (const [unmatched, expected] of [
        ['drop', 'nothing'],
        ['pass', await answer(server(), CLOSED_PORT)],
      ] as const) {
        await configure({ unmatched });
        assert.equal(await answer(server(), KNOCK_PORT), expected, unmatched);
        const errors = await stage.client.capture({ filter: `icmp or (icmp6 and ip6[40] < 128)`, direction: 'in' });
        try {
          await knock(REQUEST);
          await waitFor(async () => (await stage.door(server())) === 'open', { what: 'the door' });
          if (unmatched === 'pass') await errors.waitForFrames(1);
          // A connection has come and gone since: an answer would be here.
          assert.equal(errors.frames().length, unmatched === 'pass' ? 1 : 0, unmatched);
        } finally {
          await errors.close();
        }
      }
      assert.equal(await answer(server(), CLOSED_PORT), 'ECONNREFUSED');
    });

    test(`trusted networks are never gated, everybody else is, over ${family}`, async () => {
      await configure({ trusted: stage.stranger.addresses().map((address) => `${address}/${address.includes(':') ? 128 : 32}`) });
      for (const port of [PORT, 9001]) assert.equal(await stage.door(server(), stage.stranger, port), 'open', String(port));
      assert.equal(await answer(server(), UDP_PORT, stage.stranger), 'data');
      for (const port of [PORT, 9001]) assert.equal(await stage.door(server(), stage.client, port), 'timeout', String(port));
      await configure();
      assert.equal(await stage.door(server(), stage.stranger), 'timeout', 'not trusted any more');
    });

    test(`interfaces: the gate stands and knocks are heard there only, over ${family}`, async () => {
      const behind = stage.server.interfaces[1]?.[at === 0 ? 'ipv4' : 'ipv6'] ?? '';
      assert.equal(await stage.door(behind, other), 'timeout', 'by default on all of them');
      await configure({ interfaces: ['eth0'] });
      assert.equal(await stage.door(behind, other), 'open');
      assert.equal(await stage.door(server()), 'timeout');
      await knock(REQUEST);
      await waitFor(async () => (await stage.door(server())) === 'open', { what: 'the door' });
      // A knock that comes in elsewhere is a datagram like any other.
      const { granted } = (await stage.postern.status()).knocks;
      const elsewhere = await stage.alice
        .at(other)
        .knock([behind, REQUEST, '--server-key', stage.postern.publicLine, '--no-verify'], { mayFail: true });
      assert.equal(elsewhere.code, 0);
      assert.equal(await answer(behind, KNOCK_PORT, other), 'ECONNREFUSED');
      assert.equal((await stage.postern.status()).knocks.granted, granted);
      await configure({ interfaces: ['eth1', 'eth0'] });
      assert.equal(await stage.door(behind, other), 'timeout');
      assert.equal(await stage.door(server()), 'timeout');
    });

    test(`a service of several ports and protocols, a range and a part of one open all that and nothing beside it, over ${family}`, async () => {
      await configure();
      await knock('pool');
      const shows = async (expected: readonly (readonly [port: number, outcome: string])[]) => {
        for (const [port, outcome] of expected) assert.equal(await stage.door(server(), stage.client, port), outcome, String(port));
      };
      await waitFor(async () => (await stage.door(server(), stage.client, 9000)) === 'open', { what: 'the pool' });
      await shows([
        [9001, 'open'],
        [9005, 'timeout'],
        [PORT, 'timeout'],
      ]);
      assert.equal(await answer(server(), UDP_PORT), 'data');
      await knock('tcp/9005-9009');
      await waitFor(async () => (await stage.door(server(), stage.client, 9005)) === 'open', { what: 'the range' });
      await shows([[9010, 'timeout']]);
      assert.equal((await grants()).length, 2);
      await stage.alice.knock(['close', profileOf(server()), 'pool']);
      await waitFor(async () => (await grants()).length === 1, { what: 'the end of the pool' });
      await shows([
        [9000, 'timeout'],
        [9001, 'timeout'],
        [9005, 'open'],
      ]);
      assert.equal(await answer(server(), UDP_PORT), 'nothing');
      // All or nothing: one port too many.
      await knock('tcp/9004-9009').catch(() => undefined);
      await shows([[9000, 'timeout']]);
      assert.equal((await grants()).length, 1);
    });

    test(`a grant of 30 days lasts for those, in the kernel and in the books, across a restart, over ${family} (P26)`, async () => {
      await configure();
      await knock(REQUEST, '-t', '30d');
      await waitFor(async () => (await grants()).length === 1, { what: 'the grant' });
      const inKernel = async () => {
        const { stdout } = await stage.postern.posternd(['gate', 'show', '--json']);
        const { openings } = JSON.parse(stdout) as { openings: readonly { remaining_seconds: number }[] };
        return openings.map((opening) => opening.remaining_seconds);
      };
      const lasts = async () => {
        // An element of ipset cannot: it is renewed in time.
        const kernel = isNftables() ? await inKernel() : [];
        for (const seconds of [...kernel, ...(await grants()).map((grant) => grant.remaining_seconds)])
          assert.ok(seconds > MONTH_S - 60 && seconds <= MONTH_S, `${seconds} s`);
        assert.equal((await inKernel()).length, 1);
      };
      await lasts();
      await stage.postern.stop();
      await stage.postern.start();
      await lasts();
      assert.equal(await stage.door(server()), 'open');
      await stage.postern.posternd(['revoke', 'alice']);
      assert.equal(await stage.door(server()), 'timeout');
    });
  }
});
