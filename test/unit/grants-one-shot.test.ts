// One-shots in the daemon's books: what a used one is worth, beside others and with "sessions: end".
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ALICE, BOB, CLOSE, HOME, HostUnderTest, rulesText } from '../fakes/daemon-host.ts';

const PEOPLE = [
  ['alice', ALICE],
  ['bob', BOB],
] as const;
const ONCE = `once ${HOME} tcp 22 0`;
const ONCE_ENDING = `once-ending ${HOME} tcp 22 0`;
const LASTING = `lasting ${HOME} tcp 22 0`;

async function withRule(context: TestContext, allow: string) {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  host.rules(rulesText(PEOPLE, `  - { services: [ssh], ttl: 60s, max_ttl: 1h, ${allow} }`));
  const postern = await host.start();
  context.after(() => host.stop());
  return { host, postern };
}

/** What the kernel does when the connection comes. */
function use(host: HostUnderTest, key: string): void {
  assert.ok(host.kernel.openings.delete(key), key);
}

test('once with "sessions: end": a used one lasts for its connection until its time is over, through a flush and a restart', async (context) => {
  const { host, postern } = await withRule(context, 'once: true, sessions: end');
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
  assert.deepEqual(host.kernel.keys(), [LASTING, ONCE_ENDING]);
  use(host, ONCE_ENDING);
  await postern.noteSpent();
  assert.equal(postern.grants.all().length, 1, 'it can still be revoked');
  await host.kernel.firewall().remove();
  await postern.gate.verify();
  assert.deepEqual(host.kernel.keys(), [LASTING], 'a flush does not revive what admits');
  await host.stop();
  host.time.advance(20_000);
  const next = await host.start();
  assert.deepEqual(host.kernel.keys(), [LASTING]);
  assert.equal(host.kernel.remainingOf(LASTING), 40_000);
  host.time.advance(41_000);
  await next.tick();
  assert.deepEqual(next.grants.all(), []);
  assert.equal(host.decisions.at(-1)?.kind, 'ended');
});

test('once with "sessions: end": an unused one survives a restart, and a close takes all of it out', async (context) => {
  const { host, postern } = await withRule(context, 'once: true, sessions: end');
  await host.deliver(postern, host.knock(ALICE, 1));
  await host.stop();
  const next = await host.start();
  assert.deepEqual(host.kernel.keys(), [LASTING, ONCE_ENDING]);
  assert.deepEqual(await host.deliver(next, host.knock(ALICE, 2, { action: CLOSE, skewMs: 1 })), ['closed']);
  assert.deepEqual(host.kernel.keys(), []);
});

for (const [rule, key] of [
  ['once: true', ONCE],
  ['once: true, sessions: end', ONCE_ENDING],
] as const) {
  test(`P30d two owners of one one-shot (${rule}): ending one never opens it anew once it was used`, async (context) => {
    const { host, postern } = await withRule(context, rule);
    await host.deliver(postern, host.knock(ALICE, 1));
    await host.deliver(postern, host.knock(BOB, 1));
    use(host, key);
    assert.deepEqual(await host.deliver(postern, host.knock(BOB, 2, { action: CLOSE, skewMs: 1 })), ['closed']);
    assert.equal(host.kernel.keys().includes(key), false);
  });

  for (const [whose, next] of [
    ['its own client', ALICE],
    ['another one', BOB],
  ] as const) {
    test(`P24 a used one-shot (${rule}) gives none of its time to the next one, of ${whose}`, async (context) => {
      const { host, postern } = await withRule(context, rule);
      await host.deliver(postern, host.knock(ALICE, 1, { action: { kind: 'open', lifetimeSeconds: 3600, once: false } }));
      use(host, key);
      const told = await host.deliver(postern, host.knock(next, 2, { action: { kind: 'open', lifetimeSeconds: 5, once: false } }));
      assert.equal(told.at(-1), 'granted');
      assert.equal(host.kernel.remainingOf(key), 5_000);
      // Neither in a gate that is loaded anew, nor when the younger one ends.
      await host.stop();
      const later = await host.start();
      assert.equal(host.kernel.remainingOf(key), 5_000);
      if (rule !== 'once: true') assert.equal(host.kernel.remainingOf(LASTING), 3_600_000, 'for the connection of the first');
      host.time.advance(1_000);
      assert.deepEqual(await host.deliver(later, host.knock(next, 3, { action: CLOSE, skewMs: 1 })), ['closed']);
      assert.equal(host.kernel.keys().includes(key), false);
    });
  }

  test(`an unused one-shot (${rule}) is prolonged by a second knock and never shortened (P25)`, async (context) => {
    const { host, postern } = await withRule(context, rule);
    await host.deliver(postern, host.knock(ALICE, 1, { action: { kind: 'open', lifetimeSeconds: 600, once: false } }));
    await host.deliver(postern, host.knock(ALICE, 2, { action: { kind: 'open', lifetimeSeconds: 5, once: false } }));
    assert.equal(host.kernel.remainingOf(key), 600_000);
    assert.equal(postern.grants.all().length, 1);
  });

  test(`P30b two owners of one one-shot (${rule}): an unused one stands on for the other's time`, async (context) => {
    const { host, postern } = await withRule(context, rule);
    await host.deliver(postern, host.knock(ALICE, 1));
    await host.deliver(postern, host.knock(BOB, 1, { action: { kind: 'open', lifetimeSeconds: 600, once: false } }));
    await postern.revoke('bob', false);
    assert.equal(host.kernel.remainingOf(key), 60_000);
  });
}
