// The gate in iptables on hosts that have no IPv6, have it switched off, or get it later: IPv4 is gated whatever there is, and IPv6 as soon as it comes.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { useBackend } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import type { RunResult } from '../lab/process.ts';
import { Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
/** The regular sweep, and a loaded machine. */
const NOTICED_MS = 12_000;

useBackend('iptables-nft');

describe('the iptables backend', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let withoutIp6tables: readonly string[];
  /** A process to which the kernel seems to have no IPv6: it has no list of its addresses. */
  const withoutIpv6 = inMounts('mount -t tmpfs tmpfs /proc/$$/net');

  before(async () => {
    stage = await Stage.create({ label: 'ipt-ipv6', start: false });
    const sbin = join(stage.postern.folder, 'sbin');
    mkdirSync(sbin);
    withoutIp6tables = inMounts(`cp -a /usr/sbin/. ${sbin} && rm ${sbin}/ip6tables* && mount --bind ${sbin} /usr/sbin`);
  });
  afterEach(async () => {
    await stage.postern.stop();
    await ipv6('on');
    await stage.postern.posternd(['gate', 'down']);
  });
  after(() => stage?.close());

  const ipv6 = async (state: 'on' | 'off') => {
    const names = ['all', 'default', 'lo', 'eth0'].map((name) => `net.ipv6.conf.${name}.disable_ipv6=${state === 'on' ? 0 : 1}`);
    await stage.server.exec(['sysctl', '-qw', ...names]);
    // Switching it off takes the addresses along.
    const address = `${stage.server.ipv6()}/64`;
    if (state === 'on') await stage.server.exec(['ip', 'address', 'replace', address, 'dev', 'eth0', 'nodad']);
  };
  const posternd = (before: readonly string[], ...args: readonly string[]): Promise<RunResult> =>
    stage.server.exec([...before, ...stage.postern.command(args)], { mayFail: true });
  const works = async (address: string) => {
    assert.equal(await stage.door(address, stage.stranger), 'timeout');
    assert.match(await stage.knock(address), /open after/);
    assert.equal(await stage.door(address), 'open');
  };

  test('a kernel without IPv6: IPv4 is gated; when IPv6 comes, it is gated too, within seconds', async () => {
    const daemon = await stage.postern.start({ before: withoutIpv6 });
    assert.match(daemon.stdout, /firewall iptables v[^,]*,? with ipset/);
    await works(stage.server.ipv4());
    assert.equal(await stage.door(stage.server.ipv6(), stage.stranger), 'open');
    await stage.server.exec(['nsenter', '--target', String(daemon.pid), '--mount', 'umount', `/proc/${daemon.pid}/net`]);
    await waitFor(async () => (await stage.door(stage.server.ipv6(), stage.stranger)) === 'timeout', { deadlineMs: NOTICED_MS });
    assert.match(daemon.stdout, /IPv6 was switched on/);
    assert.equal(await stage.door(stage.server.ipv4()), 'open', 'the grant that stood');
    await works(stage.server.ipv6());
  });

  test('IPv6 switched off and no ip6tables: IPv4 is gated, and a warning says what is not', async () => {
    await ipv6('off');
    const checked = await posternd(withoutIp6tables, 'check');
    assert.equal(checked.code, 0, checked.stderr);
    assert.match(
      checked.stderr,
      /warning: IPv6 is off on this host, and only IPv4 is gated: .*ip6tables is not installed.*apt install iptables/,
    );
    const daemon = await stage.postern.start({ before: withoutIp6tables });
    await works(stage.server.ipv4());
    await ipv6('on');
    const refusal = /the gate could not be loaded: [^"]*ip6tables is not installed: install it: apt install iptables/g;
    // It is tried every second and told the 1st, 2nd and 4th time.
    await waitFor(() => (daemon.stdout.match(refusal)?.length ?? 0) >= 3, { deadlineMs: 2 * NOTICED_MS, what: 'three refusals' });
    assert.equal(daemon.stdout.match(/not ours any more/g)?.length, 1);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout', 'IPv4 stays closed');
  });

  test('IPv6 and no ip6tables: exit 2 by check, run and gate up, and nothing half stands', async () => {
    for (const args of [['check'], ['run'], ['gate', 'up']]) {
      const ended = await posternd(withoutIp6tables, ...args);
      assert.equal(ended.code, 2, `${args.join(' ')}: ${ended.stderr}`);
      assert.match(ended.stderr, /ip6tables is not installed: install it: apt install iptables/);
    }
    assert.doesNotMatch((await stage.server.exec(['iptables-save'])).stdout, /POSTERN/);
  });

  test('IPv6 switched off, ip6tables there: both are gated, so that nothing is open when it is switched on', async () => {
    await ipv6('off');
    await stage.postern.start();
    await works(stage.server.ipv4());
    await ipv6('on');
    assert.equal(await stage.door(stage.server.ipv6(), stage.stranger), 'timeout');
    await works(stage.server.ipv6());
  });
});

/** Words before a command: it runs with these mounts, which nobody else sees, as the same process. */
function inMounts(mounts: string): readonly string[] {
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', `${mounts} && exec "$@"`, 'sh'];
}
