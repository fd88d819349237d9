// How the gate in iptables behaves among others: their rules stay as they are, what they do to ours is noticed, what it cannot do it refuses.
// Run by itself it tests the form for nf_tables; iptables-legacy.test.ts runs it again.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import type { Firewall, GateLayout } from '../../daemon/firewall/firewall.ts';
import { openIptables } from '../../daemon/firewall/iptables/iptables.ts';
import { HandClock } from '../fakes/hand-clock.ts';
import { backendName, isNftables, useBackend } from '../lab/backend.ts';
import { openGate } from './gate-backend.ts';
import {
  address,
  CLIENT,
  command,
  echoService,
  knockAtPort,
  LAYOUT,
  type Lab,
  opening,
  openLab,
  port,
  SERVER,
  sendDatagrams,
  timed,
  until,
} from './gate-lab.ts';
import { AF_INET, AF_INET6, newControl, SOCK_DGRAM, socketAddress, startSender } from './gate-sender.ts';

if (isNftables()) useBackend('iptables-nft');
const REPLACEMENTS = 20;
const isLegacy = backendName() === 'iptables-legacy';

/** A host with a past: rules and sets of others in every table that we come near. */
const OTHERS = `*mangle
:PREROUTING ACCEPT [0:0]
:QOS - [0:0]
-A PREROUTING -i eth9 -j MARK --set-xmark 0x1/0xff
-A PREROUTING -p tcp -m tcp --dport 22 -m comment --comment "somebody's \\"rule\\"" -j QOS
-A QOS -j RETURN
COMMIT
*filter
:INPUT DROP [0:0]
:THEIRS - [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -m set --match-set theirs src -j DROP
-A INPUT -j THEIRS
-A THEIRS -p tcp -m tcp --dport 22 -j ACCEPT
-A THEIRS -p tcp -m tcp --dport 8443 -j ACCEPT
COMMIT
`;

const lines = (text: string): readonly string[] => text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));

/** All rules and sets, counters and times taken off; of the nf_tables form also what iptables-save would not show. */
function everything(): readonly string[] {
  const tables = ['mangle', 'filter'].flatMap((table) =>
    ['iptables-save', 'ip6tables-save'].flatMap((program) =>
      lines(command(program, '-t', table)).map((line) => line.replace(/ \[\d+:\d+\]$/, '')),
    ),
  );
  const nft = isLegacy
    ? []
    : lines(command('nft', '--stateless', 'list', 'ruleset').replaceAll(/counter packets \d+ bytes \d+/g, 'counter'));
  return [...tables, ...lines(command('ipset', 'save')), ...nft];
}

const isOurs = (line: string): boolean => /POSTERN|postern|0x706f7374/.test(line);

describe(`the manners of the gate in ${backendName()}`, () => {
  let lab: Lab;
  let gate: Firewall;
  const services: { close: () => void }[] = [];
  const restore = (text: string) => {
    for (const program of ['iptables-restore', 'ip6tables-restore'])
      execFileSync(program, [], {
        input: program.startsWith('ip6') ? text.replaceAll('theirs', 'theirs6') : text,
        stdio: ['pipe', 'pipe', 'pipe'],
      });
  };

  before(async () => {
    lab = openLab();
    for (const number of [22, 8443]) services.push(await echoService(number));
    gate = await openGate({ table: 'postern' });
  });
  after(async () => {
    for (const service of services) service.close();
    await gate.release();
    lab.close();
  });

  test('on a host without rules nothing is left when the gate is gone', async () => {
    for (const refuse of ['drop', 'reject'] as const) {
      await gate.install({ ...LAYOUT, refuse }, [timed(opening('grant', CLIENT[4], 'tcp/22'), 30_000)]);
      await gate.open([timed(opening('bound', CLIENT[6], 'tcp/22', 4000), 30_000)]);
      await gate.remove();
      assert.deepEqual(
        everything().filter((line) => line.startsWith('-A') || isOurs(line)),
        [],
        refuse,
      );
      if (!isLegacy) assert.equal(command('nft', 'list', 'ruleset'), '', refuse);
    }
  });

  test("everybody else's rules stay byte for byte, with the gate and without it", async () => {
    command('ipset', 'create', 'theirs', 'hash:net');
    command('ipset', 'create', 'theirs6', 'hash:net', 'family', 'inet6');
    command('ipset', 'add', 'theirs', '192.0.2.0/24');
    restore(OTHERS);
    const before_ = everything();
    const theirs = before_.filter((line) => line !== '}');
    const grant = opening('grant', CLIENT[4], 'tcp/22');
    const steps: readonly (() => unknown)[] = [
      () => gate.install(LAYOUT, []),
      () => gate.open([timed(grant, 30_000), timed(opening('bound', CLIENT[4], 'tcp/22', 4000), 30_000)]),
      () => gate.install({ ...LAYOUT, interfaces: ['eth0'] }, [timed(grant, 30_000)]),
      () => gate.close([grant], true),
      () => gate.counters(),
    ];
    for (const [at, step] of steps.entries()) {
      await step();
      const now = everything();
      const outsiders = now.filter((line) => !isOurs(line) && line !== '}');
      // The listing of nft has our chains' own lines too, which nobody can tell from theirs: each of theirs must be there.
      if (isLegacy) assert.deepEqual(outsiders, theirs, `step ${at}`);
      else for (const line of theirs) assert.ok(now.includes(line), `step ${at}: ${line}`);
    }
    await gate.remove();
    assert.deepEqual(everything(), before_);
    await gate.install({ ...LAYOUT, refuse: 'reject' }, []);
    await gate.remove();
    assert.deepEqual(everything(), before_);
    for (const program of ['iptables', 'ip6tables']) {
      for (const table of ['mangle', 'filter']) command(program, '-t', table, '-F');
      command(program, '-P', 'INPUT', 'ACCEPT');
    }
  });

  /** What is gone for certain is put back without being asked: the way from here to `install` is longer. */
  const MENDED = isLegacy ? ['a flush of the table'] : ['a flush of the ruleset'];
  test('what others do to the gate is noticed within a second, and loading it again mends it; a flush mends itself (P27)', async () => {
    let suspected = 0;
    const bound = timed(opening('bound', CLIENT[4], 'tcp/22', 4000), 600_000);
    gate.watch(() => {
      suspected += 1;
    });
    const harms: readonly (readonly [what: string, ...argv: readonly string[]])[] = [
      ['a flush of the table', 'iptables', '-t', 'mangle', '-F'],
      ['the jump taken out', 'iptables', '-t', 'mangle', '-D', 'PREROUTING', '-j', 'POSTERN'],
      ['everybody accepted before us', 'ip6tables', '-t', 'mangle', '-I', 'PREROUTING', '-j', 'ACCEPT'],
      ['one of our chains emptied', 'ip6tables', '-t', 'mangle', '-F', 'POSTERN-REFUSE'],
      ['a rule put into one of our chains', 'iptables', '-t', 'mangle', '-I', 'POSTERN-OURS', '-j', 'RETURN'],
      ['the rule of a grant taken out', 'iptables', '-t', 'mangle', '-D', 'POSTERN-OPEN', '4'],
      ...(isLegacy ? [] : ([['a flush of the ruleset', 'nft', 'flush', 'ruleset']] as const)),
    ];
    for (const [what, ...harm] of harms) {
      await gate.install(LAYOUT, [bound]);
      await until(() => gate.intact());
      // The events of our own loading come first.
      const before_ = suspected;
      command(...harm);
      if (MENDED.includes(what)) {
        await until(() => suspected > before_, 1000);
        await until(() => gate.intact());
      } else {
        await until(async () => suspected > before_ && !(await gate.intact()), 1000);
        await gate.install(LAYOUT, [bound]);
      }
      assert.equal(await gate.intact(), true, what);
      assert.equal(await knockAtPort(lab, gate, SERVER[4], 22, CLIENT[4], 4000), 'open', what);
      command('ip6tables', '-t', 'mangle', '-F', 'PREROUTING');
    }
    await gate.install(LAYOUT, []);
  });

  test('a flood while the gate is replaced, rules and all: nothing slips through (P30e)', async (t) => {
    const one: GateLayout = { ...LAYOUT, protect: ['udp/5555', 'udp/6000-6010'].map(port) };
    const other: GateLayout = {
      ...LAYOUT,
      protect: ['tcp/22', 'udp/5555', 'udp/6000-6010'].map(port),
      refuse: 'reject',
      interfaces: ['eth0'],
    };
    await gate.install(one, []);
    let slipped = 0;
    const control = newControl();
    const senders: { readonly ended: Promise<unknown> }[] = [];
    for (const [version, number] of [
      [4, 5555],
      [6, 6005],
    ] as const) {
      const service = createSocket({ type: version === 4 ? 'udp4' : 'udp6', ipv6Only: version === 6 }).bind(number);
      await once(service, 'listening');
      service.on('message', () => {
        slipped += 1;
      });
      t.after(() => service.close());
      const to = socketAddress(address(SERVER[version]).bytes, number);
      const socket = [version === 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0] as const;
      const flood = {
        namespace: lab.client,
        socket,
        from: undefined,
        to,
        packets: [new Uint8Array(32)],
        mode: 'flood',
        threads: 0,
        control,
      } as const;
      senders.push(await startSender(flood));
    }
    for (let round = 0; round < REPLACEMENTS; round += 1) await gate.install(round % 2 === 0 ? other : one, []);
    Atomics.store(control, 0, 1);
    await Promise.all(senders.map(({ ended }) => ended));
    assert.ok((control[2] ?? 0) > 10_000, `${control[2]} packets`);
    // What slipped would be read before this one.
    await gate.open([timed(opening('grant', CLIENT[4], 'udp/5555'), 30_000)]);
    await sendDatagrams(lab, [new Uint8Array(32)], SERVER[4], 5555, CLIENT[4]);
    await until(() => slipped > 0);
    assert.equal(slipped, 1, `of ${control[2]} packets`);
    await gate.install(LAYOUT, []);
  });

  test('refuse: reject is closed also where others empty the filter table, or accept there', async () => {
    await gate.install({ ...LAYOUT, refuse: 'reject' }, []);
    const attempt = () => knockAtPort(lab, gate, SERVER[4], 22, CLIENT[4]);
    assert.equal(await attempt(), 'refused');
    command('iptables', '-I', 'INPUT', '-j', 'ACCEPT');
    assert.equal(await attempt(), 'silent');
    command('iptables', '-F');
    assert.equal(await attempt(), 'silent');
    assert.equal(await gate.intact(), false);
    await gate.install({ ...LAYOUT, refuse: 'reject' }, []);
    assert.equal(await attempt(), 'refused');
    await gate.install(LAYOUT, []);
    assert.equal(await attempt(), 'silent');
  });

  test('one-shots are refused, never faked', async () => {
    await assert.rejects(async () => gate.open([timed(opening('once', CLIENT[4], 'tcp/22'), 30_000)]), {
      code: 'NO_ONE_SHOT',
      message: /one-shot grants need nftables/,
    });
    assert.deepEqual(await gate.standing(), []);
    assert.equal(await knockAtPort(lab, gate, SERVER[4], 22, CLIENT[4]), 'silent');
  });

  test('a gate of the same name that already stands is taken over: what was cut stays cut, counters go on', async () => {
    const grant = opening('grant', CLIENT[4], 'tcp/22');
    await gate.install(LAYOUT, [timed(grant, 600_000)]);
    await gate.close([grant], true);
    assert.equal(await knockAtPort(lab, gate, SERVER[4], 22, CLIENT[4]), 'silent');
    const counted = await gate.counters();
    const next = await openGate({ table: 'postern' });
    try {
      assert.deepEqual(await next.install(LAYOUT, []), { fresh: false });
      assert.deepEqual(await next.counters(), counted);
      assert.match(command('ipset', 'save', 'postern-cut4'), /add postern-cut4 10\.77\.0\.2,tcp:22 timeout 43/);
    } finally {
      await next.release();
    }
  });

  test('a second gate by another name stands beside the first, and goes alone', async () => {
    await gate.install(LAYOUT, []);
    const other = await openGate({ table: 'postern2' });
    try {
      await other.install(LAYOUT, []);
      assert.equal(await gate.intact(), true);
      await other.remove();
      assert.equal(await gate.intact(), true);
      assert.ok(!everything().some((line) => /POSTERN2|postern2/.test(line)));
    } finally {
      await other.release();
    }
  });

  test('grants longer than ipset can count are renewed, rules follow a wall clock that was set (P26, P14)', async () => {
    const hand = new HandClock(1_800_000_000_000);
    const own = await openIptables({ table: 'patient', runtimeFolder: '/tmp', clock: hand.clock() });
    try {
      await own.install(LAYOUT, []);
      await own.open([
        timed(opening('grant', CLIENT[4], 'tcp/22'), 30 * 86_400_000),
        timed(opening('bound', CLIENT[4], 'tcp/22', 4000), 3600_000),
      ]);
      const member = `${CLIENT[4]},tcp:22`;
      assert.match(command('ipset', 'save', 'patient-grant4'), /tcp:22 timeout 214748[23]/);
      command('ipset', 'add', '-exist', 'patient-grant4', member, 'timeout', '500');
      const stop = () => /--datestop (\S+)/.exec(command('iptables-save', '-t', 'mangle'))?.[1];
      assert.equal(stop(), '2027-01-15T09:00:00');
      hand.step(7200_000);
      // The regular sweep (node-cron) sees to both.
      await until(() => stop() === '2027-01-15T11:00:00');
      hand.advance(3601_000);
      await until(() => /tcp:22 timeout 214748[23]/.test(command('ipset', 'save', 'patient-grant4')));
      assert.equal(stop(), undefined, 'over');
    } finally {
      await own.remove();
      await own.release();
    }
  });
});
