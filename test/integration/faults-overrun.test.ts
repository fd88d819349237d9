// Black box: the daemon is stopped (SIGSTOP) while the kernel has more to tell it than its netlink sockets hold: logged packets, and changes of
// nf_tables. Losses are counted and told; it goes on, and finds out what it missed.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { backendName, isNftables } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import type { Running } from '../lab/process.ts';
import { KNOCK_PORT, knockBy, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
const PLAIN = fileURLToPath(new URL('./neighbors-plain-program.js', import.meta.url));
/** Each takes a kilobyte and more in the kernel's queue of 8 MiB. */
const DATAGRAMS = 40_000;

describe('netlink that overruns', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let daemon: Running;
  before(async () => {
    stage = await Stage.create({ label: 'over', start: false });
    // A table that nobody owns is watched by events: as on kernels before 6.9.
    daemon = isNftables() ? stage.server.start([process.execPath, PLAIN, stage.postern.configFile]) : await stage.postern.start();
    await daemon.waitForOutput(/"msg":"ready/, 20_000);
  });
  after(() => stage?.close());

  /** What the kernel had to drop at netlink sockets of the server's namespace (the column Drops). */
  const drops = async () => {
    const { stdout } = await stage.server.exec(['cat', '/proc/net/netlink']);
    return stdout
      .split('\n')
      .slice(1)
      .reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[8] ?? 0), 0);
  };
  const stopped = async (work: () => Promise<void>) => {
    daemon.kill('SIGSTOP');
    await waitFor(() => readFileSync(`/proc/${daemon.pid}/stat`, 'utf8').includes(') T '), { what: 'the daemon to be stopped' });
    try {
      await work();
    } finally {
      daemon.kill('SIGCONT');
    }
  };

  test('by logged packets: told and counted, the gate stays closed, and the next knock opens', async () => {
    const address = stage.server.ipv4();
    await knockBy(stage.bob, address, '-t', '60s');
    const [before, lost] = [await drops(), (await stage.postern.status()).capture.lost];
    if (isNftables()) {
      // Junk dies in the sieve: somebody's rule logs other traffic to our group.
      const group = /\blog\b[^\n]* group (\d+)/.exec((await stage.server.exec(['nft', 'list', 'table', 'inet', 'postern'])).stdout);
      assert.ok(group !== null);
      await stage.server.nft(
        `table inet other { chain c { type filter hook prerouting priority raw; udp dport 5555 log group ${group[1]} drop; }\n}`,
      );
    }
    await stopped(async () => {
      const target = ['-p', isNftables() ? '5555' : String(KNOCK_PORT), '-c', String(DATAGRAMS), '-d', '400'];
      await stage.stranger.exec(['hping3', '--udp', '--faster', '-q', ...target, address], { mayFail: true, timeoutMs: 60_000 });
      assert.ok((await drops()) > before, 'the kernel had room for all: this test shows nothing');
    });
    await daemon.waitForOutput(/the kernel had to drop logged packets/);
    assert.ok((await stage.postern.status()).capture.lost >= lost);
    assert.equal(await stage.door(address, stage.stranger), 'timeout');
    assert.equal(await stage.door(address), 'open', "bob's grant, at the same address");
    await stage.postern.posternd(['revoke', 'bob']);
    assert.match(await stage.knock(address, '-t', '60s'), /open after/);
    assert.ok((await stage.postern.status()).capture.lost > lost);
  });

  // iptables-legacy tells nobody of changes: there the gate is looked at twice a second.
  const tellsNobody = backendName() === 'iptables-legacy';
  test('by changes of nf_tables, a flush among them: the gate is back within a second after the daemon goes on', {
    skip: tellsNobody,
  }, async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '60s');
    const before = await drops();
    const elements = Array.from({ length: 30_000 }, (_, at) => `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`).join(', ');
    await stopped(async () => {
      for (let round = 0; round < 6; round += 1) {
        await stage.server.nft(`table inet noise { set s { type ipv4_addr; elements = { ${elements} } }\n}\ndelete table inet noise\n`);
      }
      await stage.server.exec(['nft', 'flush', 'ruleset']);
      assert.ok((await drops()) > before, 'the kernel had room for all: this test shows nothing');
      assert.equal(await stage.door(address, stage.stranger), 'open', 'the gate stands: this test shows nothing');
    });
    await waitFor(async () => (await stage.door(address, stage.stranger)) === 'timeout', {
      deadlineMs: 2_000,
      what: 'the gate to be back',
    });
    await daemon.waitForOutput(/the gate is back, with its live grants/);
    assert.equal(await stage.door(address), 'open');
    await stage.untilGranted(stage.bob, address);
  });
});
