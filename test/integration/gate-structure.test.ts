// The table itself: what nft lists, who owns it, what survives whom, and what happens when others lay hands on it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Firewall, GateLayout } from '../../daemon/firewall/firewall.ts';
import { converse } from '../../daemon/firewall/nftables/conversation.ts';
import { MSG, NFPROTO_INET, NFTA_SET } from '../../daemon/firewall/nftables/kernel.ts';
import { type NftablesOptions, openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import { newTable } from '../../daemon/firewall/nftables/requests.ts';
import { attribute, concatBytes, nfgenmsg, text, u32 } from '../../daemon/netlink/message.ts';
import {
  CLIENT,
  command,
  knockAtPort,
  LAYOUT,
  type Lab,
  network,
  opening,
  openLab,
  port,
  SERVER,
  tagNumber,
  timed,
  until,
} from './gate-lab.ts';

const GOLDEN = fileURLToPath(new URL('../../../test/golden/gate.nft', import.meta.url));
const MODULE = new URL('../../daemon/firewall/nftables/nftables.js', import.meta.url).href;
const GRANT = opening('grant', CLIENT[4], 'tcp/22');

describe('the table', () => {
  let lab: Lab;
  const gates: Firewall[] = [];
  const openGate = async (options: Partial<NftablesOptions> = {}): Promise<Firewall> => {
    const gate = await openNftables({ table: 'postern', ...options });
    gates.push(gate);
    return gate;
  };

  beforeEach(() => {
    lab = openLab();
  });
  afterEach(async () => {
    await Promise.all(gates.splice(0).map((gate) => gate.release()));
    lab.close();
  });

  test('is the one that the hand-written file describes, as nft lists both', async () => {
    const layout: GateLayout = {
      ...LAYOUT,
      protect: ['tcp/22', 'tcp/9000-9010', 'udp/5555'].map(port),
      trusted: ['192.0.2.1/32', '198.51.100.64/27', '2001:db8::/33'].map(network),
      networks: ['10.99.0.0/24', 'fd99::/64'].map(network),
    };
    await (await openGate()).install(layout, []);
    lab.onClient('nft', '-f', GOLDEN);
    assert.equal(
      listing(command('nft', 'list', 'table', 'inet', 'postern')),
      listing(lab.onClient('nft', 'list', 'table', 'inet', 'postern')),
    );
  });

  test('can be listed, saved and loaded by nft', async () => {
    const gate = await openGate();
    await gate.install(LAYOUT, [timed(GRANT, 60_000)]);
    await gate.arm([tagNumber(1)], 60_000);
    const saved = listing(command('nft', 'list', 'table', 'inet', 'postern'));
    lab.nft(saved.replaceAll('inet postern', 'inet copy'));
  });

  for (const [what, layout, lines] of [
    [
      'interfaces are matched by name',
      { interfaces: ['eth0', 'eth1'] },
      ['iifname "eth0" udp dport 62201 jump knock', 'iifname "eth1" goto arrived'],
    ],
    ['reject answers like a closed port', { refuse: 'reject' }, ['meta l4proto tcp reject with tcp reset', 'reject']],
    ['unmatched pass drops nothing', { unmatched: 'pass' }, ['group 5 queue-threshold 1 return', 'counter name "junk" return']],
    [
      'for raw sockets, the host is kept from answering a knock',
      { sieve: { kind: 'pass', to: 'raw' } },
      ['counter name "knocks" meta pkttype set other return', 'counter name "junk" drop'],
    ],
    [
      'for raw sockets, with unmatched pass, it answers',
      { sieve: { kind: 'pass', to: 'raw' }, unmatched: 'pass' },
      ['counter name "knocks" return'],
    ],
    ['a trusted everything', { trusted: [network('0.0.0.0/0')] }, ['meta nfproto ipv4 return']],
  ] as const) {
    test(what, async () => {
      await (await openGate()).install({ ...LAYOUT, ...layout }, []);
      const listed = command('nft', 'list', 'table', 'inet', 'postern');
      for (const line of lines) assert.ok(listed.includes(`${line}\n`), `${line} in ${listed}`);
    });
  }

  test('belongs to us: others can neither flush, delete nor change it, and a second daemon is refused (P27)', async () => {
    const gate = await openGate();
    assert.deepEqual(await gate.install(LAYOUT, [timed(GRANT, 60_000)]), { fresh: true });
    lab.nft('flush ruleset');
    assert.equal(await gate.intact(), true);
    for (const attack of [
      'delete table inet postern',
      'flush table inet postern',
      'insert rule inet postern gate accept',
      'flush set inet postern grants4',
    ])
      assert.throws(() => lab.nft(attack), /Operation not permitted/, attack);
    const second = await openGate();
    await assert.rejects(second.install(LAYOUT, []), { code: 'GATE_HELD', message: /held by another process/ });
    await assert.rejects(second.remove(), { code: 'GATE_HELD' });
    assert.throws(() => second.open([timed(GRANT, 5000)]), { code: 'GATE_HELD' });
    await assert.rejects(second.close([GRANT], true), { code: 'GATE_HELD' });
    await assert.rejects(second.arm([tagNumber(1)], 5000), { code: 'GATE_HELD' });
    await assert.rejects(second.disarmAll(), { code: 'GATE_HELD' });
    assert.equal(await gate.intact(), true);
    assert.equal((await gate.standing()).length, 1);
  });

  test('stays when its owner leaves or dies, and the next one takes it over with what it knows', async () => {
    const first = await openGate();
    await first.install(LAYOUT, []);
    await first.close([GRANT], true);
    assert.equal(await knockAtPort(lab, first, SERVER[4], 8443, CLIENT[4]), 'silent');
    const counters = await first.counters();
    await first.release();
    // As nft sees it: no owner, still there. nft 1.0.6 has no word for "persist".
    assert.match(command('nft', 'list', 'table', 'inet', 'postern'), /elements = { 10\.77\.0\.2 \. tcp \. 22/);
    const next = await openGate();
    assert.deepEqual(await next.install({ ...LAYOUT, knockPort: 62_202 }, [timed(opening('grant', CLIENT[6], 'tcp/22'), 30_000)]), {
      fresh: false,
    });
    assert.deepEqual(await next.counters(), counters, 'the counters go on');
    assert.match(command('nft', 'list', 'set', 'inet', 'postern', 'cut4'), /elements = { 10\.77\.0\.2 \. tcp \. 22/, 'still cut');
    await next.install(LAYOUT, [timed(GRANT, 30_000)]);
    assert.doesNotMatch(command('nft', 'list', 'set', 'inet', 'postern', 'cut4'), /elements/, 'a grant takes the cut back');
    lab.nft('flush ruleset');
    assert.equal(await next.intact(), true);
  });

  test('is taken over from an owner that was killed with -9', async () => {
    const source = `
      const { openNftables } = await import(${JSON.stringify(MODULE)});
      const gate = await openNftables({ table: 'postern' });
      await gate.install(JSON.parse(process.argv[1]), []);
      process.stdout.write('up');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', source, JSON.stringify(LAYOUT)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const gate = await openGate();
    await assert.rejects(gate.install(LAYOUT, []), { code: 'GATE_HELD' });
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    assert.deepEqual(await gate.install(LAYOUT, []), { fresh: false });
    assert.equal(await gate.intact(), true);
  });

  test('replaces a table of that name, whoever left it and whatever it holds', async () => {
    lab.nft(`table inet postern {
      set cut4 { type ipv6_addr; flags timeout; elements = { ::1 timeout 1h }; }
      set admitted4 { type mark; elements = { 1 }; }
      set protected { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
      chain gate { type nat hook postrouting priority 5
        ip saddr @protected counter
      }
    }`);
    const gate = await openGate();
    assert.deepEqual(await gate.install(LAYOUT, []), { fresh: false });
    assert.equal(await gate.intact(), true);
  });

  test('is removed, and nothing else', async () => {
    lab.nft('add table inet other');
    const gate = await openGate();
    await gate.install(LAYOUT, []);
    await gate.remove();
    assert.equal(command('nft', 'list', 'tables'), 'table inet other\n');
    await gate.remove();
    assert.equal(await gate.intact(), false);
    assert.throws(() => gate.open([timed(GRANT, 5000)]), { code: 'GATE_MISSING' });
    assert.deepEqual(await gate.install(LAYOUT, []), { fresh: true });
  });

  test('without ownership (kernels before 6.9): every touch is noticed, and our own is not (P27)', async () => {
    const gate = await openGate({ ownership: 'plain' });
    await gate.install(LAYOUT, [timed(GRANT, 60_000)]);
    let suspicions = 0;
    gate.watch(() => {
      suspicions += 1;
    });
    await gate.open([timed(GRANT, 30_000)]);
    await gate.arm([tagNumber(1), tagNumber(2)], 60_000);
    lab.nft('add table inet other');
    lab.nft('add chain inet other c');
    assert.equal(await gate.intact(), true);
    for (const touch of ['insert rule inet postern gate accept', 'add element inet postern protected { tcp . 1 }', 'flush ruleset']) {
      const before = suspicions;
      assert.equal(await gate.intact(), true, touch);
      lab.nft(touch);
      await until(() => suspicions > before);
      assert.equal(await gate.intact(), false, touch);
      await gate.install(LAYOUT, [timed(GRANT, 30_000)]);
    }
    assert.equal(await gate.intact(), true);
    assert.equal((await gate.standing()).length, 1);
    assert.deepEqual(command('nft', 'list', 'tables'), 'table inet postern\n');
  });

  test('a foreign table that crashes nft does not touch us (P30g)', async () => {
    // A named set whose note names an expression that nft 1.0.6 does not know: what a newer nft in a container leaves.
    const foreign = converse();
    const unknown = new Uint8Array([0, 4, 2, 0, 0, 0, 3, 8, 0, 4, 0xe8, 3, 0, 0, 1, 0]);
    const set = [
      text(NFTA_SET.TABLE, 'foreign'),
      text(NFTA_SET.NAME, 'newer'),
      u32(NFTA_SET.FLAGS, 4),
      u32(NFTA_SET.KEY_TYPE, 7),
      u32(NFTA_SET.KEY_LEN, 4),
      u32(NFTA_SET.ID, 1),
      attribute(NFTA_SET.USERDATA, unknown),
    ];
    foreign.transact([newTable('foreign'), { type: MSG.newSet, flags: 0x400, payload: concatBytes([nfgenmsg(NFPROTO_INET, 0), ...set]) }]);
    await foreign.close();
    assert.throws(
      () =>
        lab.nft('add table inet mine\nadd set inet mine s { type ipv4_addr; }\nadd chain inet mine c\nadd rule inet mine c ip saddr @s'),
      {
        signal: 'SIGSEGV',
      },
    );
    const gate = await openGate();
    await gate.install(LAYOUT, [timed(GRANT, 60_000)]);
    await gate.open([timed(opening('once', CLIENT[6], 'tcp/22'), 60_000)]);
    await gate.arm([tagNumber(1)], 60_000);
    await gate.close([GRANT], true);
    assert.deepEqual(
      (await gate.standing()).map((standing) => standing.opening.kind),
      ['once'],
    );
    assert.equal(await gate.intact(), true);
    await gate.counters();
    await gate.remove();
  });

  test('says what is missing without the capability', async () => {
    const source = `
      process.setgid(65534); process.setuid(65534);
      const { openNftables } = await import(${JSON.stringify(MODULE)});
      try { await (await openNftables({ table: 'postern' })).install(JSON.parse(process.argv[1]), []); }
      catch (error) { console.log(error.code + '|' + error.cure); }`;
    const output = command(process.execPath, '--input-type=module', '-e', source, JSON.stringify(LAYOUT));
    assert.match(output, /^NO_PERMISSION\|run as root or with CAP_NET_ADMIN/);
  });
});

/** A listing without what differs for good: who owns the table, and how much of their time elements have left. */
function listing(text: string): string {
  return text
    .replace(/ # progname .*/, '')
    .replace(/^\tflags owner.*\n\n?/m, '')
    .replaceAll(/ expires [0-9dhms]+/g, '');
}
