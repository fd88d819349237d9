// Grants whose ground goes while they last: what the kernel will not shut, clients that expire, rules that give less. A firewall in memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALICE, BOB, HOME, HostUnderTest, rulesText, running, SSH_HOME, START } from '../fakes/daemon-host.ts';

const OTHER = '198.18.0.8';
const BOTH = [
  ['alice', ALICE],
  ['bob', BOB],
] as const;
const long = { action: { kind: 'open', lifetimeSeconds: 3600, once: false } } as const;
/** The rules, with alice until `seconds` from the start. */
const aliceUntil = (seconds: number) =>
  rulesText(BOTH).replace('name: alice,', `name: alice, expires: "${new Date(START + seconds * 1000).toISOString().slice(0, 19)}Z",`);

test('what the kernel will not shut is never forgotten: said, tried again each second, and cut as was ordered', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1, long));
  host.kernel.stuck = true;
  await assert.rejects(postern.revoke('alice', false), {
    exitCode: 1,
    message: /^not all of it could be shut: .*; the rest is tried again every second$/,
  });
  host.time.advance(1000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  host.kernel.stuck = false;
  host.time.advance(1000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), []);
  assert.deepEqual(host.kernel.cut, [SSH_HOME]);
});

test('who knocks again meanwhile keeps what that knock opened', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1, long));
  host.kernel.stuck = true;
  await assert.rejects(postern.revoke('alice', false));
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['granted']);
  host.kernel.stuck = false;
  host.time.advance(1000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  assert.equal(host.kernel.remainingOf(SSH_HOME), 59_000, 'and no more than that');
  assert.deepEqual(host.kernel.cut, []);
});

test('a reload is whole though the kernel will not shut the grants of who is out', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1, long));
  host.kernel.stuck = true;
  host.rules(rulesText([['bob', BOB]]));
  assert.equal((await postern.reload()).clients, 1);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['unknown-tag']);
  host.kernel.stuck = false;
  host.time.advance(1000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), []);
});

test('no grant outlives its client: also when a reload sets the date while it lasts', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1, long));
  await host.deliver(postern, host.knock(BOB, 1, long), OTHER);
  host.rules(aliceUntil(90));
  await postern.reload();
  host.time.advance(89_000);
  await postern.tick();
  assert.equal(host.kernel.keys().length, 2);
  host.time.advance(1000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), [`grant ${OTHER} tcp 22 0`]);
  assert.deepEqual(host.kernel.cut, [SSH_HOME]);
});

test('nor when the clock is set forward past the date (P14)', async (context) => {
  const { host, postern } = await running(context);
  host.rules(aliceUntil(1800));
  await postern.reload();
  await host.deliver(postern, host.knock(ALICE, 1, long));
  host.time.step(1_900_000);
  await postern.tick();
  assert.deepEqual(host.kernel.keys(), []);
});

const BOB_HOLDS = `grant ${OTHER} tcp 22 0`;
for (const { text, people, stands } of [
  { text: 'the client has another key', people: [['alice', BOB]], stands: [] },
  {
    text: 'two clients have changed their keys',
    people: [
      ['alice', BOB],
      ['bob', ALICE],
    ],
    stands: [],
  },
  {
    text: 'another client has the key',
    people: [
      ['carol', ALICE],
      ['bob', BOB],
    ],
    stands: [BOB_HOLDS],
  },
  {
    text: 'nothing has changed but the order',
    people: [
      ['bob', BOB],
      ['alice', ALICE],
    ],
    stands: [SSH_HOME, BOB_HOLDS],
  },
] as const) {
  test(`P39 a grant is its client's by that client's key; after a reload in which ${text}`, async (context) => {
    const { host, postern } = await running(context);
    await host.deliver(postern, host.knock(ALICE, 1, long));
    await host.deliver(postern, host.knock(BOB, 1, long), OTHER);
    assert.deepEqual(host.kernel.keys(), [SSH_HOME, BOB_HOLDS]);
    host.rules(rulesText(people));
    await postern.reload();
    assert.deepEqual(host.kernel.keys(), stands);
  });
}

test('a reload says what stands on although the rules give it no more, or its client is out', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(BOB, 1, long), OTHER);
  await postern.grantByHand({ who: 'alice', from: HOME, services: ['ssh'], ttlSeconds: 600, once: false });
  assert.deepEqual((await postern.reload()).notes, []);
  host.rules(rulesText([['bob', BOB]], '  - { services: [tcp/8443] }'));
  assert.deepEqual((await postern.reload()).notes, [
    `still open until its time is over or "posternd revoke g1": ssh for bob from ${OTHER}, although the rules do not give it any more`,
    `still open until its time is over or "posternd revoke g2": ssh for alice from ${HOME}, opened by hand, although that client is out`,
  ]);
  assert.equal(host.kernel.keys().length, 2);
  host.rules(rulesText([['bob', BOB]], '  - { services: [ssh], from: [192.0.2.0/24] }'));
  assert.match((await postern.reload()).notes[0] ?? '', /^still open .* for bob .* although the rules do not give it any more$/);
});

test('a gate is loaded anew though one address holds a hundred and thirty thousand openings', async (context) => {
  const host = new HostUnderTest(context);
  host.config('port: 65500\n', '[tcp/1-65535, udp/1-65400]');
  const postern = await host.start();
  context.after(() => host.stop());
  const every = { who: HOME, from: undefined, ttlSeconds: 600, once: false } as const;
  for (const protocol of ['tcp', 'udp']) {
    for (let first = 1; first < 65_000; first += 1000)
      await postern.grantByHand({ ...every, services: [`${protocol}/${first}-${first + 999}`] });
  }
  await host.kernel.firewall().remove();
  await postern.gate.verify();
  assert.equal(host.kernel.keys().length, 130_000);
});
