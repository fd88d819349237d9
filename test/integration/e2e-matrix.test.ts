// Black box: one scenario for each firewall and each capture, over both families, with the configuration that a stranger would write. The other
// firewalls' files (e2e-iptables-*-matrix.test.ts) import this one.
//
//   client ──┐
//            ├── switch ── server: posternd, echo services on tcp/8022 (protected), tcp/8024 (not), rules of others
//   stranger ┘
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { backendName, flushCommands, isNftables, stands } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { labMissing } from '../lab/lab.ts';
import { liveThrough } from '../lab/life.ts';
import { allRules, rulesOfOthers } from '../lab/neighbors.ts';
import { FAMILIES, FORBIDDEN_PORT, KNOCK_PORT, knockBy, PORT, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { openMs, startProbing } from './neighbors-probe.ts';

const skip = labMissing() ?? false;
const OPEN_PORT = 8024;
const FLUSHES = 10;
const KILLS = 6;
const SLACK_MS = 2_000;
/** On a wire this short nobody answers late. */
const QUICK = ['--max-retries', '1', '--initial-rtt-timeout', '250ms', '--max-rtt-timeout', '500ms'];

/** Rules that somebody made who knows nothing of us: in nf_tables, in the mangle and filter tables of iptables, a set. */
const OF_OTHERS = `
table inet filter {
	set admins { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }
	}
	chain input { type filter hook input priority filter; policy accept; ct state invalid drop; ip saddr @admins accept; tcp dport 25 counter reject; }
}
table ip nat {
	chain prerouting { type nat hook prerouting priority dstnat; tcp dport 9999 redirect to :${OPEN_PORT}; }
}
`;
const IPTABLES_OF_OTHERS = ['-t mangle -A PREROUTING -p tcp --dport 443 -j MARK --set-mark 7', '-A INPUT -p tcp --dport 111 -j DROP'];

for (const capture of ['nflog', 'raw', 'udp'] as const) {
  describe(`${backendName()}, capture: ${capture}`, { skip, timeout: 240_000 }, () => {
    let stage: Stage;
    before(async () => {
      stage = await Stage.create({ label: `m${capture}`, start: false, config: { capture } });
      await stage.server.listen({ tcp: [OPEN_PORT] });
      await stage.server.nft(OF_OTHERS);
      for (const line of isNftables() ? [] : IPTABLES_OF_OTHERS)
        for (const program of ['iptables', 'ip6tables']) await stage.server.exec([program, ...line.split(' ')]);
    });
    after(() => stage?.close());

    const exec = (argv: readonly string[], options?: { readonly mayFail?: boolean }) => stage.server.exec(argv, options);
    const addresses = () => stage.server.addresses();
    const revoke = () => stage.postern.posternd(['revoke', 'alice'], { mayFail: true });

    test("everybody else's rules are byte for byte the same after check, start, knocks, revocation, stop, kill -9 and removal", async () => {
      const { postern, server } = stage;
      const [others, everything] = [await rulesOfOthers(server), await allRules(server)];
      const unchanged = async (what: string) => assert.deepEqual((await rulesOfOthers(server)).split('\n'), others.split('\n'), what);
      const nothingLeft = async (what: string) => assert.deepEqual((await allRules(server)).split('\n'), everything.split('\n'), what);
      await postern.posternd(['check']);
      await nothingLeft('check');
      await liveThrough(stage, unchanged, nothingLeft);
      assert.equal((await postern.status()).capture.name, capture);
    });

    for (const { family, at } of FAMILIES) {
      const address = () => addresses()[at];

      test(`nmap from outside before, during and after; open for the sender only, until its time is over (${family})`, async () => {
        const shut = { [PORT]: 'filtered', [FORBIDDEN_PORT]: 'filtered', [OPEN_PORT]: 'open' };
        const udpBefore = await scanUdp(stage.stranger, address());
        for (const host of [stage.client, stage.stranger]) assert.deepEqual(await scan(host, address()), shut, 'before');
        assert.match(await stage.knock(address(), '-t', '20s'), /open after/);
        assert.deepEqual(await scan(stage.client, address()), { ...shut, [PORT]: 'open' }, 'during, who knocked');
        assert.deepEqual(await scan(stage.stranger, address()), shut, 'during, a third host');
        assert.deepEqual(await scanUdp(stage.stranger, address()), udpBefore, 'the knock port, during');
        await revoke();
        assert.match(await stage.knock(address(), '-t', '2s'), /open after/);
        await stage.untilShut(address(), 2_000 + SLACK_MS);
        for (const host of [stage.client, stage.stranger]) assert.deepEqual(await scan(host, address()), shut, 'after');
        assert.deepEqual(await scanUdp(stage.stranger, address()), udpBefore, 'the knock port, after');
      });

      test(`a replay opens nothing, junk from a client's own address bans nobody (P19), ${family}`, async () => {
        const recorded = await stage.recordedKnock(address());
        await revoke();
        await stage.replay(stage.client, recorded);
        await stage.resend(stage.client, recorded, address());
        await stage.resend(stage.stranger, recorded, address());
        for (const host of [stage.client, stage.stranger]) assert.equal(await stage.door(address(), host), 'timeout');
        const junk = Array.from({ length: 500 }, (_, nth) => new Uint8Array(randomBytes(192 + (nth % 257))));
        await stage.client.sendUdp(address(), KNOCK_PORT, junk, { sourcePort: 40_000 });
        assert.match(await stage.knock(address()), /open after/);
        await revoke();
      });

      test(`knock close and posternd revoke shut at once; revoke ends what lives (${family})`, async () => {
        await stage.knock(address());
        await stage.alice.knock(['close', profileOf(address()), REQUEST]);
        await stage.untilShut(address(), SLACK_MS);
        await stage.knock(address());
        const connection = await stage.client.ask('hold', { address: address(), port: PORT, timeoutMs: 2_000 });
        assert.equal(await stage.client.ask('talk', { connection, payload: 'one', timeoutMs: 2_000 }), 'echoed');
        await revoke();
        assert.notEqual(await stage.client.ask('talk', { connection, payload: 'two', timeoutMs: 700 }), 'echoed');
        assert.equal(await stage.door(address()), 'timeout');
      });
    }

    test('kill -9 in a loop: shut to a stranger all the time, grants stand, fresh knocks open, replays do not', async () => {
      const probes = await Promise.all(addresses().map((address) => startProbing(stage.stranger, address, [PORT, FORBIDDEN_PORT])));
      for (let round = 0; round < KILLS; round += 1) {
        const address = addresses()[round % 2] ?? '';
        const recorded = await stage.recordedKnock(address, '-t', '60s');
        await stage.postern.killHard();
        assert.equal(await stage.door(address), 'open', 'the grant stands in the kernel');
        await stage.postern.start();
        assert.equal(await stage.door(address), 'open', 'and after the start');
        await revoke();
        await stage.resend(stage.stranger, recorded, address);
        for (const host of [stage.client, stage.stranger]) assert.equal(await stage.door(address, host), 'timeout');
      }
      for (const probe of probes) assert.deepEqual(await probe.stop(), []);
    });

    // Last, as who got in while the gate was gone keeps that one connection, and what connection tracking remembers of it lets its source port in again.
    test('all rules flushed in a loop while somebody knocks: never open for a second to a stranger, and knocks get through', async () => {
      const probes = await Promise.all(addresses().map((address) => startProbing(stage.stranger, address, [PORT, FORBIDDEN_PORT])));
      let flushing = true;
      const flushes = (async () => {
        for (let round = 0; round < FLUSHES; round += 1) {
          for (const argv of flushCommands()) await exec(argv);
          await stage.stranger.exec(['sleep', isNftables() ? '0.3' : '0.9']); // the pace of the loop
        }
        flushing = false;
      })();
      let knocks = 0;
      for (; flushing; knocks += 1) {
        const address = addresses()[knocks % 2] ?? '';
        assert.match(await knockBy(stage.bob, address, '-t', '20s'), /open after/);
        await stage.client.exec(['sleep', '0.5']); // a key has 64 knocks a minute, and some of them are lost here
      }
      await flushes;
      assert.ok(knocks >= 2, `${knocks} knocks`);
      await waitFor(() => stands(exec), { deadlineMs: 3_000, what: 'the gate to be back' });
      for (const address of addresses()) assert.equal(await stage.door(address, stage.stranger), 'timeout');
      for (const probe of probes) {
        const tries = probe.tries();
        const opened = await probe.stop();
        assert.ok(tries > 100, `${tries} tries`);
        // Where our table is ours nobody flushes it; elsewhere it is back at once.
        if (isNftables()) assert.deepEqual(opened, []);
        assert.ok(openMs(opened) < 1_000, opened.join('\n'));
      }
      await stage.postern.posternd(['revoke', 'bob']);
    });

    test('when it is taken down everything is as without it: the door was shut by the gate', async () => {
      await stage.postern.stop();
      await stage.postern.posternd(['gate', 'down']);
      for (const address of addresses())
        for (const host of [stage.client, stage.stranger]) assert.equal(await stage.door(address, host), 'open');
    });
  });
}

/** What nmap says of each port. */
async function scan(from: Host, address: string): Promise<Readonly<Record<string, string>>> {
  const ports = [PORT, FORBIDDEN_PORT, OPEN_PORT].join();
  return states(await nmap(from, address, ['-sS', '-p', ports]));
}

/** Of the knock port alone: nothing may set apart what it says before, during and after a knock. */
async function scanUdp(from: Host, address: string): Promise<Readonly<Record<string, string>>> {
  return states(await nmap(from, address, ['-sU', '-p', String(KNOCK_PORT)]));
}

async function nmap(from: Host, address: string, args: readonly string[]): Promise<string> {
  const { stdout } = await from.exec(['nmap', '-n', '-Pn', ...QUICK, ...args, ...(address.includes(':') ? ['-6'] : []), address]);
  return stdout;
}

function states(text: string): Readonly<Record<string, string>> {
  return Object.fromEntries([...text.matchAll(/^(\d+)\/(?:tcp|udp) +(\S+)/gm)].map(([, port = '', state = '']) => [port, state]));
}
