// Black box: the network loses, repeats and reorders; interfaces go down, go away and come back.
//
// This kernel may lack netem, so the switch between the hosts does it: a rule of its own nftables drops by chance (`numgen random`), another sends each
// frame twice (`dup to`), and what shall arrive out of order is recorded, dropped, and sent by tcpreplay later and the other way round.
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { Capture } from '../lab/capture.ts';
import { labMissing } from '../lab/lab.ts';
import { run } from '../lab/process.ts';
import { FAMILIES, FORBIDDEN_PORT, KNOCK_PORT, PORT, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
/** Of the ports of the switch: 1 the server, 2 the client. */
const [TO_SERVER, FROM_CLIENT] = ['port1', 'port2'];

describe('a network', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  const captures: Capture[] = [];
  before(async () => {
    stage = await Stage.create({ label: 'net' });
  });
  beforeEach(async () => {
    await stage.ensureRunning();
    for (const { id } of (await stage.postern.status()).grants) await stage.postern.posternd(['revoke', id], { mayFail: true });
  });
  afterEach(async () => {
    await onSwitch(['nft', 'flush', 'ruleset']);
    for (const capture of captures.splice(0)) await capture.close();
  });
  after(() => stage?.close());

  const onSwitch = async (argv: readonly string[], stdin?: string) => {
    const fabric = stage.lab.hosts.find(({ name }) => name.startsWith('switch'));
    assert.ok(fabric !== undefined);
    return fabric.exec(argv, stdin === undefined ? {} : { stdin });
  };
  const atSwitch = (...chains: readonly string[]) => onSwitch(['nft', '-f', '-'], `table netdev lab {\n${chains.join('\n')}\n}\n`);
  const ingress = (port: string, rule: string) => `chain ${port} { type filter hook ingress device "${port}" priority 0; ${rule}; }`;
  const counter = async (name: string) =>
    Number(/packets (\d+)/.exec((await onSwitch(['nft', 'list', 'counter', 'netdev', 'lab', name])).stdout)?.[1]);

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`that loses two of every three knocks: the client tries again until it is open, over ${family}`, async () => {
      // In turn and not by chance: chance may lose any number in a row.
      await atSwitch('counter lost { }', ingress(FROM_CLIENT, `udp dport ${KNOCK_PORT} numgen inc mod 3 < 2 counter name lost drop`));
      for (let round = 1; round <= 4; round += 1) {
        assert.match(await stage.knock(address(), '-t', '60s', '--retries', '8', '--timeout', '15s'), /open after/);
        assert.ok((await counter('lost')) >= 2 * round, 'too few were lost: this test shows nothing');
        await stage.postern.posternd(['revoke', 'alice']);
      }
    });

    test(`that loses a third of everything, both ways: opens, and says so, over ${family}`, async () => {
      const lose = 'numgen random mod 3 == 0 counter name lost drop';
      const some = `meta l4proto { tcp, udp } ${lose}`;
      await atSwitch('counter lost { }', ingress(FROM_CLIENT, some), ingress(TO_SERVER, some));
      for (let round = 0; round < 3; round += 1) {
        const said = await stage.alice.knock([profileOf(address()), REQUEST, '-t', '60s', '--retries', '8', '--timeout', '20s'], {
          timeoutMs: 40_000,
        });
        assert.match(said.stdout + said.stderr, /open after/);
        assert.equal(await stage.kernelGrants(), 1);
        await stage.postern.posternd(['revoke', 'alice']);
      }
      assert.ok((await counter('lost')) > 0, 'nothing was lost: this test shows nothing');
    });

    test(`that delivers everything twice: one grant for each knock, and its connection, over ${family}`, async () => {
      await atSwitch('counter twice { }', ingress(FROM_CLIENT, `meta protocol { ip, ip6 } counter name twice dup to "${TO_SERVER}"`));
      const before = await stage.heard();
      assert.match(await stage.knock(address(), '-t', '60s'), /open after/);
      assert.equal(await stage.kernelGrants(), 1);
      assert.equal((await stage.postern.status()).grants.length, 1);
      assert.ok((await stage.heard()) >= before + 2, 'it came once only: this test shows nothing');
      const reply = await stage.client.connect(address(), PORT, { payload: 'once', timeoutMs: 2_000 });
      assert.equal(reply.outcome, 'open');
      assert.equal(reply.reply.replace(/^hello\n/, ''), 'once');
    });

    test(`that delivers in the reverse order: each knock is good for itself, the older close does not end the younger open, over ${family} (P16a)`, async () => {
      const frames: Capture[] = [];
      for (const args of [
        ['close', profileOf(address())],
        [profileOf(address()), REQUEST, '--no-verify', '--retries', '0', '-t', '60s'],
      ]) {
        const capture = await stage.lost(args);
        captures.push(capture);
        frames.push(capture);
      }
      for (const capture of frames.toReversed()) await stage.replay(stage.client, capture);
      await stage.waitForGrants(1);
      assert.equal(await stage.door(address()), 'open');
      assert.equal(await stage.door(address(), stage.stranger), 'timeout');
      // And once more in the right order: both are used.
      await stage.postern.posternd(['revoke', 'alice']);
      for (const capture of frames) await stage.replay(stage.client, capture);
      assert.equal(await stage.kernelGrants(), 0);
    });

    test(`whose server is cut off for a while: a grant and a connection of before go on, over ${family}`, async () => {
      await stage.knock(address(), '-t', '60s');
      const connection = await stage.client.ask('hold', { address: address(), port: PORT, timeoutMs: 2_000 });
      await stage.server.exec(['ip', 'link', 'set', 'eth0', 'down']);
      assert.notEqual(await stage.door(address()), 'open');
      await stage.server.exec(['ip', 'link', 'set', 'eth0', 'up']);
      await restoreIpv6();
      assert.equal(await waitFor(async () => (await stage.door(address())) === 'open' && 'open', { what: 'the way back' }), 'open');
      assert.equal(await stage.door(address(), stage.stranger), 'timeout');
      assert.equal(await stage.client.ask('talk', { connection, payload: 'still there?', timeoutMs: 8_000 }), 'echoed');
      await stage.untilGranted(stage.bob, address());
    });
  }

  const restoreIpv6 = () =>
    stage.server.exec(['ip', '-6', 'address', 'add', `${stage.server.ipv6()}/64`, 'dev', 'eth0', 'nodad'], { mayFail: true });

  describe('with an interface that is named', () => {
    const usual = { protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`], port: KNOCK_PORT, default_ttl: '30s' };
    after(async () => {
      stage.postern.writeConfig(usual);
    });

    /** Another cable to the server, by the name eth1, as it is after a module is loaded anew or a VPN comes back. */
    const plug = async () => {
      const [from, to] = [stage.stranger.namespace, stage.server.namespace];
      await run(['ip', 'link', 'add', 'eth1', 'netns', to, 'type', 'veth', 'peer', 'name', 'eth1', 'netns', from]);
      for (const [host, number] of [
        [stage.server, 1],
        [stage.stranger, 2],
      ] as const) {
        await host.exec(['ip', 'address', 'add', `10.88.0.${number}/24`, 'dev', 'eth1']);
        await host.exec(['ip', 'link', 'set', 'eth1', 'up']);
      }
    };
    const unplug = () => stage.server.exec(['ip', 'link', 'delete', 'eth1']);
    const behind = () => stage.door('10.88.0.1', stage.stranger);

    test('and goes down, is removed, and comes back: the gate stands there at every moment that there is a way in', async () => {
      await plug();
      stage.postern.writeConfig({ ...usual, interfaces: ['eth0', 'eth1'] });
      await stage.postern.posternd(['reload']);
      assert.equal(await behind(), 'timeout');
      await stage.server.exec(['ip', 'link', 'set', 'eth1', 'down']);
      await stage.server.exec(['ip', 'link', 'set', 'eth1', 'up']);
      assert.equal(await behind(), 'timeout');
      await unplug();
      assert.match(await stage.knock(stage.server.ipv4(), '-t', '60s'), /open after/);
      await plug();
      assert.equal(await behind(), 'timeout');
      assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
      assert.equal(await stage.door(stage.server.ipv4()), 'open');
      await unplug();
    });

    test('and is not there at a reload or a start: refused with a line that names it; the running gate stays', async () => {
      stage.postern.writeConfig({ ...usual, interfaces: ['eth0', 'eth1'] });
      const reload = await stage.postern.posternd(['reload'], { mayFail: true });
      assert.equal(reload.code, 2);
      assert.match(reload.stderr, /there is no interface eth1[^\n]*"eth1\?"/);
      assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
      await stage.postern.stop();
      const started = await stage.postern.posternd(['run'], { mayFail: true });
      assert.equal(started.code, 2);
      assert.match(started.stderr, /there is no interface eth1/);
      assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
      stage.postern.writeConfig(usual);
      await stage.postern.start();
    });

    test('as "eth1?" and comes later: the gate stands there as soon as it is there, and knocks are heard', async () => {
      stage.postern.writeConfig({ ...usual, interfaces: ['eth0', 'eth1?'] });
      await stage.postern.posternd(['reload']);
      await plug();
      assert.equal(await behind(), 'timeout');
      const before = await stage.heard();
      await stage.stranger.sendUdp('10.88.0.1', KNOCK_PORT, [new Uint8Array(300)]);
      await waitFor(async () => (await stage.heard()) > before, { what: 'the sieve to see a datagram there' });
      assert.match(await stage.knock(stage.server.ipv4(), '-t', '60s'), /open after/);
      await unplug();
      assert.equal(await stage.door(stage.server.ipv4()), 'open');
    });
  });
});
