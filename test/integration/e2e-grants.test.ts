// Black box: what kinds of grants there are and how they end: one-shot, close, repeated knocks, two people behind one address,
// connections that are kept or cut.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { lacks } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, knockBy, PORT, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

describe('a grant', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({
      label: 'grants',
      config: {
        protect: [REQUEST, 'tcp/8023', 'tcp/9000-9010'],
        services: { panel: 'tcp/8023', pool: 'tcp/9000-9003', single: 'tcp/9010' },
      },
      allow: [
        { services: [REQUEST], ttl: '10s', max_ttl: '1m' },
        { services: ['panel'], ttl: '30s', sessions: 'end', default: false },
        { services: ['pool'], ttl: '30s', default: false },
        ...(lacks('one-shots') === false ? [{ services: ['single'], ttl: '30s', once: true, sessions: 'end', default: false }] : []),
      ],
    });
    await stage.server.listen({ tcp: [9000, 9003, 9004, 9010] });
  });
  beforeEach(async () => {
    for (const { id } of (await stage.postern.status()).grants) await stage.postern.posternd(['revoke', id], { mayFail: true });
  });
  after(() => stage?.close());

  const remaining = async () => (await stage.postern.status()).grants.map((grant) => grant.remaining_seconds);

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`that admits once admits one connection, over ${family}`, { skip: lacks('one-shots') }, async () => {
      await stage.alice.knock([profileOf(address()), REQUEST, '--once']);
      await stage.waitForGrants(1);
      assert.equal(await stage.door(address()), 'open');
      assert.equal(await stage.door(address()), 'timeout');
      assert.equal(await stage.kernelGrants(), 0);
    });

    test(`that admits once survives a lost SYN, over ${family} (P30a)`, { skip: lacks('one-shots') }, async () => {
      await stage.alice.knock([profileOf(address()), REQUEST, '--once']);
      await stage.waitForGrants(1);
      // The SYN passes the gate and is lost behind it; the kernel sends it again after a second.
      await stage.server.nft(
        `table inet loss { set once { type inet_service; size 8; flags dynamic,timeout; timeout 1m; }
          chain c { type filter hook input priority 0; tcp dport ${PORT} tcp flags syn tcp sport != @once add @once { tcp sport } drop; }\n}`,
      );
      try {
        const connected = await stage.client.connect(address(), PORT, { timeoutMs: 8_000, payload: 'late' });
        assert.equal(connected.outcome, 'open');
        assert.ok(connected.elapsedMs > 500, `the first SYN was lost, so ${connected.elapsedMs} ms is too fast`);
      } finally {
        await stage.server.nft('delete table inet loss');
      }
      assert.equal(await stage.door(address()), 'timeout');
    });

    test(`ends by knock close, over ${family}`, async () => {
      await stage.knock(address());
      assert.equal(await stage.door(address()), 'open');
      await stage.alice.knock(['close', profileOf(address()), REQUEST]);
      await stage.waitForGrants(0);
      assert.equal(await stage.door(address()), 'timeout');
    });

    test(`is prolonged by a second knock to its maximum, never shortened, never doubled, over ${family} (P25)`, async () => {
      await stage.knock(address(), '-t', '40s');
      await stage.knock(address(), '-t', '5s');
      const [afterShort = 0, ...more] = await remaining();
      assert.ok(afterShort > 25, `${afterShort} s are left`);
      assert.equal(more.length, 0);
      await stage.knock(address(), '-t', '30d');
      const [afterLong = 0] = await remaining();
      assert.ok(afterLong > 50 && afterLong <= 60, `${afterLong} s are left of at most 60`);
      assert.equal(await stage.kernelGrants(), 1);
    });

    test(`of one person stays when that of another at the same address is revoked, over ${family} (P30, P30b)`, async () => {
      await stage.knock(address());
      await knockBy(stage.bob, address());
      const listed = (await stage.postern.status()).grants.map((grant) => grant.client).sort();
      assert.deepEqual(listed, ['alice', 'bob']);
      await stage.postern.posternd(['revoke', 'alice']);
      assert.equal(await stage.door(address()), 'open');
      await stage.postern.posternd(['revoke', 'bob']);
      assert.equal(await stage.door(address()), 'timeout');
    });

    test(`keeps or cuts live connections as the administrator says, over ${family} (P29)`, async () => {
      for (const { args, expected } of [
        { args: ['--keep-sessions'], expected: /^echoed$/ },
        { args: [], expected: /^(reset|closed|timeout)$/ },
      ]) {
        await stage.knock(address());
        const connection = await stage.client.ask('hold', { address: address(), port: PORT, timeoutMs: 2_000 });
        await stage.postern.posternd(['revoke', 'alice', ...args]);
        assert.match(await stage.client.ask('talk', { connection, payload: 'still?', timeoutMs: 1_000 }), expected);
        assert.equal(await stage.door(address()), 'timeout');
        await stage.client.ask('hangUp', { connection });
      }
      // A cut does not stand in the way of the next knock.
      assert.match(await stage.knock(address()), /open after/);
    });

    test(`with "sessions: end" takes its connections along, over ${family} (P29)`, async () => {
      await stage.alice.knock([profileOf(address()), 'panel', '-t', '3s']);
      const panel = 8023;
      await waitFor(async () => (await stage.door(address(), stage.client, panel)) === 'open', { what: 'the panel' });
      const connection = await stage.client.ask('hold', { address: address(), port: panel, timeoutMs: 2_000 });
      assert.equal(await stage.client.ask('talk', { connection, payload: 'one', timeoutMs: 1_000 }), 'echoed');
      await stage.waitForGrants(0, 8_000);
      assert.match(await stage.client.ask('talk', { connection, payload: 'two', timeoutMs: 1_000 }), /^(reset|closed|timeout)$/);
      await stage.client.ask('hangUp', { connection });
    });

    test(`with "once" and "sessions: end" admits one connection, which ends with the grant or its revocation, over ${family} (P29)`, {
      skip: lacks('one-shots'),
    }, async () => {
      const single = 9010;
      for (const { ttl, end } of [
        { ttl: '8s', end: async () => undefined },
        { ttl: '30s', end: () => stage.postern.posternd(['revoke', 'alice']) },
      ]) {
        await stage.alice.knock([profileOf(address()), 'single', '-t', ttl]);
        await stage.waitForGrants(1);
        const connection = await stage.client.ask('hold', { address: address(), port: single, timeoutMs: 2_000 });
        assert.equal(await stage.door(address(), stage.client, single), 'timeout', 'a second one');
        assert.equal(await stage.client.ask('talk', { connection, payload: 'one', timeoutMs: 1_000 }), 'echoed');
        assert.equal((await stage.postern.status()).grants.length, 1, 'it can still be revoked');
        await end();
        await waitFor(async () => (await stage.postern.status()).grants.length === 0, { what: 'the end', deadlineMs: 15_000 });
        assert.match(await stage.client.ask('talk', { connection, payload: 'two', timeoutMs: 1_000 }), /^(reset|closed|timeout)$/);
        await stage.client.ask('hangUp', { connection });
      }
    });

    test(`of a named service opens its ports and no other, over ${family}`, async () => {
      await stage.alice.knock([profileOf(address()), 'pool']);
      await waitFor(async () => (await stage.door(address(), stage.client, 9000)) === 'open', { what: 'the pool' });
      assert.equal(await stage.door(address(), stage.client, 9003), 'open');
      assert.equal(await stage.door(address(), stage.client, 9004), 'timeout');
    });

    test(`behind one address translator is for the address that knocked, over ${family}`, async () => {
      const router = await stage.lab.host(`router${at}`);
      const inside = await stage.lab.host(`inside${at}`);
      await stage.lab.lan(router, inside);
      await stage.lab.link(router, stage.server);
      await stage.lab.route(router, 0, [inside]);
      await stage.lab.masquerade(router, 1);
      const [, outer] = [router.interfaces[0], router.interfaces[1]];
      const target = stage.server.interfaces.at(-1)?.[at === 0 ? 'ipv4' : 'ipv6'] ?? '';
      const key = stage.postern.publicLine;
      const { stdout } = await stage.alice.at(inside).knock([target, REQUEST, '--server-key', key]);
      assert.match(stdout, /open after/);
      assert.equal((await inside.connect(target, PORT)).outcome, 'open');
      assert.equal((await stage.postern.status()).grants[0]?.address, at === 0 ? outer?.ipv4 : outer?.ipv6);
    });
  }

  test('five hundred times over: still one element, one grant (P25)', async () => {
    // The client's slots bound how many knocks a minute holds; the repetition here is by what one minute gives.
    const address = stage.server.ipv4();
    for (let round = 0; round < 20; round += 1) await knockBy(stage.bob, address, '--no-verify');
    await waitFor(async () => (await stage.postern.status()).grants.length === 1, { what: 'the grant' });
    assert.equal(await stage.kernelGrants(), 1);
  });
});
