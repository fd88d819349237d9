// What happens to the daemon while something else happens: reload, revoke, stop and repair in each other's way. A firewall in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { secretFromSeed } from '../../protocol/identity.ts';
import { ALICE, BOB, CLOSE, HOME, HostUnderTest, rulesText, running, SSH_HOME } from '../fakes/daemon-host.ts';

test('what a reload protects while the gate is down is closed when the gate goes up', async (context) => {
  const { host, postern } = await running(context);
  await postern.gate.down();
  host.config('trusted: []\n', '[ssh, tcp/8443, tcp/9999]');
  assert.deepEqual((await postern.reload()).notes, []);
  assert.equal(host.kernel.present, false);
  await postern.gate.up();
  assert.deepEqual(host.kernel.protected, ['tcp/22', 'tcp/8443', 'tcp/9999']);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
});

test('a reload while the gate is down still throws out who is gone, and arms the tags of who came', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await postern.gate.down();
  host.rules(rulesText([['bob', BOB]]));
  assert.equal((await postern.reload()).clients, 1);
  assert.deepEqual(postern.grants.all(), []);
  await postern.gate.up();
  assert.deepEqual(host.kernel.keys(), []);
  assert.equal(host.kernel.armed.size, 4 * 16);
});

test('revoking while the gate is down works, and gate up does not bring it back', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await postern.gate.down();
  assert.equal((await postern.revoke('alice', false)).length, 1);
  await postern.gate.up();
  assert.deepEqual(host.kernel.keys(), []);
});

test('P30b revoking right after a flush repairs the gate and still cuts the connections', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.kernel.firewall().remove();
  await postern.revoke('alice', false);
  assert.equal(host.kernel.present, true);
  assert.deepEqual(host.kernel.keys(), []);
  assert.deepEqual(host.kernel.cut, [SSH_HOME]);
});

test('P39 a client removed while no daemon ran loses its grant at the start', async (context) => {
  const host = new HostUnderTest(context);
  let postern = await host.start();
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.deliver(postern, host.knock(BOB, 1), '198.18.0.8');
  await host.stop();
  host.rules(rulesText([['bob', BOB]]));
  postern = await host.start();
  context.after(() => host.stop());
  assert.deepEqual(host.kernel.keys(), ['grant 198.18.0.8 tcp 22 0']);
});

test('a client that a reload lets expire loses its grant', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  host.rules(rulesText([['alice', ALICE]]).replace('name: alice,', 'name: alice, expires: 2020-01-01,'));
  await postern.reload();
  assert.deepEqual(host.kernel.keys(), []);
});

test('tags that the kernel refused for a moment are armed a second later, not a minute', async (context) => {
  const { host, postern } = await running(context);
  host.time.advance(60_000);
  host.kernel.full = true;
  await postern.tick();
  host.kernel.full = false;
  host.time.advance(1000);
  await postern.tick();
  // The three acceptable windows, the one ahead; and the one that is over, which the kernel forgets by itself.
  assert.equal(host.kernel.armed.size, 5 * 2 * 16);
});

test('a kernel that refuses tags does not make a reload half of one', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  host.kernel.full = true;
  const carol = secretFromSeed(new Uint8Array(32).fill(4));
  host.rules(
    rulesText([
      ['bob', BOB],
      ['carol', carol],
    ]),
  );
  assert.equal((await postern.reload()).clients, 2);
  assert.deepEqual(host.kernel.keys(), []);
  host.kernel.full = false;
  host.time.advance(1000);
  await postern.tick();
  assert.deepEqual(await host.deliver(postern, host.knock(carol, 1)), ['granted']);
});

test('P16a an open that waited for a repair does not reopen what a close shut meanwhile', async (context) => {
  const { host, postern } = await running(context);
  const open = host.knock(ALICE, 1);
  host.time.advance(1000);
  const close = host.knock(ALICE, 2, { action: CLOSE });
  await host.kernel.firewall().remove();
  const outcomes = await Promise.all([host.deliver(postern, open), host.deliver(postern, close)]);
  assert.ok(outcomes.flat().includes('superseded'), JSON.stringify(outcomes));
  assert.deepEqual(host.kernel.keys(), []);
});

test('a knock that is on its way when the daemon stops is opened, and the restart keeps it', async (context) => {
  const host = new HostUnderTest(context);
  let postern = await host.start();
  await postern.disarm();
  assert.equal(host.kernel.armed.size, 0);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
  await host.stop();
  postern = await host.start();
  context.after(() => host.stop());
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
});

test('nothing that comes while the daemon stops arms tags again or touches the gate', async (context) => {
  const { host, postern } = await running(context);
  await postern.disarm();
  await Promise.all([postern.gate.up(), postern.gate.verify(), postern.gate.down(), postern.reload(), postern.tick()]);
  assert.equal(host.kernel.installs, 1);
  assert.equal(host.kernel.present, true);
  assert.equal(host.kernel.armed.size, 0);
});

test('a knock that the kernel handed over before the gate was loaded anew is not lost', async (context) => {
  const { host, postern } = await running(context);
  const packet = host.knock(ALICE, 1);
  const up = postern.gate.up();
  // The new table stands, its tags wait for the ledger's fsync.
  await new Promise(setImmediate);
  assert.deepEqual(await host.deliver(postern, packet), ['granted']);
  await up;
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
});

test('P21 revoke takes an address in any spelling', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1), '2001:db8::7');
  await host.deliver(postern, host.knock(ALICE, 2));
  assert.equal((await postern.revoke(`::ffff:${HOME}`, true)).length, 1);
  assert.equal((await postern.revoke('2001:DB8:0::0007', true)).length, 1);
});

test('P16a a trip of the clock to 2099 and back does not make a delayed open forget the close', async (context) => {
  const { host, postern } = await running(context);
  const delayed = host.knock(ALICE, 1);
  host.time.advance(1000);
  await host.deliver(postern, host.knock(ALICE, 2, { action: CLOSE }));
  for (const step of [2_300_000_000_000, -2_300_000_000_000]) {
    host.time.step(step);
    await postern.tick();
  }
  assert.deepEqual(await host.deliver(postern, delayed), ['superseded']);
});

test('P14 a host that slept: grants end when they were to end, and what is left stands for its time only', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.deliver(postern, host.knock(BOB, 1, { action: { kind: 'open', lifetimeSeconds: 600, once: false } }), '198.18.0.8');
  host.time.sleep(120_000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), ['grant 198.18.0.8 tcp 22 0']);
  assert.equal(host.kernel.remainingOf('grant 198.18.0.8 tcp 22 0'), 480_000);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['granted']);
});

test('whatever goes wrong while the gate is looked after, the daemon lives and loads it when it can', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.kernel.firewall().remove();
  host.kernel.loading = Promise.reject(new RangeError('a mistake of ours'));
  await postern.gate.verify();
  assert.equal(host.kernel.present, false);
  host.kernel.loading = undefined;
  await postern.gate.verify();
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
});
