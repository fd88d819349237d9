// Black box: beside each real firewall protected ports are gated, its reloads and flushes open nothing, and its rules stay as they were.
//
//   client ──┐                                      (posternd, an echo service on tcp/8022,
//            ├── switch ── server ── link ── container   a neighbor: ufw, firewalld, nftables.service, docker's rules)
//   stranger ┘                                      container: an echo service on tcp/80, published as tcp/8080
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { lacks, stands } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { labMissing } from '../lab/lab.ts';
import { liveThrough } from '../lab/life.ts';
import { allRules, DockerLike, Firewalld, neighborMissing, rulesOfOthers, Ufw } from '../lab/neighbors.ts';
import { FAMILIES, FORBIDDEN_PORT, knockBy, PORT, profileOf, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { openMs, startProbing } from './neighbors-probe.ts';

const skip = labMissing() ?? neighborMissing('ufw', 'firewalld', 'firewall-cmd', 'dbus-daemon', 'iptables-nft-save', 'ipset') ?? false;
const PUBLISHED = 8080;

/** One neighbor, as a person would run it. */
type Neighbor = {
  readonly name: string;
  /** It lets PORT in, and refuses FORBIDDEN_PORT (which no rule of ours opens anyway). */
  readonly up: (stage: Stage, container: Host) => Promise<Handle>;
};
type Handle = {
  /** It takes the rules of everybody along: a gate that nobody can own (iptables) is gone for a moment. */
  readonly flushesAll?: boolean;
  /** What it does to its own rules in its life: each is done while somebody keeps knocking at a closed door. */
  readonly turns: Readonly<Record<string, () => Promise<unknown>>>;
  readonly down: () => Promise<void>;
};

const NEIGHBORS: readonly Neighbor[] = [
  {
    name: 'ufw',
    up: async ({ server }) => {
      const ufw = new Ufw(server);
      await ufw.ufw('allow', `${PORT}/tcp`);
      await ufw.ufw('--force', 'enable');
      return {
        turns: {
          'ufw reload': () => ufw.ufw('reload'),
          'ufw allow, ufw delete': async () => {
            await ufw.ufw('allow', '9999/tcp');
            await ufw.ufw('delete', 'allow', '9999/tcp');
          },
          'ufw disable, ufw enable': async () => {
            await ufw.ufw('disable');
            await ufw.ufw('--force', 'enable');
          },
        },
        down: async () => {
          await ufw.ufw('disable');
          ufw.close();
        },
      };
    },
  },
  {
    name: 'firewalld',
    up: async ({ server }) => {
      const firewalld = await Firewalld.create(server);
      await firewalld.cmd(['--permanent', `--add-port=${PORT}/tcp`]);
      await firewalld.cmd(['--reload']);
      return {
        flushesAll: true,
        turns: {
          'firewall-cmd --reload': () => firewalld.cmd(['--reload']),
          'firewall-cmd --complete-reload': () => firewalld.cmd(['--complete-reload']),
          'a restart of firewalld': async () => {
            await firewalld.stop();
            await firewalld.start();
          },
        },
        down: async () => {
          await firewalld.stop();
          firewalld.close();
        },
      };
    },
  },
  {
    name: 'nftables.service',
    up: async ({ server, postern }) => {
      // What ExecStart and ExecReload of Debian's unit load, and its ExecStop.
      const file = join(postern.folder, 'nftables.conf');
      writeFileSync(file, NFTABLES_CONF);
      const load = () => server.exec(['nft', '-f', file]);
      await load();
      return {
        flushesAll: true,
        turns: {
          'systemctl reload nftables': load,
          'systemctl restart nftables': async () => {
            await server.exec(['nft', 'flush', 'ruleset']);
            await load();
          },
        },
        down: async () => void (await server.exec(['nft', 'delete', 'table', 'inet', 'filter'])),
      };
    },
  },
  {
    name: "docker's rules",
    up: async ({ server }, container) => {
      const bridge = server.interfaces[1]?.name ?? '';
      const docker = new DockerLike(server, bridge, { published: PUBLISHED, container: container.addresses(), inside: 80 });
      await docker.up();
      return {
        turns: { 'a restart of docker': () => docker.restart() },
        down: async () => {
          for (const table of ['nat', 'filter']) {
            for (const family of ['ip', 'ip6']) await server.exec(['nft', 'delete', 'table', family, table], { mayFail: true });
          }
        },
      };
    },
  },
];

/** A server's usual one: everything in that is wanted, the rest dropped. */
const NFTABLES_CONF = `#!/usr/sbin/nft -f
flush ruleset
table inet filter {
	set admins { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }
	}
	chain input {
		type filter hook input priority filter; policy drop;
		iif "lo" accept
		ct state vmap { established : accept, related : accept, invalid : drop }
		meta l4proto { icmp, ipv6-icmp } accept
		ip saddr @admins accept
		tcp dport { 80, ${PORT} } counter accept
	}
	chain forward { type filter hook forward priority filter; policy drop; }
	chain output { type filter hook output priority filter; policy accept; }
}
`;

for (const neighbor of NEIGHBORS) {
  describe(`beside ${neighbor.name}`, { skip, timeout: 120_000 }, () => {
    let stage: Stage;
    let container: Host;
    let handle: Handle;
    before(async () => {
      const protect = [`tcp/${PORT}`, `tcp/${FORBIDDEN_PORT}`, `tcp/${PUBLISHED}`];
      const allow = [{ services: [`tcp/${PORT}`, `tcp/${PUBLISHED}`], ttl: '60s', max_ttl: '1h' }];
      stage = await Stage.create({ label: 'nb', start: false, config: { protect }, allow });
      container = await stage.lab.host('box');
      await stage.lab.link(stage.server, container);
      await stage.lab.route(stage.server, 1, [container]);
      await container.listen({ tcp: [80] });
      handle = await neighbor.up(stage, container);
    });
    after(async () => {
      await handle?.down();
      await stage?.close();
    });

    test('start, knock, restart, kill, stop and removal leave its rules byte for byte as they were', async () => {
      const { server } = stage;
      const [before, everything] = [await rulesOfOthers(server), await allRules(server)];
      // Line by line, so that a failure shows the lines that differ.
      const unchanged = async (what: string) => assert.deepEqual((await rulesOfOthers(server)).split('\n'), before.split('\n'), what);
      await liveThrough(stage, unchanged, async (after) =>
        assert.deepEqual((await allRules(server)).split('\n'), everything.split('\n'), after),
      );
    });

    for (const { family, at } of FAMILIES) {
      test(`a protected port is closed, opens after a knock for who knocked, and closes again, over ${family}`, async () => {
        const address = stage.server.addresses()[at];
        assert.equal(await stage.door(address), 'timeout');
        assert.match(await stage.knock(address), /open after/);
        assert.equal(await stage.door(address), 'open');
        assert.equal(await stage.door(address, stage.stranger), 'timeout');
        await stage.postern.posternd(['revoke', 'alice']);
        assert.notEqual(await stage.door(address), 'open');
      });
    }

    test('whatever it does to its own rules opens nothing for a moment, and knocks go on opening (P27)', async () => {
      const on = stage;
      const probes = await Promise.all(on.server.addresses().map((address) => startProbing(on.stranger, address, [PORT, FORBIDDEN_PORT])));
      for (const [what, turn] of Object.entries(handle.turns)) {
        const seen = probes.map((probe) => probe.tries());
        const opened = probes.map((probe) => probe.opened().length);
        await turn();
        if (handle.flushesAll === true && lacks('a table of its own') !== false) {
          await waitFor(() => stands((argv, options) => on.server.exec(argv, options)), { deadlineMs: 3_000, what: 'the gate to be back' });
          await waitFor(
            async () =>
              (await Promise.all(on.server.addresses().map((address) => on.door(address, on.stranger)))).join() === 'timeout,timeout',
          );
          for (const [at, probe] of probes.entries())
            assert.ok(openMs(probe.opened().slice(opened[at])) < 1_000, probe.opened().join('\n'));
        } else for (const probe of probes) assert.deepEqual(probe.opened(), [], `a stranger got in: ${what}`);
        for (const address of on.server.addresses()) assert.match(await knockBy(on.bob, address), /open after/, what);
        // Each turn was watched: a probe that did not run proves nothing.
        for (const [at, probe] of probes.entries()) assert.ok(probe.tries() > (seen[at] ?? 0), what);
        await on.postern.posternd(['revoke', 'bob']);
      }
      assert.equal(on.postern.daemon.ended, false);
      // The same eyes see a door that is open.
      await on.postern.posternd(['gate', 'down']);
      const shut = probes.map((probe) => probe.opened().length);
      await Promise.all(
        probes.map((probe, at) => waitFor(() => probe.opened().length > (shut[at] ?? 0), { what: 'the probe to see an open door' })),
      );
      await on.postern.posternd(['gate', 'up']);
      for (const probe of probes) await probe.stop();
    });

    if (neighbor.name === "docker's rules") {
      for (const { family, at } of FAMILIES) {
        test(`a published port opens only after a knock, and the way to the container is the neighbor's, over ${family} (P28)`, async () => {
          const address = stage.server.addresses()[at];
          assert.equal(await stage.door(address, stage.client, PUBLISHED), 'timeout');
          await stage.alice.knock([profileOf(address), `tcp/${PUBLISHED}`]);
          const opened = await stage.client.connect(address, PUBLISHED, { payload: 'ping', timeoutMs: 2_000 });
          assert.equal(opened.reply, 'hello\nping');
          assert.equal(await stage.door(address, stage.stranger, PUBLISHED), 'timeout');
          await stage.postern.posternd(['revoke', 'alice']);
          assert.notEqual(await stage.door(address, stage.client, PUBLISHED), 'open');
        });
      }
    }
  });
}
