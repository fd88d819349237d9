// `knock` against a real kernel: what it sends, what it sees, what it prints. The server is client-doorman.ts.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { DEAD_PORT, Doorway, KNOCK_PORT, PORT, REQUEST, SERVER_LINE } from './client-doorway.ts';

const skip = labMissing() ?? false;
/** What `knock` could send: datagrams, and SYNs of either family; no late answers to connections of earlier tests. */
const SENT = { filter: 'udp or (tcp[13] & 18 == 2) or (ip6[6] == 6 and ip6[53] & 18 == 2)', direction: 'out' } as const;

describe('knock', { skip, timeout: 180_000 }, () => {
  let doorway: Doorway;
  before(async () => {
    doorway = await Doorway.create();
  });
  after(() => doorway?.close());
  beforeEach(() => doorway.begin());

  for (const [family, at] of [
    ['IPv4', 0],
    ['IPv6', 1],
  ] as const) {
    test(`opens the door over ${family} with one packet and says after how long`, async () => {
      const address = doorway.server.addresses()[at];
      const heard = await doorway.hearing(1, async () => {
        const result = await doorway.knockHere([address, REQUEST, '-t', '10m']);
        assert.deepEqual([result.code, result.stderr], [0, '']);
        assert.match(result.stdout, /^open after \d+(\.\d)? ms\n$/);
      });
      assert.equal(heard.length, 1);
      assert.deepEqual(heard[0]?.body, {
        action: { kind: 'open', lifetimeSeconds: 600, once: false },
        source: null,
        requests: [{ kind: 'ports', ports: { protocol: 'tcp', first: PORT, last: PORT } }],
      });
    });
  }

  test('knocks at every address of a name, each with a tag and a socket of its own, and says which opened', async () => {
    const heard = await doorway.hearing(2, async () => {
      const { stdout } = await doorway.knockHere(['both.test', REQUEST, '--json'], { mayFail: false });
      const report = JSON.parse(stdout);
      assert.deepEqual([report.ok, report.result, report.knocksSent, report.wasOpen, report.error], [true, 'open', 2, false, null]);
      assert.deepEqual(report.addresses.map((each: { address: string }) => each.address).sort(), [...doorway.server.addresses()].sort());
      assert.ok(report.afterMs > 0 && doorway.server.addresses().includes(report.address));
    });
    assert.equal(heard.length, 2);
    assert.equal(new Set(heard.map((each) => each.fromPort)).size, 2);
    assert.equal(new Set(heard.map((each) => `${each.window}.${each.slot}`)).size, 2);
  });

  test('keeps to one family with -4 or -6, and says when the name has none of it', async () => {
    for (const [flag, address] of [
      ['-4', doorway.client.ipv4()],
      ['-6', doorway.client.ipv6()],
    ] as const) {
      await doorway.shut();
      const heard = await doorway.hearing(1, () => doorway.knockHere([flag, 'both.test', REQUEST], { mayFail: false }));
      assert.deepEqual(
        heard.map((each) => each.from),
        [address],
      );
    }
    const missing = await doorway.knockHere(['-6', 'four.test', REQUEST]);
    assert.deepEqual(
      [missing.code, missing.stderr],
      [1, 'knock: "four.test" has no IPv6 address: leave out -6 (or AddressFamily in ssh\'s configuration)\n'],
    );
  });

  test('knocks again with a fresh tag when the network lost the packet', async () => {
    await doorway.server.nft(`table netdev lossy { chain c { type filter hook ingress device "eth0" priority 0;
      udp dport ${KNOCK_PORT} limit rate 1/week burst 2 packets drop; }\n}`);
    try {
      await doorway.hearing(1, async () => {
        const result = await doorway.knockHere([doorway.server.ipv4(), REQUEST], { mayFail: false });
        assert.match(result.stdout, /^open after \d+ ms \(3 knocks\)\n$/);
      });
    } finally {
      await doorway.server.nft('delete table netdev lossy');
    }
  });

  test('opens through a network that loses every third packet in both directions', async () => {
    const lossy = 'type filter hook ingress device "eth0" priority 0; numgen random mod 3 == 0 drop;';
    for (const host of [doorway.server, doorway.client]) await host.nft(`table netdev lossy { chain c { ${lossy} }\n}`);
    try {
      const result = await doorway.knockHere([doorway.server.ipv4(), REQUEST, '--timeout', '20s', '--retries', '8']);
      assert.deepEqual([result.code, result.stderr], [0, '']);
    } finally {
      for (const host of [doorway.server, doorway.client]) await host.nft('delete table netdev lossy');
    }
  });

  test('shows the service behind a slow path a single connection', async (context) => {
    const slow = await doorway.client.exec(['tc', 'qdisc', 'add', 'dev', 'eth0', 'root', 'netem', 'delay', '100ms'], { mayFail: true });
    if (slow.code !== 0) return context.skip('this kernel has no netem');
    await doorway.server.nft(`table inet count { counter accepted {}
      chain c { type filter hook input priority 10; tcp dport ${PORT} tcp flags & (syn | ack) == ack ct state established ct original packets 2 counter name accepted; }\n}`);
    try {
      const result = await doorway.knockHere([doorway.server.ipv4(), REQUEST], { mayFail: false });
      assert.match(result.stdout, /^open after 1\d\d ms\n$/);
      const { stdout } = await doorway.server.exec(['nft', 'list', 'counter', 'inet', 'count', 'accepted']);
      assert.match(stdout, /packets 1 /);
    } finally {
      await doorway.client.exec(['tc', 'qdisc', 'del', 'dev', 'eth0', 'root']);
      await doorway.server.nft('delete table inet count');
    }
  });

  test('P16b: both addresses with all retries, twice in a minute, never use a slot twice', async () => {
    await doorway.server.nft(`table inet mute { chain c { type filter hook output priority 0; tcp sport ${PORT} drop; }\n}`);
    try {
      const heard = await doorway.hearing(16, async () => {
        for (let run = 0; run < 2; run += 1) {
          const result = await doorway.knockHere(['both.test', REQUEST, '--timeout', '3s', '--json']);
          assert.deepEqual([result.code, JSON.parse(result.stdout).knocksSent], [1, 8]);
        }
      });
      assert.deepEqual(
        heard.map((each) => each.heard),
        Array.from({ length: 16 }, () => 'knock'),
      );
      assert.equal(new Set(heard.map((each) => `${each.window}.${each.slot}`)).size, 16);
    } finally {
      await doorway.server.nft('delete table inet mute');
    }
  });

  test('draws different slots in processes that run at once', async () => {
    const heard = await doorway.hearing(8, () =>
      Promise.all(
        Array.from({ length: 8 }, () =>
          doorway.knockHere([doorway.server.ipv4(), REQUEST, '--no-verify', '--timeout', '61s'], { timeoutMs: 70_000 }),
        ),
      ),
    );
    assert.deepEqual(
      heard.map((each) => each.heard),
      Array.from({ length: 8 }, () => 'knock'),
    );
  });

  test('knocks without memory of slots where the state folder cannot be written, and says so with -v', async () => {
    const result = await doorway.knockHere([doorway.server.ipv4(), REQUEST, '-v'], { env: { XDG_STATE_HOME: '/dev/null' } });
    assert.match(result.stderr, /used slots cannot be remembered/);
    assert.equal(result.code, 0);
  });

  test('never checks what a check would spend: a one-shot knock sends no SYN', async () => {
    const capture = await doorway.client.capture(SENT);
    const heard = await doorway.hearing(1, async () => {
      const result = await doorway.knockHere([doorway.server.ipv4(), REQUEST, '--once'], { mayFail: false });
      assert.match(result.stdout, /^knock sent to [\d.]+ \(not checked: a check would use up the one connection\)\n$/);
    });
    assert.equal((await capture.settle(doorway.server.ipv4())).length, 1);
    assert.deepEqual(heard[0]?.body?.action, { kind: 'open', lifetimeSeconds: 0, once: true });
    await capture.close();
  });

  test('says that UDP is not checked', async () => {
    const result = await doorway.knockHere([doorway.server.ipv4(), 'udp/51820'], { mayFail: false });
    assert.match(result.stdout, /not checked/);
    assert.match(result.stderr, /udp\/51820: UDP does not answer/);
  });

  test('sends nothing with --dry-run, not even a SYN, and uses up no slot', async () => {
    const state = join(doorway.home, 'dry-state');
    const capture = await doorway.client.capture(SENT);
    for (const address of doorway.server.addresses()) {
      const result = await doorway.knockHere([address, REQUEST, '--dry-run'], { mayFail: false, env: { XDG_STATE_HOME: state } });
      for (const field of ['to ', 'server key', 'client key', 'sent at', 'lifetime', 'source', 'requests', 'nothing was sent'])
        assert.match(result.stdout, new RegExp(`^${field}`, 'm'));
    }
    assert.deepEqual(await capture.settle(doorway.server.ipv4()), []);
    assert.ok(!existsSync(state));
    await capture.close();
  });

  test('gives a grant back with close, and sees the door shut', async () => {
    for (const address of doorway.server.addresses()) {
      await doorway.knockHere([address, REQUEST], { mayFail: false });
      assert.equal((await doorway.client.connect(address, PORT)).outcome, 'open');
      const heard = await doorway.hearing(1, async () => {
        const result = await doorway.knock(['close', '--server-key', SERVER_LINE, address, REQUEST], { mayFail: false });
        assert.equal(result.stdout, 'closed\n');
      });
      assert.deepEqual(heard[0]?.body?.action, { kind: 'close' });
      assert.equal((await doorway.client.connect(address, PORT, { timeoutMs: 200 })).outcome, 'timeout');
    }
  });

  test('says when a port stays open after a close', async () => {
    await doorway.server.nft('delete table inet door');
    const result = await doorway.knock(['close', '--server-key', SERVER_LINE, doorway.server.ipv4(), REQUEST, '--timeout', '1s']);
    assert.equal(result.code, 1);
    assert.match(result.stderr, /tcp\/8022 on [\d.]+ still accepts connections/);
  });

  test('says when the port was open before the knock', async () => {
    await doorway.knockHere([doorway.server.ipv4(), REQUEST], { mayFail: false });
    const again = await doorway.knockHere([doorway.server.ipv4(), REQUEST], { mayFail: false });
    assert.match(again.stderr, /tcp\/8022 was open before this knock: an earlier grant still holds, or the port is not protected/);
  });

  test('remembers marks of slots in one folder for each pair of keys', async () => {
    const folder = join(doorway.home, 'other-state');
    for (let run = 0; run < 2; run += 1) {
      await doorway.knockHere([doorway.server.ipv4(), REQUEST, '--no-verify'], { mayFail: false, env: { XDG_STATE_HOME: folder } });
    }
    const [pair = '', ...more] = readdirSync(join(folder, 'knock', 'slots'));
    assert.match(pair, /^[0-9a-f]{32}$/);
    assert.deepEqual(more, []);
    assert.equal(readdirSync(join(folder, 'knock', 'slots', pair)).length, 2);
  });

  test('reads a profile: host, server key, services, lifetime', async () => {
    const file = join(doorway.home, 'profiles.yaml');
    writeFileSync(
      file,
      `profiles:\n  web1:\n    host: ${doorway.server.ipv4()}\n    server_key: ${SERVER_LINE}\n    services: [${REQUEST}]\n    ttl: 2m\n    slots: 64\n`,
    );
    const heard = await doorway.hearing(1, () => doorway.knock(['web1', '--config', file], { mayFail: false }));
    assert.equal(heard[0]?.body?.action.kind === 'open' && heard[0].body.action.lifetimeSeconds, 120);
  });

  test('finds the server key in known_hosts', async () => {
    await doorway.client.exec(['mkdir', '-p', join(doorway.home, '.ssh')]);
    writeFileSync(join(doorway.home, '.ssh', 'known_hosts'), `${doorway.server.ipv4()} ${SERVER_LINE.split(' ').slice(0, 2).join(' ')}\n`);
    const run = async () => doorway.knock([doorway.server.ipv4(), REQUEST]);
    assert.match((await run()).stdout, /^open after/);
    await doorway.client.exec(['ssh-keygen', '-H', '-f', join(doorway.home, '.ssh', 'known_hosts')]);
    await doorway.shut();
    assert.match((await run()).stdout, /^open after/);
  });

  describe('what most likely went wrong', () => {
    const cases = [
      {
        text: 'silence lists its causes in order',
        args: (here: Doorway) => [here.server.ipv4(), REQUEST, '-p', '62202', '--timeout', '1s'],
        code: 1,
        says: /^knock: tcp\/8022 on [\d.]+ did not open within 1 s \(3 knocks were sent.*\n(.*\n)*.*not enrolled(.*\n)*.*clock(.*\n)*.*posternd status(.*\n)*.*knock doctor [\d.]+ tcp\/8022\n$/,
      },
      {
        text: 'a service that is down behind an open door',
        args: (here: Doorway) => [here.server.ipv4(), `tcp/${DEAD_PORT}`, '--timeout', '1s'],
        code: 1,
        says: /^knock: the door opened, but nothing listens behind it: tcp\/8099/,
      },
      {
        text: 'one of two services is down',
        args: (here: Doorway) => [here.server.ipv4(), REQUEST, `tcp/${DEAD_PORT}`],
        code: 1,
        says: /^knock: tcp\/8022 on [\d.]+ opened, but tcp\/8099 refuses connections/,
      },
      { text: 'no route', args: () => ['198.51.100.7', REQUEST], code: 1, says: /^knock: no route to 198\.51\.100\.7 \(ENETUNREACH\)/ },
      { text: 'a name that nobody knows', args: () => ['nosuch.test', REQUEST], code: 1, says: /^knock: the name "nosuch\.test" / },
      {
        text: 'a source that is not this machine’s family',
        args: (here: Doorway) => [here.server.ipv4(), REQUEST, '--source', '2001:db8::1'],
        code: 2,
        says: /^knock: --source 2001:db8::1 is IPv6, but/,
      },
    ] as const;
    for (const { text, args, code, says } of cases) {
      test(text, async () => {
        const result = await doorway.knockHere(args(doorway));
        assert.match(result.stderr, says);
        assert.deepEqual([result.code, result.stdout], [code, '']);
      });
    }

    test('a door that refuses, before and after', async () => {
      await doorway.shut('reject with tcp reset');
      const result = await doorway.knockHere([doorway.server.ipv4(), REQUEST, '-p', '62202', '--timeout', '1s']);
      assert.match(result.stderr, /refuses connections, before the knock and after it\n(.*\n)*.*refuse: reject/);
    });

    test('every failure is also one JSON object on standard output', async () => {
      for (const args of [['nosuch.test', REQUEST], ['bad host'], ['--nonsense', 'x']]) {
        const result = await doorway.knockHere([...args, '--json']);
        const report = JSON.parse(result.stdout);
        assert.equal(report.ok, false);
        assert.ok(report.error.message.length > 0 && report.error.code.length > 0);
      }
    });
  });

  test('opens a door that refuses by reset instead of dropping', async () => {
    await doorway.shut('reject with tcp reset');
    assert.match((await doorway.knockHere([doorway.server.ipv4(), REQUEST])).stdout, /^open after/);
  });

  describe('--source', () => {
    const cases = [
      { text: 'auto leaves a private address unbound', args: [], bound: () => null },
      { text: 'bound binds whatever address leads there', args: ['--source', 'bound'], bound: (here: Doorway) => here.client.ipv4() },
      { text: 'none leaves it unbound', args: ['--source', 'none'], bound: () => null },
      { text: 'an address is bound as it stands', args: ['--source', '9.8.7.6'], bound: () => '9.8.7.6' },
    ] as const;
    for (const { text, args, bound } of cases) {
      test(text, async () => {
        const heard = await doorway.hearing(1, () =>
          doorway.knockHere([doorway.server.ipv4(), REQUEST, '--no-verify', ...args], { mayFail: false }),
        );
        assert.equal(heard[0]?.body?.source, bound(doorway));
      });
    }

    test('auto binds a global address of this machine, of the packet’s family', async () => {
      await doorway.client.exec(['ip', 'address', 'add', '9.9.9.2/24', 'dev', 'eth0']);
      await doorway.server.exec(['ip', 'address', 'add', '9.9.9.1/24', 'dev', 'eth0']);
      const heard = await doorway.hearing(1, () => doorway.knockHere(['9.9.9.1', REQUEST], { mayFail: false }));
      assert.equal(heard[0]?.body?.source, '9.9.9.2');
    });

    test('auto never binds towards 64:ff9b::/96', async () => {
      await doorway.client.exec(['ip', 'address', 'add', '2600::2/64', 'dev', 'eth0', 'nodad']);
      await doorway.server.exec(['ip', 'address', 'add', '64:ff9b::808:808/128', 'dev', 'eth0', 'nodad']);
      await doorway.server.exec(['ip', 'address', 'add', '2600::1/64', 'dev', 'eth0', 'nodad']);
      await doorway.client.exec(['ip', 'route', 'add', '64:ff9b::/96', 'via', '2600::1', 'src', '2600::2']);
      const heard = await doorway.hearing(1, () => doorway.knockHere(['64:ff9b::808:808', REQUEST], { mayFail: false }));
      assert.deepEqual(
        heard.map((each) => [each.from, each.body?.source]),
        [['2600::2', null]],
      );
      const refused = await doorway.knockHere(['64:ff9b::808:808', REQUEST, '--source', 'bound']);
      assert.match(refused.stderr, /cannot be bound: an address translator \(NAT64\)/);
      assert.equal(refused.code, 1);
    });
  });
});
