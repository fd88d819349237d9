// Black box: posternd on a gateway. What is behind it and named under `networks` is gated, published ports are, other transit is not touched.
//
//   client ──┐                            ┌── eth1 ── inside   10.77.2.0/24, fd00:77:2::/64: named under `networks`
//            ├── switch ── eth0 server ───┤
//   stranger ┘                            └── eth2 ── other    10.77.3.0/24, fd00:77:3::/64: with a posternd of its own
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, knockBy, PORT, profileOf, REQUEST, rulesFor, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
const PUBLISHED = 8080;
const CONFIG = {
  protect: [REQUEST, `tcp/${PUBLISHED}`, `udp/${UDP_PORT}`],
  port: KNOCK_PORT,
  networks: ['10.77.2.0/24', 'fd00:77:2::/64'],
};
const ALLOW = [{ services: [REQUEST, `tcp/${PUBLISHED}`, `udp/${UDP_PORT}`], ttl: '60s', max_ttl: '1h' }];

describe('a gateway', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let inside: Host;
  let other: Host;
  let second: Installation;
  before(async () => {
    stage = await Stage.create({ label: 'gw', start: false, config: CONFIG, allow: ALLOW });
    const { lab, server, client, stranger } = stage;
    inside = await lab.host('inside');
    other = await lab.host('other');
    await lab.link(server, inside);
    await lab.link(server, other);
    await lab.route(server, 1, [inside]);
    await lab.route(server, 2, [other]);
    await lab.route(server, 0, [client, stranger]);
    await inside.listen({ tcp: [PORT, 80], udp: [UDP_PORT] });
    await other.listen({ tcp: [PORT], udp: [9999] });
    await client.listen({ udp: [9999] });
    // As a container's port is published; to a port that is protected by its own number too.
    await server.nft(`table inet publish {
      chain in { type nat hook prerouting priority dstnat;
        fib daddr type local tcp dport ${PUBLISHED} dnat ip to ${inside.ipv4()}:${PORT}
        fib daddr type local tcp dport ${PUBLISHED} dnat ip6 to [${inside.ipv6()}]:${PORT}
      }
    }`);
    second = await Installation.create(other, { protect: [REQUEST], port: KNOCK_PORT }, rulesFor([stage.bob]));
    stage.bob.trust(second);
    await second.start();
    await stage.postern.start();
  });
  after(async () => {
    await second?.close();
    await stage?.close();
  });

  async function reconfigured(config: Readonly<Record<string, unknown>>, work: () => Promise<void>): Promise<void> {
    const reload = async (next: Readonly<Record<string, unknown>>) => {
      stage.postern.writeConfig(next);
      await stage.postern.posternd(['reload']);
    };
    await reload({ ...CONFIG, ...config });
    try {
      await work();
    } finally {
      await reload(CONFIG);
    }
  }
  const revoke = (who: string) => stage.postern.posternd(['revoke', who], { mayFail: true });

  for (const { family, at } of FAMILIES) {
    describe(`over ${family}`, () => {
      const to = (host: Host): string => host.addresses()[at];

      test('a host behind it is reached only after a knock at the gateway, by who knocked; TCP and UDP', async () => {
        const udp = async () =>
          (await stage.client.sendUdp(to(inside), UDP_PORT, [Buffer.from('x')], { wanted: 1, waitMs: 400 })).replies.length;
        assert.equal(await stage.door(to(inside)), 'timeout');
        assert.equal(await udp(), 0);
        await stage.knock(to(stage.server));
        await stage.alice.knock([profileOf(to(stage.server)), `udp/${UDP_PORT}`]);
        assert.equal((await stage.client.connect(to(inside), PORT, { payload: 'ping' })).reply, 'hello\nping');
        await waitFor(async () => (await udp()) === 1, { what: 'the UDP grant' });
        assert.equal(await stage.door(to(inside), stage.stranger), 'timeout');
        // What nobody protects is nobody's business.
        assert.equal(await stage.door(to(inside), stage.stranger, 80), 'open');
        await revoke('alice');
        assert.notEqual(await stage.door(to(inside)), 'open');
      });

      test('revoking ends a connection that goes through it', async () => {
        await stage.knock(to(stage.server));
        const connection = await stage.client.ask('hold', { address: to(inside), port: PORT, timeoutMs: 2_000 });
        assert.equal(await stage.client.ask('talk', { connection, payload: 'a', timeoutMs: 2_000 }), 'echoed');
        await revoke('alice');
        assert.notEqual(await stage.client.ask('talk', { connection, payload: 'b', timeoutMs: 2_000 }), 'echoed');
        await stage.client.ask('hangUp', { connection });
      });

      test('a published port opens only after a knock for that port, whatever port it leads to (P28)', async () => {
        assert.equal(await stage.door(to(stage.server), stage.client, PUBLISHED), 'timeout');
        await stage.knock(to(stage.server));
        assert.equal(await stage.door(to(stage.server), stage.client, PUBLISHED), 'timeout');
        await stage.alice.knock([profileOf(to(stage.server)), `tcp/${PUBLISHED}`]);
        assert.equal((await stage.client.connect(to(stage.server), PUBLISHED, { payload: 'ping' })).reply, 'hello\nping');
        assert.equal(await stage.door(to(stage.server), stage.stranger, PUBLISHED), 'timeout');
        await revoke('alice');
        assert.notEqual(await stage.door(to(stage.server), stage.client, PUBLISHED), 'open');
      });

      test('what a host behind it begins is answered, from a protected port too', async () => {
        // Not the client: whoever was revoked stays cut from that port, answers over TCP included.
        const reached = await inside.connect(to(stage.stranger), PORT, { sourcePort: PUBLISHED, timeoutMs: 1_000 });
        // Nobody listens there: the reset came back, so the way is free both ways.
        assert.equal(reached.outcome, 'refused');
      });

      test("knocks for another server pass it untouched, and open that server's door, not its own (P30c)", async () => {
        assert.equal(await stage.door(to(other), stage.client), 'timeout');
        const before = await stage.heard();
        const said = await stage.bob.knock([`other${family === 'IPv4' ? 4 : 6}`, REQUEST]);
        assert.match(said.stdout + said.stderr, /open after/);
        assert.equal(await stage.heard(), before);
        assert.equal(await stage.door(to(other), stage.client), 'open');
        assert.equal(await stage.door(to(inside), stage.client), 'timeout');
        assert.equal(await stage.kernelGrants(), 0);
        await second.posternd(['revoke', 'bob']);
      });

      test('flows that use the knock port as their source port pass it both ways (P30c)', async () => {
        const before = await stage.heard();
        for (const [from, target] of [
          [stage.client, other],
          [inside, stage.client],
        ] as const) {
          const { replies } = await from.sendUdp(to(target), 9999, [Buffer.from('from the knock port')], {
            sourcePort: KNOCK_PORT,
            wanted: 1,
            waitMs: 1_000,
          });
          assert.equal(replies.length, 1, from.name);
        }
        assert.equal(await stage.heard(), before);
      });

      test('`trusted` gets in without a knock, nobody else does', async () => {
        const network = at === 0 ? `${stage.client.ipv4()}/32` : `${stage.client.ipv6()}/128`;
        await reconfigured({ trusted: [network] }, async () => {
          assert.equal(await stage.door(to(stage.server)), 'open');
          assert.equal(await stage.door(to(inside)), 'open');
          assert.equal(await stage.door(to(stage.server), stage.stranger), 'timeout');
        });
        assert.equal(await stage.door(to(stage.server)), 'timeout');
      });

      test('`interfaces` names where the gate stands, and no other name does', async () => {
        const own = inside.addresses()[at].replace(/2$/, '1');
        assert.equal(await inside.connect(own, PORT, { timeoutMs: 300 }).then(({ outcome }) => outcome), 'timeout');
        await reconfigured({ interfaces: ['eth0'] }, async () => {
          assert.equal(await stage.door(to(stage.server)), 'timeout');
          assert.equal((await inside.connect(own, PORT, { timeoutMs: 1_000 })).outcome, 'open');
          assert.match(await knockBy(stage.bob, to(stage.server)), /open after/);
          await revoke('bob');
        });
        await reconfigured({ interfaces: ['eth1'] }, async () => {
          assert.equal(await stage.door(to(stage.server)), 'open');
          assert.equal((await inside.connect(own, PORT, { timeoutMs: 300 })).outcome, 'timeout');
        });
      });
    });
  }

  test('without the network under `networks` it is transit, and open', async () => {
    await reconfigured({ networks: [] }, async () => {
      for (const address of inside.addresses()) assert.equal(await stage.door(address, stage.stranger), 'open');
      // The published port is the gateway's own all the same.
      for (const address of stage.server.addresses()) assert.equal(await stage.door(address, stage.stranger, PUBLISHED), 'timeout');
    });
  });
});
