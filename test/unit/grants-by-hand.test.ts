// What an administrator opens by hand: what is refused and why, and what such a grant is not touched by.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { CommandError } from '../../daemon/command-error.ts';
import { Counters } from '../../daemon/counters.ts';
import type { OrderByHand } from '../../daemon/grants/by-hand.ts';
import { ALICE, BOB, CLOSE, HOME, HostUnderTest, rulesText, running, SSH_HOME } from '../fakes/daemon-host.ts';

const order = (who: string, services: readonly string[], more: Partial<OrderByHand> = {}): OrderByHand => ({
  who,
  services,
  from: undefined,
  ttlSeconds: 600,
  once: false,
  ...more,
});

describe('an order that makes no sense is refused, and opens nothing', () => {
  const cases: readonly (readonly [text: string, order: OrderByHand, exit: number, message: string | RegExp])[] = [
    [
      'an unknown client',
      order('alise', ['ssh'], { from: HOME }),
      2,
      'no client is called "alise", and it is no address: did you mean "alice"?',
    ],
    [
      'nobody like it',
      order('zoe', ['ssh']),
      2,
      /^no client is called "zoe", and it is no address: name a client of the rules, or an address$/,
    ],
    ['half an address', order('10.0.0', ['ssh']), 2, /^no client is called "10.0.0"/],
    ['a network', order('10.0.0.0/8', ['ssh']), 2, /^no client is called "10.0.0.0\/8"/],
    ['control bytes (P34)', order('a\u001b[31m\nb', ['ssh']), 2, /^no client is called "a[^\p{Cc}]*b"/u],
    [
      'a client without an address',
      order('alice', ['ssh']),
      2,
      /^where client "alice" is cannot be known, as nothing is open for it: add --from/,
    ],
    ['an address that is none', order('alice', ['ssh'], { from: 'home' }), 2, /^not an IP address: "home": write one like/],
    ['an address twice', order(HOME, ['ssh'], { from: HOME }), 2, /^"198.18.0.7" is an address already: leave out --from/],
    ...['0.0.0.0', '127.0.0.1', '169.254.1.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'fe80::1', 'ff02::1', '::ffff:127.0.0.1'].map(
      (text) =>
        [
          `nobody's address (P32): ${text}`,
          order(text, ['ssh']),
          2,
          /^nobody connects from \S+ \(.*\): write the address that the server sees/,
        ] as const,
    ),
    ['an address with its interface', order('fe80::1%eth0', ['ssh']), 2, /^no client is called "fe80::1%eth0"/],
    ['an unknown service', order(HOME, ['sssh']), 2, 'no service is called "sssh": did you mean "ssh"?'],
    ['a service like no other', order(HOME, ['frobnicate']), 2, /^no service is called "frobnicate": write a name of "services"/],
    ['a bad port', order(HOME, ['tcp/0']), 2, /^not a port: "tcp\/0"/],
    ['a range that runs backwards', order(HOME, ['tcp/9-5']), 2, /runs backwards/],
    ['a bare number', order(HOME, ['22']), 2, /^no service is called "22"/],
    ['another protocol', order(HOME, ['sctp/22']), 2, /^not a port: "sctp\/22"/],
    ['one good and one bad', order(HOME, ['ssh', 'tcp/0']), 2, /^not a port/],
    ['what nobody protects', order(HOME, ['tcp/9999']), 2, 'tcp/9999 is not protected: it is open to everybody already'],
    ['no time', order(HOME, ['ssh'], { ttlSeconds: 0 }), 2, 'a grant lasts from 1s to 30d, not 0s'],
    ['31 days', order(HOME, ['ssh'], { ttlSeconds: 31 * 86_400 }), 2, 'a grant lasts from 1s to 30d, not 31d'],
    ['a second over 30 days', order(HOME, ['ssh'], { ttlSeconds: 30 * 86_400 + 1 }), 2, /^a grant lasts from 1s to 30d, not 2592001s/],
    ['more ports than can be opened at once', order(HOME, ['tcp/20000-22000']), 2, /^2001 ports at once, and at most 1024/],
    [
      'a disabled client',
      order('carol', ['ssh'], { from: HOME }),
      1,
      /^client "carol" is disabled: to let somebody in all the same, grant the address/,
    ],
    ['an expired client', order('dave', ['ssh'], { from: HOME }), 1, /^client "dave" has expired/],
  ];
  for (const [text, wanted, exit, message] of cases) {
    test(text, async (context) => {
      const host = new HostUnderTest(context);
      host.kernel.present = true;
      host.config('', '[ssh, tcp/8443, tcp/20000-30000]');
      host.rules(
        rulesText([
          ['alice', ALICE],
          ['carol', BOB],
        ]).replace('name: carol', 'name: carol, enabled: false'),
      );
      host.addRules('dave.yaml', 4, 'name: dave, expires: 2020-01-01');
      const postern = await host.start();
      context.after(() => host.stop());
      await assert.rejects(postern.grantByHand(wanted), (error) => {
        assert.ok(error instanceof CommandError);
        assert.equal(error.exitCode, exit);
        if (typeof message === 'string') assert.equal(error.message, message);
        else assert.match(error.message, message);
        assert.doesNotMatch(error.message, /\p{Cc}/u);
        return true;
      });
      assert.deepEqual(host.kernel.keys(), []);
      assert.deepEqual(postern.grants.all(), []);
    });
  }
});

async function granted(context: TestContext, wanted: OrderByHand) {
  const { host, postern } = await running(context);
  return { host, postern, opened: await postern.grantByHand(wanted) };
}

test('an address is let in without a rule and without a client', async (context) => {
  const { host, postern, opened } = await granted(context, order('::ffff:198.18.0.7', ['ssh', 'tcp/22', 'tcp/8443']));
  assert.deepEqual(host.kernel.keys(), [SSH_HOME, `grant ${HOME} tcp 8443 0`]);
  assert.equal(host.kernel.remainingOf(SSH_HOME), 600_000);
  assert.deepEqual(
    postern.grants.all().map(({ client, label }) => `${client} ${label}`),
    ['- ssh', '- tcp/22', '- tcp/8443'],
  );
  assert.deepEqual(opened.notes, []);
});

test('without a time it lasts for default_ttl; with 30 days for those (P26)', async (context) => {
  const { host, postern } = await running(context);
  await postern.grantByHand(order(HOME, ['ssh'], { ttlSeconds: undefined }));
  assert.equal(host.kernel.remainingOf(SSH_HOME), 30_000);
  await postern.grantByHand(order(HOME, ['ssh'], { ttlSeconds: 30 * 86_400 }));
  assert.equal(host.kernel.remainingOf(SSH_HOME), 30 * 86_400_000);
  host.time.advance(29 * 86_400_000);
  await postern.tick();
  assert.equal(postern.grants.all().length, 1);
  host.time.advance(86_400_000);
  await postern.tick();
  assert.equal(postern.grants.all().length, 0);
});

test('granting again prolongs and never shortens; --once is a grant of its own', async (context) => {
  const { host, postern } = await granted(context, order(HOME, ['ssh']));
  await postern.grantByHand(order(HOME, ['ssh'], { ttlSeconds: 5 }));
  assert.equal(host.kernel.remainingOf(SSH_HOME), 600_000);
  await postern.grantByHand(order(HOME, ['ssh'], { ttlSeconds: 700 }));
  assert.equal(host.kernel.remainingOf(SSH_HOME), 700_000);
  assert.equal(postern.grants.all().length, 1);
  await postern.grantByHand(order(HOME, ['ssh'], { once: true }));
  assert.deepEqual(host.kernel.keys(), [SSH_HOME, `once ${HOME} tcp 22 0`]);
});

test('a client is let in at the one address where something is open for it, or where --from says', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  await postern.grantByHand(order('alice', ['tcp/8443']));
  assert.ok(host.kernel.keys().includes(`grant ${HOME} tcp 8443 0`));
  await postern.grantByHand(order('alice', ['ssh'], { from: '198.18.0.9' }));
  await assert.rejects(postern.grantByHand(order('alice', ['ssh'])), {
    exitCode: 2,
    message: 'client "alice" is in from 198.18.0.7, 198.18.0.9: say which with --from ADDRESS',
  });
});

test('it survives a restart, a reload that removes the client, and a close by the client; a revoke ends it', async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  let postern = await host.start();
  context.after(() => host.stop());
  await postern.grantByHand(order('alice', ['ssh'], { from: HOME }));
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1, { action: CLOSE, skewMs: 5000 })), ['closed']);
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  host.rules(rulesText([['bob', BOB]]));
  await postern.reload();
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  await host.stop();
  postern = await host.start();
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
  assert.equal((await postern.revoke('alice', false)).length, 1);
  assert.deepEqual(host.kernel.keys(), []);
});

test("it does not count for the client's max_grants, nor as a knock", async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  host.config('max_grants: 1\n');
  const postern = await host.start();
  context.after(() => host.stop());
  await postern.grantByHand(order('alice', ['ssh', 'tcp/8443'], { from: HOME }));
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
  const counters = new Counters();
  for (const decision of host.decisions) counters.observe(decision);
  assert.equal(counters.snapshot().granted, 1);
});

test('beside a knock of the same client (P30): revoking either leaves the other', async (context) => {
  const { host, postern, opened } = await granted(context, order('alice', ['ssh'], { from: HOME }));
  await host.deliver(postern, host.knock(ALICE, 1));
  await postern.revoke(opened.grants[0]?.id ?? '', false);
  assert.equal(host.kernel.remainingOf(SSH_HOME), 60_000, 'what alice knocked for');
});

test('notes say what such a grant is not good for', async (context) => {
  const host = new HostUnderTest(context);
  host.kernel.present = true;
  host.config(`trusted: [198.18.0.0/24]\nservices: { both: [tcp/22, tcp/9999] }\n`);
  const postern = await host.start();
  context.after(() => host.stop());
  assert.deepEqual((await postern.grantByHand(order(HOME, ['both']))).notes, [
    '198.18.0.7 is in the trusted network 198.18.0.0/24: nothing is closed for it anyway',
    'tcp/9999 of both is not protected: it is open to everybody already',
  ]);
});

test('with the gate down, or a kernel that refuses, it says so', async (context) => {
  const { host, postern } = await running(context);
  host.kernel.failing = true;
  await assert.rejects(postern.grantByHand(order(HOME, ['ssh'])), { exitCode: 1, message: /^nothing was opened: / });
  host.kernel.failing = false;
  await host.kernel.firewall().remove();
  assert.equal((await postern.grantByHand(order(HOME, ['ssh']))).grants.length, 1, 'right after a flush');
  await postern.gate.down();
  await assert.rejects(postern.grantByHand(order(HOME, ['ssh'])), { exitCode: 1, message: /^the gate is down/ });
});
