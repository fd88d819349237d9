// The daemon without sockets and kernel: real packets, real ledger and journal on disk, real rules, a firewall in memory, a clock by hand.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { ALICE, address, BOB, CLOSE, HOME, HostUnderTest, rulesText, running, SSH_HOME } from '../fakes/daemon-host.ts';

test('a knock opens what the rule gives by default, for the sender only', async (context) => {
  const { host, postern } = await running(context);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 0)), ['granted']);
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  assert.equal(host.kernel.remainingOf(SSH_HOME), 60_000);
});

test('every tag of the acceptable windows and one ahead is armed before the first knock', async (context) => {
  const { host, postern } = await running(context);
  // 60 s of tolerance in the middle of a window: three windows, and one ahead; two clients of 16 slots.
  assert.equal(host.kernel.armed.size, 4 * 2 * 16);
  assert.equal(postern.tagBook.size(), 4 * 2 * 16);
});

test('P16 the same packet a hundred times in one tick gives one grant', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 3);
  await Promise.all(Array.from({ length: 100 }, () => postern.receive({ payload: packet, source: address(HOME), sourcePort: 1 })));
  assert.equal(host.decisions.filter(({ kind }) => kind === 'granted').length, 1);
  assert.equal(host.decisions.filter((decision) => decision.kind === 'dropped' && decision.reason === 'replay').length, 99);
});

test('P12 a replay is refused from the same and from another address, and after a restart', async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  const packet = host.knock(ALICE, 3);
  let postern = await host.start();
  assert.deepEqual(await host.deliver(postern, packet), ['granted']);
  assert.deepEqual(await host.deliver(postern, packet, '198.18.0.8'), ['replay']);
  await host.stop();
  postern = await host.start();
  context.after(() => host.stop());
  assert.deepEqual(await host.deliver(postern, packet), ['replay']);
  assert.deepEqual(await host.deliver(postern, packet, '198.18.0.8'), ['replay']);
});

test('a restart keeps live grants with the time that is left', async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  let postern = await host.start();
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.stop();
  host.time.advance(20_000);
  postern = await host.start();
  context.after(() => host.stop());
  assert.equal(host.kernel.remainingOf(SSH_HOME), 40_000);
  assert.deepEqual(
    postern.grants.all().map(({ client }) => client),
    ['alice'],
  );
});

test('P15 a knock that was refused stays refused after the rules allow it', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 5, { requests: [{ kind: 'ports', ports: { protocol: 'tcp', first: 8443, last: 8443 } }] });
  assert.deepEqual(await host.deliver(postern, packet), ['not-allowed']);
  host.rules(rulesText([['alice', ALICE]], '  - { services: [tcp/8443], ttl: 60s }'));
  await postern.reload();
  assert.deepEqual(await host.deliver(postern, packet), ['replay']);
  assert.deepEqual(host.kernel.keys(), []);
});

test('P16a a delayed open does not reopen what a younger close shut, not even after a restart', async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  let postern = await host.start();
  await host.deliver(postern, host.knock(ALICE, 1));
  const delayed = host.knock(ALICE, 2);
  const second = host.knock(ALICE, 3);
  host.time.advance(1000);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 4, { action: CLOSE })), ['closed']);
  assert.deepEqual(host.kernel.keys(), []);
  assert.deepEqual(await host.deliver(postern, delayed), ['superseded']);
  await host.stop();
  postern = await host.start();
  context.after(() => host.stop());
  assert.deepEqual(await host.deliver(postern, second), ['superseded']);
  host.time.advance(1000);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 6)), ['granted']);
});

test('P16a a bound close that is relayed from elsewhere ends nothing', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  host.time.advance(10);
  const close = host.knock(ALICE, 2, { action: CLOSE, source: { kind: 'bound', address: address(HOME) } });
  assert.deepEqual(await host.deliver(postern, close, '198.18.0.99'), ['relayed']);
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
});

test('P3 a bound knock that is relayed from elsewhere opens nothing, there or here', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 1, { source: { kind: 'bound', address: address(HOME) } });
  assert.deepEqual(await host.deliver(postern, packet, '198.18.0.99'), ['relayed']);
  assert.deepEqual(host.kernel.keys(), []);
});

test('P30b revoking alice leaves bob behind the same address in', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.deliver(postern, host.knock(BOB, 1));
  await postern.revoke('alice', false);
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  assert.deepEqual(host.kernel.cut, []);
  await postern.revoke('bob', false);
  assert.deepEqual(host.kernel.keys(), []);
  assert.deepEqual(host.kernel.cut, [SSH_HOME]);
});

test('P39 a client that a reload removes takes its own grants along; added again, its old packets stay dead', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 1);
  await host.deliver(postern, packet);
  await host.deliver(postern, host.knock(BOB, 1), '198.18.0.8');
  host.rules(rulesText([['bob', BOB]]));
  await postern.reload();
  assert.deepEqual(host.kernel.keys(), ['grant 198.18.0.8 tcp 22 0']);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['unknown-tag']);
  host.rules(
    rulesText([
      ['alicia', ALICE],
      ['bob', BOB],
    ]),
  );
  await postern.reload();
  assert.deepEqual(await host.deliver(postern, packet), ['replay']);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 3)), ['granted']);
});

test('a reload of broken rules changes nothing, and says where', async (context) => {
  const { host, postern } = await running(context);
  host.rules('name: x\nclients:\n  - { name: eve, key: nonsense }\n');
  await assert.rejects(postern.reload(), { exitCode: 2, message: /rules\.yaml:3:\d+: / });
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
});

test('P8 a clock that is ahead or behind is refused beyond the tolerance, on both edges', async (context) => {
  const cases = [
    { skewMs: -90_000, outcome: 'granted' }, // the first moment of the oldest window that meets now - 60 s
    { skewMs: -90_001, outcome: 'unknown-tag' },
    { skewMs: 89_999, outcome: 'granted' }, // the last moment of the youngest
    { skewMs: 90_000, outcome: 'clock-ahead' }, // armed a window ahead: opened, and told apart
    { skewMs: 150_000, outcome: 'unknown-tag' },
  ];
  for (const { skewMs, outcome } of cases) {
    await context.test(`${skewMs} ms: ${outcome}`, async (inner) => {
      const { host, postern } = await running(inner);
      assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1, { skewMs })), [outcome]);
    });
  }
});

test('a knock that came too early is not accepted later either', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 1, { skewMs: 100_000 });
  assert.deepEqual(await host.deliver(postern, packet), ['clock-ahead']);
  host.time.advance(60_000);
  await postern.tick();
  assert.deepEqual(await host.deliver(postern, packet), ['replay']);
});

test('P14 after a step of the clock, either way, fresh knocks open and old ones stay dead', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 1);
  assert.deepEqual(await host.deliver(postern, packet), ['granted']);
  for (const step of [3_600_000, -7_200_000, 3_600_000, 2_300_000_000_000, -2_300_000_000_000]) {
    host.time.step(step);
    await postern.tick();
    const [outcome] = await host.deliver(postern, host.knock(ALICE, 7), '198.18.0.50');
    // Back at the first hour slot 7 of this very window is spent.
    assert.ok(outcome === 'granted' || outcome === 'replay', `${step}: ${outcome}`);
    assert.deepEqual(
      await host.deliver(postern, host.knock(BOB, Math.abs(step) % 13), '198.18.0.51').then(([kind]) => kind !== 'unknown-tag'),
      true,
    );
  }
  assert.deepEqual(await host.deliver(postern, packet, '198.18.0.9'), ['replay']);
});

test('windows roll on: a minute later new tags are armed and the oldest are forgotten', async (context) => {
  const { host, postern } = await running(context);
  for (let minute = 0; minute < 5; minute += 1) {
    host.time.advance(60_000);
    await postern.tick();
    assert.equal(postern.tagBook.size(), 4 * 2 * 16);
    assert.deepEqual(await host.deliver(postern, host.knock(ALICE, minute)), ['granted']);
  }
});

test('a kernel that refuses is never reported as granted; once the gate is repaired the same knock opens', async (context) => {
  const { host, postern } = await running(context);
  host.kernel.failing = true;
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['firewall']);
  assert.deepEqual(postern.grants.all(), []);
  host.kernel.failing = false;
  // Somebody flushed the ruleset a moment ago; nothing has told us yet.
  await host.kernel.firewall().remove();
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['granted']);
  assert.equal(host.kernel.installs, 2);
});

test('a flush of the ruleset loses no grant, and does not revive a one-shot', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.deliver(postern, host.knock(BOB, 1, { action: { kind: 'open', lifetimeSeconds: 0, once: true } }));
  assert.equal(host.kernel.keys().length, 2);
  await host.kernel.firewall().remove();
  await postern.gate.verify();
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
});

test('taken down by an administrator, the gate stays down: nothing puts it back and nothing is granted', async (context) => {
  const { host, postern } = await running(context);
  await postern.gate.down();
  await postern.gate.verify();
  await postern.tick();
  assert.equal(host.kernel.present, false);
  // One that was on its way is told apart from junk, and spent.
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['firewall']);
  assert.deepEqual(postern.grants.all(), []);
  await postern.gate.up();
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['granted']);
});

test('one client can hold max_grants and no more; prolonging is always possible', async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  host.config('max_grants: 2\n');
  const postern = await host.start();
  context.after(() => host.stop());
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1), '198.18.0.1'), ['granted']);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2), '198.18.0.2'), ['granted']);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 3), '198.18.0.3'), ['max-grants']);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 4), '198.18.0.2'), ['granted']);
  host.time.advance(61_000);
  await postern.tick();
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 5), '198.18.0.3'), ['granted']);
});

test('junk of every length is dropped and leaves no mark (P11)', async (context) => {
  const { host, postern } = await running(context);
  for (const length of [0, 1, 15, 16, 191, 192, 300, 448, 449, 1400]) {
    const [reason] = await host.deliver(postern, new Uint8Array(randomBytes(length)));
    assert.equal(reason, length < 192 || length > 448 ? 'length' : 'unknown-tag');
  }
  const burnt = host.knock(ALICE, 1);
  burnt.set(randomBytes(32), 60);
  assert.deepEqual(await host.deliver(postern, burnt), ['seal']);
  // The tag was not spent by what could not be opened.
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
});
