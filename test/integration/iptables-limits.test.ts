// What the administrator is told of the iptables backend: by check, by a start, by what is refused; and a host that changes from one backend to another.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { useBackend } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import type { RunResult } from '../lab/process.ts';
import { knockBy, PORT, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';

const skip = labMissing() ?? false;

useBackend('iptables-nft');

describe('the iptables backend', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  const config = (more: Readonly<Record<string, unknown>> = {}) =>
    stage.postern.writeConfig({ protect: [REQUEST], port: 62201, default_ttl: '30s', ...more });
  const rules = (...allow: readonly Readonly<Record<string, unknown>>[]) =>
    stage.postern.writeRules(rulesFor([stage.alice, stage.bob], allow));
  const posternd = (...args: readonly string[]) => stage.postern.posternd(args, { mayFail: true });
  /** The same without some of the host's programs. */
  const without = (mounts: string, ...args: readonly string[]): Promise<RunResult> =>
    stage.server.exec(
      ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', `${mounts} && exec "$@"`, 'sh', ...stage.postern.command(args)],
      { mayFail: true },
    );
  const saved = async () =>
    (await Promise.all(['iptables-save', 'ip6tables-save', 'ipset save'].map((line) => stage.server.exec(line.split(' ')))))
      .map(({ stdout }) => stdout)
      .join('');
  const table = async () => (await stage.server.exec(['nft', 'list', 'table', 'inet', 'postern'], { mayFail: true })).code === 0;

  before(async () => {
    stage = await Stage.create({ label: 'ipt-limits', start: false });
    mkdirSync(join(stage.postern.folder, 'empty'));
  });
  after(() => stage?.close());

  test('check names it, with its tools, and leaves nothing behind', async () => {
    config();
    const checked = await posternd('check');
    assert.equal(checked.code, 0, checked.stderr);
    assert.match(
      checked.stdout,
      /^firewall +iptables v1\.\d+\.\d+ \(nf_tables\), ip6tables .* with ipset, chains POSTERN: the configuration says so$/m,
    );
    assert.match(checked.stdout, /^capture +nflog/m);
    assert.doesNotMatch(await saved(), /postern|trial/i);
  });

  for (const [what, mounts, expected] of [
    ['no iptables at all', 'mount --bind EMPTY /usr/sbin', /iptables is not installed: install it: apt install iptables/],
    [
      'an iptables that cannot be run',
      'mount --bind /dev/null /usr/sbin/xtables-nft-multi',
      /iptables.* cannot be run.*: install it: apt install iptables/,
    ],
  ] as const) {
    test(`${what}: exit 2 with what is missing and how to get it, by check, run and gate up`, async () => {
      const hidden = mounts.replace('EMPTY', join(stage.postern.folder, 'empty'));
      for (const command of [['check'], ['run'], ['gate', 'up']]) {
        const ended = await without(hidden, ...command);
        assert.equal(ended.code, 2, ended.stderr);
        assert.match(ended.stderr, expected);
      }
    });
  }

  test('no ipset: a warning that says what grants are then, and a start works', async () => {
    const checked = await without('mount --bind /dev/null /usr/sbin/ipset', 'check');
    assert.equal(checked.code, 0, checked.stderr);
    assert.match(checked.stderr, /warning: without ipset \(.*\) grants are rules that end by the wall clock/);
  });

  test('a rule with once: exit 2 by check and by run, at its place; a reload keeps the old rules', async () => {
    rules({ services: [REQUEST], once: true });
    for (const command of ['check', 'run']) {
      const ended = await posternd(command);
      assert.equal(ended.code, 2, ended.stderr);
      assert.match(
        ended.stderr,
        /people\.yaml:\d+:\d+: one-shot grants \(once: true\) need nftables.*: set firewall: nftables, or remove "once" here/,
      );
    }
    rules({ services: [REQUEST] });
    await stage.postern.start();
    rules({ services: [REQUEST], once: true });
    assert.equal((await posternd('reload')).code, 2);
    rules({ services: [REQUEST] });
    assert.match(await stage.knock(stage.server.ipv4()), /open after/);
  });

  test('a knock or an order for a single connection opens nothing, and the log says why', async () => {
    await posternd('revoke', 'alice');
    await stage.alice.knock([profileOf(stage.server.ipv4()), REQUEST, '--once', '--retries', '0', '--timeout', '1s'], { mayFail: true });
    await stage.postern.daemon.waitForOutput(/one-shot grants need nftables/);
    const ordered = await posternd('grant', stage.client.ipv4(), REQUEST, '--once');
    assert.notEqual(ordered.code, 0);
    assert.match(ordered.stderr, /one-shot grants need nftables/);
    assert.equal(await stage.door(stage.server.ipv4()), 'timeout');
    assert.equal(await stage.kernelGrants(), 0);
  });

  test('gate show lists chains, counters, openings and sets', async () => {
    await stage.knock(stage.server.ipv4(), '-t', '60s');
    const { stdout } = await posternd('gate', 'show');
    assert.match(stdout, /^the gate is up: chains POSTERN of iptables$/m);
    assert.match(stdout, new RegExp(`^open: ${stage.client.ipv4()} to tcp/${PORT}, grant, \\d+(\\.\\d)? s left$`, 'm'));
    assert.match(stdout, /^-A PREROUTING -j POSTERN$/m);
    assert.match(stdout, /Name postern-grant4\n/);
    const json = JSON.parse((await posternd('gate', 'show', '--json')).stdout) as { counters: { knocks: number } };
    assert.ok(json.counters.knocks >= 2);
    await stage.postern.stop();
  });

  test('capture: raw cannot be silent here: who insists on unmatched: drop gets exit 2 by check and by run', async () => {
    config({ capture: 'raw', unmatched: 'drop' });
    for (const command of ['check', 'run']) {
      const ended = await posternd(command);
      assert.equal(ended.code, 2, ended.stderr);
      assert.match(
        ended.stderr,
        /postern\.yaml:\d+:\d+: capture: raw with unmatched: drop needs nftables .*: set capture: nflog \(or auto\), or unmatched: pass/,
      );
    }
    config();
  });

  for (const [table, expected] of [
    ['a_name_of_twentyone_c', /postern\.yaml:\d+:\d+: "a_name_of_twentyone_c" is too long for iptables: use at most 20 characters/],
    ['prerouting', /postern\.yaml:\d+:\d+: "prerouting" is what iptables calls something else \(PREROUTING\): choose another name/],
    ['mark', /postern\.yaml:\d+:\d+: "mark" is what iptables calls something else/],
  ] as const) {
    test(`the name ${table}, with which iptables cannot do: exit 2 by check and by run, at its place`, async () => {
      config({ table });
      for (const command of ['check', 'run']) {
        const ended = await posternd(command);
        assert.equal(ended.code, 2, ended.stderr);
        assert.match(ended.stderr, expected);
      }
      config();
    });
  }

  test('the longest name that iptables takes works, sets and all', async () => {
    assert.equal((await posternd('gate', 'down')).code, 0);
    config({ table: 'a_name_of_twenty_chr' });
    assert.equal((await posternd('gate', 'up')).code, 0);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
    assert.equal((await posternd('gate', 'down')).code, 0);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'open');
    config();
  });

  test('nftables without koffi: exit 2 and what to install; auto closes the gate with iptables then', async () => {
    const [koffi] = createRequire(import.meta.url)
      .resolve('koffi')
      .split('/koffi/');
    const hidden = `mount --bind ${join(stage.postern.folder, 'empty')} ${koffi}/koffi`;
    config({ firewall: 'nftables' });
    for (const args of [['check'], ['run'], ['gate', 'up']]) {
      const ended = await without(hidden, ...args);
      assert.equal(ended.code, 2, ended.stderr);
      assert.match(ended.stderr, /koffi.*npm install koffi/);
    }
    config({ firewall: 'auto', capture: 'udp' });
    // Enough to close the gate at boot; a daemon could not keep its capabilities from hooks.
    assert.equal((await without(hidden, 'gate', 'up')).code, 0);
    assert.match(await saved(), /-A PREROUTING -j POSTERN/);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
    for (const command of ['check', 'run']) {
      const ended = await without(hidden, command);
      assert.equal(ended.code, 2, ended.stderr);
      assert.equal(ended.stderr.match(/koffi.*: run `npm install koffi`/g)?.length, 1, ended.stderr);
      assert.doesNotMatch(ended.stderr, /^ +at /m);
    }
    assert.equal((await without(hidden, 'gate', 'down')).code, 0);
    config();
  });

  test('nftables without the program nft: everything but the listing works', async () => {
    config({ firewall: 'nftables' });
    const hidden = 'mount --bind /dev/null /usr/sbin/nft';
    assert.equal((await without(hidden, 'gate', 'up')).code, 0);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
    const shown = await without(hidden, 'gate', 'show');
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /the rules are not listed/);
    assert.equal((await without(hidden, 'gate', 'down')).code, 0);
    config();
  });

  test('from one backend to the other and back: one gate at a time, live grants go along', async () => {
    const address = stage.server.ipv4();
    await stage.postern.start();
    await stage.knock(address, '-t', '5m');
    for (const [firewall, here] of [
      ['nftables', table],
      ['iptables', async () => /-A PREROUTING -j POSTERN/.test(await saved())],
      ['auto', table],
    ] as const) {
      await stage.postern.stop();
      config({ firewall });
      const daemon = await stage.postern.start();
      assert.equal(await here(), true, firewall);
      assert.equal(await table(), firewall !== 'iptables');
      assert.equal(/POSTERN|postern/.test(await saved()), firewall === 'iptables', firewall);
      assert.equal(await stage.door(address), 'open', firewall);
      assert.equal(await stage.door(address, stage.stranger), 'timeout', firewall);
      assert.match(await knockBy(stage.bob, address), /open after/);
      if (firewall === 'auto') assert.match(daemon.stdout, /firewall nftables, table inet postern: this kernel can/);
    }
    await stage.postern.posternd(['gate', 'down']);
    assert.equal(await stage.door(address, stage.stranger), 'open');
  });

  test('from the form for nf_tables to iptables-legacy by update-alternatives: the rules of the other one go', async () => {
    await stage.postern.stop();
    config();
    await stage.postern.start();
    await stage.knock(stage.server.ipv4(), '-t', '5m');
    await stage.postern.stop();
    const dir = join(stage.postern.folder, 'sbin');
    mkdirSync(dir);
    // What update-alternatives does, for this one command.
    const alternatives = [
      `cp -a /usr/sbin/. ${dir}`,
      ...['iptables', 'iptables-save', 'iptables-restore', 'ip6tables', 'ip6tables-save', 'ip6tables-restore'].map(
        (name) => `ln -sf xtables-legacy-multi ${join(dir, name)}`,
      ),
      `mount --bind ${dir} /usr/sbin`,
    ].join(' && ');
    const upped = await without(alternatives, 'gate', 'up');
    assert.equal(upped.code, 0, upped.stderr);
    assert.doesNotMatch((await stage.server.exec(['iptables-nft-save'])).stdout, /POSTERN/);
    assert.match((await stage.server.exec(['iptables-legacy-save'])).stdout, /-A PREROUTING -j POSTERN/);
    assert.equal(await stage.door(stage.server.ipv4()), 'open');
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
    assert.equal((await without(`mount --bind ${dir} /usr/sbin`, 'gate', 'down')).code, 0);
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'open');
    assert.equal((await stage.server.exec(['ipset', 'save'])).stdout, '');
  });
});
