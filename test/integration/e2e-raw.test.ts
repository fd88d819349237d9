// Black box: `capture: raw`, for hosts without the packet log. Everything that holds with the log holds with raw sockets, and nothing sets the
// knock port apart from outside. What only a firewall behind the sieve can break is noticed and said.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { cpuMs, Installation } from '../lab/installation.ts';
import { createLab, type Lab, labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
/** Otherwise the kernel answers a peer once a second, after a first burst of six. */
const ANSWER_ALWAYS = { 'net.ipv4.icmp_ratelimit': 0, 'net.ipv6.icmp.ratelimit': 0 };
/** A port that nothing uses, for comparison. */
const CLOSED_PORT = KNOCK_PORT + 1;
const ANSWERS = `udp src port ${KNOCK_PORT} or icmp or (icmp6 and ip6[40] < 128)`;

for (const unmatched of ['drop', 'pass'] as const) {
  describe(`capture: raw, unmatched: ${unmatched}`, { skip, timeout: 240_000 }, () => {
    let stage: Stage;
    before(async () => {
      stage = await Stage.create({ label: `raw${unmatched}`, config: { capture: 'raw', unmatched } });
      await stage.server.sysctl(ANSWER_ALWAYS);
      // Where the host is silent about the knock port, it is so about others too: only then `drop` hides anything.
      if (unmatched === 'drop') await stage.server.nft(SILENT_PORT);
    });
    after(() => stage?.close());

    const revoke = () => stage.postern.posternd(['revoke', 'alice'], { mayFail: true });

    test('is bound to no port; two raw sockets are to be seen on the host itself', async () => {
      const { capture, pid } = await stage.postern.status();
      assert.equal(capture.name, 'raw');
      const listening = (await stage.server.exec(['ss', '-H', '-n', '-l', '-t', '-u', '-p'])).stdout;
      assert.ok(!listening.includes(`pid=${pid},`) && !listening.includes(`:${KNOCK_PORT} `), listening);
      const raw = (await stage.server.exec(['ss', '-H', '-n', '-l', '-w', '-p'])).stdout.trim().split('\n');
      assert.equal(raw.length, 2, raw.join('\n'));
      for (const line of raw) assert.ok(line.includes(`pid=${pid},`), line);
    });

    for (const { family, at } of FAMILIES) {
      const address = () => stage.server.addresses()[at];
      const staysShut = async () => {
        assert.equal(await stage.kernelGrants(), 0);
        assert.equal(await stage.door(address()), 'timeout');
        assert.equal(await stage.door(address(), stage.stranger), 'timeout');
      };

      test(`closed before, open after, closed again on time, over ${family}`, async () => {
        assert.equal(await stage.door(address()), 'timeout');
        assert.match(await stage.knock(address(), '-t', '2s'), /open after/);
        assert.equal(await stage.door(address()), 'open');
        assert.equal(await stage.door(address(), stage.stranger), 'timeout');
        await stage.untilShut(address(), 4_000);
      });

      test(`a replay opens nothing from anywhere, before and after kill -9, over ${family} (P3, P12)`, async () => {
        const recorded = await stage.recordedKnock(address());
        await revoke();
        const again = async () => {
          await stage.replay(stage.client, recorded);
          await stage.resend(stage.client, recorded, address());
          await stage.resend(stage.stranger, recorded, address());
          await staysShut();
        };
        await again();
        await stage.postern.killHard();
        await again();
        await stage.postern.start();
        await again();
        assert.match(await stage.knock(address()), /open after/);
        await revoke();
      });

      test(`a scan shows the knock port as any other, before, during and after a knock, over ${family} (P20)`, async () => {
        const scan = async () => {
          const flags = ['-n', '-Pn', '-sU', '--reason', '--max-retries', '1', '--host-timeout', '60s', ...(at === 1 ? ['-6'] : [])];
          const { stdout } = await stage.stranger.exec(['nmap', ...flags, '-p', `${KNOCK_PORT},${CLOSED_PORT}`, address()]);
          return [...stdout.matchAll(/^(\d+)\/udp\s+(\S+)\s+\S+\s+(.*)$/gm)].map(([, port, state, reason]) => `${port} ${state} ${reason}`);
        };
        const answer = unmatched === 'drop' ? 'open|filtered no-response' : 'closed port-unreach ttl 64';
        const alike = [`${KNOCK_PORT} ${answer}`, `${CLOSED_PORT} ${answer}`];
        assert.deepEqual(await scan(), alike);
        await stage.knock(address(), '-t', '30s');
        assert.deepEqual(await scan(), alike);
        await revoke();
        assert.deepEqual(await scan(), alike);
      });

      test(`a knock, its replay, a refused one and junk get the same answer, over ${family} (P7, P20)`, async () => {
        const lost = await stage.lostKnock(address());
        const capture = await stage.server.capture({ direction: 'out', filter: ANSWERS });
        const [good] = lost.payloads(KNOCK_PORT);
        const junk = new Uint8Array(300).fill(7);
        const packets: readonly Uint8Array[] = [good ?? junk, good ?? junk, junk, new Uint8Array(1), new Uint8Array(1_400)];
        const before_ = (await stage.postern.status()).knocks.granted;
        for (const packet of packets) await stage.client.sendUdp(address(), KNOCK_PORT, [packet]);
        const answers = (await capture.settle(stage.client.addresses()[at])).filter((frame) => frame.etherType !== 0x0806);
        assert.equal(answers.length, unmatched === 'drop' ? 0 : packets.length);
        // ICMP errors alike but for the packet that they are about: type and code.
        const kinds = new Set(answers.map(({ ip }) => Buffer.from(ip.subarray(at === 0 ? 20 : 40).subarray(0, 2)).toString('hex')));
        assert.deepEqual([...kinds], unmatched === 'drop' ? [] : [at === 0 ? '0303' : '0104']);
        // And one of them really was a knock.
        assert.equal((await stage.postern.status()).knocks.granted, before_ + 1);
        await capture.close();
        await revoke();
      });
    }

    if (unmatched === 'drop') {
      test('junk and other traffic do not wake the daemon', async () => {
        const [before_, cpu] = [await stage.postern.status(), cpuMs(stage.postern.daemon.pid)];
        for (const { at } of FAMILIES) {
          await stage.stranger.sendUdp(stage.server.addresses()[at], KNOCK_PORT, new Array(500).fill(new Uint8Array(300).fill(1)));
        }
        await waitFor(async () => (await stage.counter('junk')) >= 1_000);
        assert.equal((await stage.postern.status()).capture.seen, before_.capture.seen);
        assert.ok(cpuMs(stage.postern.daemon.pid) - cpu < 1_000);
      });
    }

    test('a firewall that begins to drop behind the sieve is noticed at the next knock', async () => {
      await stage.server.nft(
        'table inet late { chain i { type filter hook input priority 0; policy drop; ct state established accept; }\n}',
      );
      const refused = await stage.alice.knock([profileOf(stage.server.ipv4()), REQUEST, '--retries', '0', '--timeout', '1s'], {
        mayFail: true,
      });
      assert.equal(refused.code, 1);
      await stage.postern.daemon.waitForOutput(/knocks pass the sieve and never arrive: another firewall of this host drops them/, 30_000);
      await stage.server.nft('delete table inet late');
      assert.match(await stage.knock(stage.server.ipv4()), /open after/);
    });
  });
}

/** In front of the sieve, so that our table has no part in it. */
const SILENT_PORT = `table inet silent { chain c { type filter hook prerouting priority -310; udp dport ${CLOSED_PORT} drop; }\n}`;

describe('capture: raw, where it cannot work', { skip, timeout: 120_000 }, () => {
  let lab: Lab;
  let server: Installation;
  before(async () => {
    lab = await createLab({ label: 'rawcheck' });
    const host = await lab.host('server');
    server = await Installation.create(host, { protect: [REQUEST], capture: 'raw' }, { ...rulesFor([]), clients: [] });
  });
  after(async () => {
    await server?.close();
    await lab?.close();
  });
  const chain = 'inet filter input drops by default';
  const run = (...before_: readonly string[]) => {
    const argv = server.command(['run']);
    return server.host.exec([...before_, ...argv], { mayFail: true });
  };

  test('check says that it would work where it would', async () => {
    const { code, stdout } = await server.posternd(['check'], { mayFail: true });
    assert.match(stdout, /^capture {3}raw: a copy of what arrives, nothing is bound to a port$/m);
    assert.equal(code, 0);
  });

  test('behind a policy of drop, check and run end with 2 and name the chain', async () => {
    await server.host.nft('table inet filter { chain input { type filter hook input priority 0; policy drop; }\n}');
    for (const { code, stderr } of [await server.posternd(['check'], { mayFail: true }), await run()]) {
      assert.ok(stderr.includes(`capture: raw sees nothing that another firewall drops, and here ${chain}: set capture: nflog`), stderr);
      assert.equal(code, 2);
    }
    await server.host.nft('delete table inet filter');
  });

  test('without CAP_NET_RAW, check and run end with 3 and say what is needed', async () => {
    const without = ['setpriv', '--bounding-set=-net_raw', '--inh-caps=-net_raw'];
    for (const argv of [server.command(['check']), server.command(['run'])]) {
      const { code, stderr } = await server.host.exec([...without, ...argv], { mayFail: true });
      assert.match(stderr, /capture: raw needs root or the capability CAP_NET_RAW/);
      assert.equal(code, 3);
    }
  });
});
