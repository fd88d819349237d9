// Whose connections a knock opens for, with the real posternd: --source-port, --on-behalf, --via.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, FORBIDDEN_PORT, PORT, profileOf, REQUEST, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
const SOURCE_PORT = 4711;
/** Given to everybody, but not on behalf of others. */
const OWN_ONLY = `tcp/${FORBIDDEN_PORT}`;

describe('whose connections a knock opens for', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({
      label: 'whence',
      allow: [
        { services: [REQUEST, `udp/${UDP_PORT}`], on_behalf: true, ttl: '1m', max_ttl: '1h' },
        { services: [OWN_ONLY], ttl: '1m' },
      ],
    });
    await stage.lab.link(stage.client, stage.server);
  });
  after(() => stage?.close());
  afterEach(async () => {
    await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
  });

  const grants = async () => (await stage.postern.status()).grants.map(({ address }) => address);
  const dropped = async (reason: string) => (await stage.postern.status()).knocks.dropped[reason] ?? 0;
  const doorFrom = async (address: string, sourcePort: number) =>
    (await stage.client.connect(address, PORT, { sourcePort, timeoutMs: 400 })).outcome;

  for (const { family, at, flag } of FAMILIES) {
    const server = () => stage.server.addresses()[at];
    const stranger = () => stage.stranger.addresses()[at];
    const alice = (...args: readonly string[]) => stage.alice.knock([profileOf(server()), ...args], { mayFail: true });

    test(`--source-port opens for that port only, is checked from it, and leaves it free, over ${family}`, async () => {
      const result = await alice(REQUEST, '--source-port', String(SOURCE_PORT));
      assert.deepEqual([result.code, result.stderr], [0, '']);
      assert.match(result.stdout, /^open after \d+(\.\d)? ms\n$/);
      assert.deepEqual(
        [await doorFrom(server(), SOURCE_PORT), await doorFrom(server(), SOURCE_PORT + 1), await stage.door(server())],
        ['open', 'timeout', 'timeout'],
      );
    });

    test(`--source-port holds for UDP too, over ${family}`, async () => {
      await alice(`udp/${UDP_PORT}`, '--source-port', String(SOURCE_PORT));
      await stage.waitForGrants(1);
      const echo = async (sourcePort: number) =>
        (await stage.client.sendUdp(server(), UDP_PORT, [Buffer.from('x')], { sourcePort, wanted: 1, waitMs: 300 })).replies.length;
      assert.deepEqual([await echo(SOURCE_PORT), await echo(SOURCE_PORT + 1)], [1, 0]);
    });

    test(`--on-behalf opens for the other address and not for this machine; close gives it back, over ${family}`, async () => {
      const result = await alice(REQUEST, '--on-behalf', stranger());
      assert.deepEqual([result.code, result.stderr], [0, '']);
      assert.match(result.stdout, /^knock sent to \S+ \(not checked: it is for \S+, not for this machine\)\n$/);
      await waitFor(async () => (await stage.door(server(), stage.stranger)) === 'open', { what: 'the door to open for the stranger' });
      assert.equal(await stage.door(server()), 'timeout');
      assert.deepEqual(await grants(), [stranger()]);
      const closed = await stage.alice.knock(['close', profileOf(server()), REQUEST, '--on-behalf', stranger()]);
      assert.match(closed.stdout, /^knock sent/);
      await waitFor(async () => (await stage.door(server(), stage.stranger)) === 'timeout', { what: 'the door to shut' });
    });

    test(`--on-behalf is refused by a rule that does not say so, over ${family}`, async () => {
      const before = await dropped('relayed');
      assert.equal((await alice(OWN_ONLY, '--on-behalf', stranger())).code, 0);
      await waitFor(async () => (await dropped('relayed')) === before + 1, { what: 'the refusal' });
      assert.deepEqual(await grants(), []);
    });

    test(`--via ADDRESS knocks and checks from that address, over ${family}`, async () => {
      const second = at === 0 ? '10.77.1.77' : 'fd00:77:1::77';
      await stage.lab.addAddress(stage.client, second);
      const result = await alice(REQUEST, '--via', second);
      assert.deepEqual([result.code, result.stderr], [0, '']);
      assert.match(result.stdout, /^open after/);
      assert.deepEqual(await grants(), [second]);
      const outcome = async (localAddress: string) =>
        (await stage.client.connect(server(), PORT, { localAddress, timeoutMs: 400 })).outcome;
      assert.deepEqual([await outcome(second), await outcome(stage.client.addresses()[at])], ['open', 'timeout']);
      assert.equal((await alice('--via', second, REQUEST, '--json')).code, 0);
      const closed = await stage.alice.knock(['close', profileOf(server()), REQUEST, '--via', second]);
      assert.equal(closed.stdout, 'closed\n');
      assert.equal(await outcome(second), 'timeout');
    });

    test(`--via INTERFACE takes that interface’s address of the packet’s family, over ${family}`, async () => {
      assert.match((await alice(REQUEST, '--via', 'eth1', flag)).stdout, /^open after/);
      assert.deepEqual(await grants(), [at === 0 ? stage.client.ipv4(1) : stage.client.ipv6(1)]);
    });
  }

  test('--on-behalf of an address of the other family', async () => {
    assert.equal((await stage.alice.knock(['server4', REQUEST, '--on-behalf', stage.stranger.ipv6()])).code, 0);
    await waitFor(async () => (await stage.door(stage.server.ipv6(), stage.stranger)) === 'open', { what: 'the door to open' });
  });

  test('--dry-run shows the port and the address', async () => {
    const text = async (...args: readonly string[]) => (await stage.alice.knock(['server4', '--dry-run', ...args])).stdout;
    assert.match(await text('--source-port', '4711'), /^source port +4711$/m);
    assert.match(await text('--on-behalf', '10.77.1.99'), /^source +bound to 10\.77\.1\.99$/m);
    assert.match(await text('--via', 'eth1'), /^source +not bound \(this machine sends from 10\.77\.2\.1\)$/m);
  });

  describe('what cannot be', () => {
    const cases = [
      {
        text: 'a source port that another program has',
        prepare: () => stage.client.listen({ tcp: [4999] }),
        args: [REQUEST, '--source-port', '4999', '--timeout', '1s'],
        code: 1,
        says: /^knock: this machine cannot connect from port 4999 \(EADDRINUSE\): another program uses it: choose another --source-port, or give --no-verify\n$/,
      },
      {
        text: 'a source port with one connection only',
        args: [REQUEST, '--source-port', '5', '--once'],
        code: 2,
        says: /^knock: --once and --source-port exclude each other: [^\n]*\n$/,
      },
      {
        text: 'an interface that is not there',
        args: ['--via', 'wlan7'],
        code: 2,
        says: /^knock: --via: "wlan7" is neither an interface that is up here nor an address \(interfaces here: lo, eth0, eth1\)\n$/,
      },
      { text: 'an interface nobody sees', args: ['--via', 'lo'], code: 2, says: /^knock: --via: the interface "lo" has no address that/ },
      {
        text: 'an address of another machine',
        args: ['--via', '10.77.1.1'],
        code: 2,
        says: /^knock: --via: 10\.77\.1\.1 is not an address of/,
      },
      {
        text: 'an address of the other family',
        args: ['--via', 'fd00:77:2::1'],
        code: 2,
        says: /^knock: fd00:77:2::1 is to be sent from, which is IPv6, but the host has no such address\n$/,
      },
    ] as const;
    for (const { text, args, code, says, ...more } of cases) {
      test(text, async () => {
        if ('prepare' in more) await more.prepare();
        const result = await stage.alice.knock(['server4', ...args], { mayFail: true });
        assert.match(result.stderr, says);
        assert.deepEqual([result.code, result.stdout], [code, '']);
      });
    }

    test('a low source port without the right to it', async () => {
      const without = ['setpriv', '--bounding-set=-net_bind_service', ...stage.alice.command(['server4', REQUEST, '--source-port', '99'])];
      const result = await stage.client.exec(without, { mayFail: true, env: { HOME: stage.alice.home } });
      assert.match(result.stderr, /^knock: this machine cannot connect from port 99 \(EACCES\): ports below 1024 need more rights/);
      assert.equal(result.code, 3);
    });
  });
});
