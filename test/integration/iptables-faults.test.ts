// What breaks while the gate in iptables stands: programs that fail once and always, others who take rules and sets away, a lock that somebody holds.
// Nothing of it opens what is closed, and nothing is said to be open that is not. Run by itself it tests the form for nf_tables;
// iptables-legacy.test.ts runs it again.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Firewall } from '../../daemon/firewall/firewall.ts';
import { openIptables } from '../../daemon/firewall/iptables/iptables.ts';
import { missingModules } from '../../daemon/firewall/iptables/probing.ts';
import { backendName, isNftables, useBackend } from '../lab/backend.ts';
import { type FaultyTools, faultyTools } from '../lab/faulty-tools.ts';
import { openGate } from './gate-backend.ts';
import { CLIENT, command, echoService, knockAtPort, LAYOUT, type Lab, opening, openLab, SERVER, timed, until } from './gate-lab.ts';

if (isNftables()) useBackend('iptables-nft');
const isLegacy = backendName() === 'iptables-legacy';
/** The regular sweep, and a loaded machine. */
const SWEPT_MS = 10_000;

describe(`faults beneath the gate in ${backendName()}`, () => {
  let lab: Lab;
  let gate: Firewall;
  let tools: FaultyTools;
  let service: { close: () => void };
  let troubles: string[] = [];
  const grant = opening('grant', CLIENT[4], 'tcp/22');
  const bound = opening('bound', CLIENT[4], 'tcp/22', 4000);
  const attempt = (from = 0) => knockAtPort(lab, gate, SERVER[4], 22, CLIENT[4], from);
  /** What was taken out of rules is in use for a moment longer. */
  const succeeds = async (...argv: readonly string[]) => {
    try {
      command(...argv);
      return true;
    } catch {
      return false;
    }
  };
  const openAndRelease = async () => {
    const own = await openIptables({ table: 'plain', runtimeFolder: '/tmp' });
    await own.release();
    return own.tools;
  };
  const rules = () => command('iptables-save', '-t', 'mangle');

  before(async () => {
    // The bind mount of iptables-legacy shows it under the other name.
    tools = faultyTools();
    lab = openLab();
    service = await echoService(22);
    gate = await openGate({ table: 'postern', onTrouble: (text) => troubles.push(text) });
  });
  beforeEach(async () => {
    tools.heal();
    await gate.install(LAYOUT, []);
    troubles = [];
  });
  after(async () => {
    service.close();
    tools.heal();
    await gate.remove();
    await gate.release();
    lab.close();
  });

  test('a restore that fails once: the gate goes up all the same; one that always fails is reported, and what stood stays', async () => {
    tools.fail('iptables-restore', 1);
    await gate.install({ ...LAYOUT, refuse: 'reject' }, []);
    assert.equal(await attempt(), 'refused');
    tools.fail('iptables-restore');
    await assert.rejects(gate.install(LAYOUT, []), { code: 'REFUSED', message: /could not put up the gate.*a fault on purpose/ });
    assert.equal(await attempt(), 'refused', 'the former one');
    assert.equal(await gate.intact(), false, 'and it is known not to be the one that was meant');
  });

  test('IPv6 cannot be loaded: IPv4 is closed, the gate is not called intact, and the next load mends it', async () => {
    await gate.remove();
    tools.fail('ip6tables-restore');
    await assert.rejects(gate.install(LAYOUT, []), { code: 'REFUSED' });
    assert.equal(await attempt(), 'silent');
    assert.equal(await gate.intact(), false);
    tools.heal();
    // What was half there is no gate that connections were let on through.
    await gate.install(LAYOUT, []);
    assert.equal(await gate.intact(), true);
    assert.equal(await knockAtPort(lab, gate, SERVER[6], 22, CLIENT[6]), 'silent');
  });

  test('an opening that the kernel does not get is not said to be open, and leaves nothing', async () => {
    tools.fail('*-restore');
    await assert.rejects(async () => gate.open([timed(grant, 30_000), timed(bound, 30_000)]), { code: 'REFUSED' });
    tools.heal();
    await gate.install(LAYOUT, []);
    assert.deepEqual(await gate.standing(), []);
    await gate.open([timed(bound, 30_000)]);
    tools.fail('*-restore', 1);
    await assert.rejects(async () => gate.open([timed(grant, 30_000), timed(opening('bound', CLIENT[4], 'tcp/22', 4001), 30_000)]), {
      code: 'REFUSED',
    });
    assert.equal(await attempt(), 'silent');
    assert.deepEqual(
      (await gate.standing()).map((one) => one.opening.sourcePort),
      [4000],
    );
  });

  test('who was cut stays cut when the opening that would have ended it fails', async () => {
    await gate.open([timed(bound, 30_000)]);
    await gate.close([bound], true);
    tools.fail('*-restore', 1);
    await assert.rejects(async () => gate.open([timed(bound, 30_000)]), { code: 'REFUSED' });
    assert.match(command('ipset', 'save', 'postern-cut4'), /10\.77\.0\.2,tcp:22/);
  });

  test('a closing that fails is told, nothing is opened again, and the next load closes', async () => {
    await gate.open([timed(bound, 30_000), timed(grant, 30_000)]);
    tools.fail('*-restore');
    await assert.rejects(gate.close([bound, grant], true), { code: 'REFUSED' });
    assert.equal(await gate.intact(), false);
    tools.heal();
    await gate.install(LAYOUT, []);
    assert.deepEqual(await gate.standing(), []);
    assert.equal(await attempt(4000), 'silent');
  });

  test('a rule that could not be taken out when its time was over is taken out by the next sweep', async () => {
    await gate.open([timed(bound, 2000)]);
    tools.fail('*-restore');
    await until(async () => troubles.some((text) => /could not sweep the grants/.test(text)), SWEPT_MS);
    assert.match(rules(), /postern bound until/);
    assert.equal(await gate.intact(), false);
    tools.heal();
    await until(async () => !/postern bound until/.test(rules()), SWEPT_MS);
    assert.equal(await gate.intact(), true);
  });

  test('a kernel that lacks a module: refused with its name where the gate needs it, else said and done without', async () => {
    const { families } = await openAndRelease();
    const [ipv4] = families;
    assert.ok(ipv4);
    // By the kernel itself: there is no such object, whether it has the module or not.
    const parts = [
      ['xt_nfacct', '-m nfacct --nfacct-name nobody-made-this'],
      ['xt_length', '-m length --length 1:2'],
    ] as const;
    assert.deepEqual(await missingModules(ipv4, parts), ['xt_nfacct']);
    tools.refuse('connlabel');
    await assert.rejects(openAndRelease(), {
      code: 'UNUSABLE',
      message: 'could not use the iptables backend: this kernel lacks xt_connlabel for IPv4',
      cure: 'load them ("modprobe xt_connlabel"), or use a kernel that has them',
    });
    tools.refuse('match-set');
    const noSets = await openAndRelease();
    assert.equal(noSets.backing, 'rules');
    assert.match(noSets.shortcomings.join('\n'), /^without ipset \(.*line 4 failed\) grants are rules that end by the wall clock$/);
    tools.refuse('datestop');
    const noTime = await openAndRelease();
    assert.equal(noTime.backing, 'sets');
    assert.match(
      noTime.shortcomings.join('\n'),
      /cannot match the time .*: after kill -9 grants for a source port stand until the next start/,
    );
    assert.doesNotMatch(rules() + command('ipset', 'list', '-n'), /trial/i);
  });

  test('neither sets nor the time can be matched: it says so; rules go on time, and at the next start what a kill left', async () => {
    await gate.remove();
    const open = async () => {
      // What is tried before the gate goes up.
      tools.refuse('match-set|datestop');
      const own = await openIptables({ table: 'plain', runtimeFolder: '/tmp' });
      tools.heal();
      assert.match(
        own.tools.shortcomings.join('\n'),
        /grants are rules that posternd takes out .*: after kill -9 they stand until the next start/,
      );
      await own.install(LAYOUT, []);
      return own;
    };
    const own = await open();
    const into = (one: Firewall) => knockAtPort(lab, one, SERVER[4], 22, CLIENT[4]);
    await own.open([timed(grant, 2000)]);
    assert.equal(await into(own), 'open');
    await until(async () => !/postern grant until/.test(rules()), 4000);
    assert.equal(await into(own), 'silent');
    await own.open([timed(grant, 1000)]);
    // As a kill would: nobody sweeps any more.
    await own.release();
    const left = performance.now() + 1500;
    await until(async () => performance.now() > left);
    assert.match(rules(), /postern grant until/);
    const next = await open();
    assert.doesNotMatch(rules(), /postern grant until/);
    assert.equal(await into(next), 'silent');
    await next.remove();
    await next.release();
  });

  test('in the order of the calls: an opening never lands after the closing that was asked for later', async () => {
    for (let round = 0; round < 5; round += 1) {
      const all = [gate.open([timed(grant, 30_000), timed(bound, 30_000)]), gate.close([grant, bound], false)];
      await Promise.all(all);
      assert.deepEqual(await gate.standing(), []);
      await Promise.all([gate.install(LAYOUT, [timed(grant, 30_000)]), gate.close([grant], true), gate.install(LAYOUT, [])]);
      assert.deepEqual(await gate.standing(), []);
    }
  });

  test('somebody empties or thins out the sets: live grants are put back, what was cut stays cut', async () => {
    const [other, gone] = [opening('grant', CLIENT[6], 'tcp/22'), opening('grant', CLIENT[4], 'tcp/8443')];
    await gate.open([timed(grant, 600_000), timed(other, 600_000), timed(gone, 600_000)]);
    await gate.close([gone], true);
    const standing = () => gate.standing().then((all) => all.map((one) => one.opening.address.text).toSorted());
    const expected = [CLIENT[4], CLIENT[6]];
    for (const harm of [['flush'], ['del', 'postern-grant4', `${CLIENT[4]},tcp:22`]]) {
      command('ipset', ...harm);
      await until(async () => (await standing()).join() === expected.join(), SWEPT_MS);
      assert.match(command('ipset', 'save', 'postern-cut4'), /10\.77\.0\.2,tcp:8443/);
      assert.ok(troubles.some((text) => /somebody took entries out of the sets/.test(text)));
    }
    const [one] = await gate.standing(['grant']);
    assert.ok((one?.remainingMs ?? 0) > 550_000 && (one?.remainingMs ?? 0) <= 600_000, 'with the time that was left');
    // A gate that is flushed and whose sets are destroyed with it.
    for (const program of ['iptables', 'ip6tables']) for (const how of ['-F', '-X']) command(program, '-t', 'mangle', how);
    await until(() => succeeds('ipset', 'destroy'));
    await gate.install(LAYOUT, [timed(grant, 600_000)]);
    assert.equal(await attempt(), 'open');
    assert.match(command('ipset', 'save', 'postern-cut4'), /10\.77\.0\.2,tcp:8443/);
  });

  test('rules of others before ours: what may accept is noticed and passed by, what only counts is let be', async () => {
    const put = (...rule: readonly string[]) => command('iptables', '-t', 'mangle', '-I', 'PREROUTING', ...rule);
    for (const rule of [
      ['-p', 'tcp', '--dport', '99'],
      ['-j', 'MARK', '--set-mark', '1'],
      ['-p', 'tcp', '--dport', '99', '-j', 'DROP'],
    ]) {
      put(...rule);
      assert.equal(await gate.intact(), true, rule.join(' '));
    }
    command('iptables', '-t', 'mangle', '-N', 'THEIRS');
    put('-j', 'THEIRS');
    assert.equal(await gate.intact(), true, 'a chain that does nothing');
    const harms: readonly (readonly string[])[] = [
      ['-A', 'THEIRS', '-p', 'tcp', '-j', 'ACCEPT'],
      ['-I', 'PREROUTING', '-p', 'udp', '-j', 'NFQUEUE', '--queue-num', '7'],
      ['-I', 'PREROUTING', '-p', 'udp', '-g', 'THEIRS'],
    ];
    for (const harm of harms) {
      command('iptables', '-t', 'mangle', ...harm);
      assert.equal(await gate.intact(), false, harm.join(' '));
      const theirs = rules()
        .split('\n')
        .filter((line) => /THEIRS|NFQUEUE|MARK --set|dport 99/.test(line) && !line.includes('POSTERN'));
      await gate.install(LAYOUT, []);
      assert.equal(await gate.intact(), true);
      assert.equal(await attempt(), 'silent');
      for (const line of theirs) assert.ok(rules().includes(line), line);
    }
    for (const chain of ['PREROUTING', 'THEIRS']) command('iptables', '-t', 'mangle', '-F', chain);
    command('iptables', '-t', 'mangle', '-X', 'THEIRS');
  });

  test('rules that iptables cannot read: said, never taken for a gate that is gone', {
    skip: isLegacy && 'only tables of nf_tables',
  }, async () => {
    command('nft', 'add', 'rule', 'ip', 'mangle', 'PREROUTING', 'meta', 'mark', 'set', 'numgen', 'random', 'mod', '2');
    const jumps = () => command('nft', 'list', 'chain', 'ip', 'mangle', 'PREROUTING').match(/jump POSTERN/g)?.length;
    const unreadable = { code: 'UNREADABLE', message: /table ip mangle holds rules made with nft that iptables cannot read/ };
    for (const work of [() => gate.intact(), () => gate.install(LAYOUT, []), () => gate.remove()]) {
      await assert.rejects(work, unreadable);
      assert.equal(jumps(), 1);
    }
    const listed = command('nft', '-a', 'list', 'chain', 'ip', 'mangle', 'PREROUTING');
    command('nft', 'delete', 'rule', 'ip', 'mangle', 'PREROUTING', 'handle', /numgen.*handle (\d+)/.exec(listed)?.[1] ?? '');
    await gate.install(LAYOUT, []);
    assert.equal(await gate.intact(), true);
  });

  test('somebody holds the lock: grants of sets do not wait for it; what waited too long is not said to be open', {
    skip: !isLegacy && 'the form for nf_tables has no lock',
  }, async () => {
    const holder = spawn('flock', ['/run/xtables.lock', 'sh', '-c', 'echo held; exec sleep 4'], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(holder.stdout, 'data');
    const ended = once(holder, 'exit');
    await gate.open([timed(grant, 30_000)]);
    assert.equal(await attempt(), 'open');
    const order: string[] = [];
    const long = Promise.resolve(gate.open([timed(bound, 30_000)])).then(() => order.push('bound'));
    const short = assert.rejects(async () => gate.open([timed(opening('grant', CLIENT[6], 'tcp/22'), 2000)]), { code: 'TOO_LATE' });
    await Promise.all([long, short, ended.then(() => order.push('lock'))]);
    assert.deepEqual(order, ['lock', 'bound']);
    assert.equal((await gate.standing()).length, 2);
  });
});
