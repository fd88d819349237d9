// posternd check: everything that is wrong at once, on a real kernel, with nothing changed; and the caller's own way back in (P36).
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseSshConnection } from '../../daemon/commands/lock-out.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import type { Host } from '../lab/host.ts';
import { Installation } from '../lab/installation.ts';
import { createLab, type Lab, labMissing } from '../lab/lab.ts';

type Report = {
  readonly ok: boolean;
  readonly problems: readonly {
    severity: string;
    file: string | null;
    line: number | null;
    column: number | null;
    message: string;
    cure: string;
  }[];
  readonly protect: readonly string[];
  readonly clients: readonly { name: string; usable: boolean; services: readonly string[] }[];
  readonly firewall: string | null;
  readonly capture: string | null;
  readonly daemon: string | null;
};

const POSTERND = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
const skip = labMissing() ?? false;
const ALICE = formatPublicLine(secretFromSeed(new Uint8Array(32).fill(1)).publicKey, 'alice');
const RULES = { clients: [{ name: 'alice', key: ALICE }], allow: [{ services: ['ssh'] }] };

describe('posternd check', { skip }, () => {
  let lab: Lab;
  let host: Host;
  let server: Installation;

  before(async () => {
    lab = await createLab({ label: 'chk' });
    host = await lab.host('server');
    await host.exec(['ip', 'link', 'add', 'br7', 'type', 'bridge']);
    await host.exec(['ip', 'link', 'add', 'port7', 'type', 'veth', 'peer', 'name', 'port7b']);
    await host.exec(['ip', 'link', 'set', 'port7', 'master', 'br7']);
  });
  after(async () => lab.close());
  beforeEach(async () => {
    server = await Installation.create(host, { protect: ['tcp/22', 'tcp/8443'] }, RULES);
  });
  afterEach(async () => server.close());

  async function check(env: Record<string, string> = {}): Promise<{ readonly code: number; readonly report: Report }> {
    // A test that itself runs in an SSH session must not be taken for the caller.
    const { code, stdout } = await server.posternd(['check', '--json'], { mayFail: true, env: { SSH_CONNECTION: '', ...env } });
    return { code, report: JSON.parse(stdout) as Report };
  }
  const messages = (report: Report): string =>
    report.problems.map(({ severity, message, cure }) => `${severity}: ${message}: ${cure}`).join('\n');

  it('a good installation: exit 0, what would stand, and the kernel is as before', async () => {
    const { code, report } = await check();
    assert.deepEqual(report.problems, []);
    assert.deepEqual([code, report.ok], [0, true]);
    assert.deepEqual(report.protect, ['tcp/22', 'tcp/8443']);
    assert.deepEqual(
      report.clients.map(({ name, usable, services }) => [name, usable, services]),
      [['alice', true, ['ssh']]],
    );
    assert.match(report.firewall ?? '', /^nftables, table inet postern/);
    assert.match(report.capture ?? '', /^nflog/);
    assert.equal(report.daemon, 'does not run');
    assert.equal((await host.exec(['nft', 'list', 'ruleset'])).stdout, '');
    const words = await server.posternd(['check'], { env: { SSH_CONNECTION: '' } });
    assert.match(words.stdout, /^protects {2}tcp\/22, tcp\/8443$/m);
    assert.match(words.stdout, /everything is right: a start would work\n$/);
    assert.equal(words.stderr, '');
  });

  it('everything wrong at once, each with file, line and column: exit 2, and the kernel is as before', async () => {
    server.writeConfig('protect: [sshh]\nport: 0\nrefuse: maybe\n');
    server.writeRules('clients:\n  - name: alice\n    key: nonsense\n    slots: 99\nallow:\n  - service: [ssh]\n');
    chmodSync(join(server.folder, 'host_ed25519'), 0o644);
    const { code, report } = await check();
    assert.deepEqual([code, report.ok], [2, false]);
    const places = report.problems
      .filter(({ severity }) => severity === 'error')
      .map(({ file, line, column }) => `${file?.replace(server.folder, '')}:${line}:${column}`);
    assert.deepEqual(places, [
      '/postern.yaml:5:11',
      '/postern.yaml:6:7',
      '/postern.yaml:7:9',
      '/host_ed25519:1:1',
      '/rules.d/people.yaml:3:10',
      '/rules.d/people.yaml:4:12',
      '/rules.d/people.yaml:6:5',
      '/rules.d/people.yaml:6:5',
    ]);
    assert.match(messages(report), /others can read the secret .*: run: chmod 600/);
    const words = await server.posternd(['check'], { mayFail: true, env: { SSH_CONNECTION: '' } });
    assert.equal(words.code, 2);
    assert.match(words.stderr, /^posternd: 8 errors, \d warnings?: a start would not work$/m);
    assert.equal((await host.exec(['nft', 'list', 'ruleset'])).stdout, '');
  });

  it('P36 a session that would not get back in is warned; one that would is not', async () => {
    const from = (address: string, port = 22) => ({ SSH_CONNECTION: `${address} 50000 10.0.0.1 ${port}` });
    const locked = /your own SSH session \(from 10\.9\.9\.9 to tcp\/22\) would not get back in/;
    const usable = await check(from('10.9.9.9'));
    assert.doesNotMatch(messages(usable.report), /SSH session/);

    server.writeRules({ ...RULES, allow: [{ services: ['ssh'], from: ['192.168.0.0/16'] }] });
    const elsewhere = await check(from('10.9.9.9'));
    assert.equal(elsewhere.code, 0);
    assert.match(messages(elsewhere.report), locked);
    assert.doesNotMatch(messages((await check(from('192.168.7.7'))).report), /SSH session/);
    assert.doesNotMatch(messages((await check(from('10.9.9.9', 2222))).report), /SSH session/);

    server.writeRules({ clients: [{ name: 'alice', key: ALICE, enabled: false }], allow: [{ services: ['ssh'] }] });
    assert.match(messages((await check(from('10.9.9.9'))).report), locked);
    server.writeConfig({ protect: ['tcp/22'], trusted: ['10.9.0.0/16'] });
    assert.doesNotMatch(messages((await check(from('10.9.9.9'))).report), /SSH session/);
  });

  it('finds the session behind sudo, which takes the variable away', async () => {
    server.writeRules({ clients: [], allow: [] });
    const inner = `env -u SSH_CONNECTION ${process.execPath} ${POSTERND} check --json -c ${server.configFile}; true`;
    const { stdout } = await host.exec(['sh', '-c', inner], { env: { SSH_CONNECTION: '10.9.9.9 50000 10.0.0.1 22' } });
    assert.match(messages(JSON.parse(stdout) as Report), /your own SSH session \(from 10\.9\.9\.9/);
  });

  it('an interface that is a port of a bridge is an error: the gate there would stand open', async () => {
    server.writeConfig({ protect: ['tcp/22'], interfaces: ['port7'] });
    const { code, report } = await check();
    assert.equal(code, 2);
    assert.match(messages(report), /error: port7 is a port of br7: packets show the bridge.*: write br7 in its place/);
    server.writeConfig({ protect: ['tcp/22'], interfaces: ['br7'] });
    assert.equal((await check()).code, 0);
  });

  it('interfaces that leave out the way to the internet leave it open there: a warning that names it, of IPv4 and IPv6', async () => {
    server.writeConfig({ protect: ['tcp/22'], interfaces: ['br7'] });
    assert.doesNotMatch(messages((await check()).report), /default route/);
    await host.exec(['ip', 'link', 'add', 'wan7', 'type', 'veth', 'peer', 'name', 'far7']);
    for (const name of ['wan7', 'far7', 'br7']) await host.exec(['ip', 'link', 'set', name, 'up']);
    for (const family of ['-4', '-6']) {
      await host.exec(['ip', family, 'route', 'add', 'default', 'dev', 'wan7']);
      const { code, report } = await check();
      await host.exec(['ip', family, 'route', 'del', 'default']);
      assert.equal(code, 0);
      assert.match(
        messages(report),
        /warning: interfaces leaves out wan7, where the default route goes: protected ports are open to everyone there: add wan7/,
      );
    }
    await host.exec(['ip', 'route', 'add', 'default', 'dev', 'br7']);
    assert.doesNotMatch(messages((await check()).report), /default route/);
    await host.exec(['ip', 'route', 'del', 'default']);
    await host.exec(['ip', 'link', 'del', 'wan7']);
  });

  it('an interface that is not there is an error with the nearest name, unless a ? says that it may come later', async () => {
    server.writeConfig({ protect: ['tcp/22'], interfaces: ['br8'] });
    const { code, report } = await check();
    assert.equal(code, 2);
    assert.match(messages(report), /error: there is no interface br8: did you mean "br7"\?/);
    const run = await host.exec([process.execPath, POSTERND, 'run', '-c', server.configFile], { mayFail: true });
    assert.equal(run.code, 2);
    assert.match(run.stderr, /there is no interface br8/);
    server.writeConfig({ protect: ['tcp/22'], interfaces: ['br7', 'br8?'] });
    assert.equal((await check()).code, 0);
  });

  it('a missing ledger is a warning', async () => {
    rmSync(join(server.folder, 'state', 'ledger'));
    const { code, report } = await check();
    assert.equal(code, 0);
    assert.match(messages(report), /warning: there is no replay ledger in .*: run "posternd init"/);
  });

  it('says when a daemon runs, and that its gate is up', async () => {
    await server.start();
    const { code, report } = await check();
    assert.equal(code, 0, messages(report));
    assert.match(report.daemon ?? '', /^runs \(pid \d+, version .*\), the gate is up$/);
    await server.stop();
  });

  it('says which answer of the knock port hides best, and which other firewall has a say', async () => {
    const alone = await server.posternd(['check'], { env: { SSH_CONNECTION: '' } });
    assert.match(alone.stdout, /^hiding {4}unmatched: pass would hide better than drop/m);
    await host.nft('table inet other { chain in { type filter hook input priority 0; policy drop; }; }');
    try {
      const beside = await server.posternd(['check'], { env: { SSH_CONNECTION: '' } });
      assert.match(beside.stdout, /^hiding {4}unmatched: drop hides best here/m);
      assert.match(beside.stdout, /^beside {4}inet other in drops by default/m);
    } finally {
      await host.exec(['nft', 'delete', 'table', 'inet', 'other']);
    }
  });

  it('firewall: none and capture: udp are taken at their word', async () => {
    server.writeConfig({ protect: ['tcp/22'], firewall: 'none', capture: 'udp' });
    const { report } = await check();
    assert.match(report.firewall ?? '', /^none/);
    assert.match(report.capture ?? '', /^udp/);
  });

  it('without rights: exit 3, and what is needed', () => {
    const folder = mkdtempSync(join(tmpdir(), 'postern-norights-'));
    try {
      chmodSync(folder, 0o755);
      mkdirSync(join(folder, 'rules.d'));
      writeFileSync(join(folder, 'postern.yaml'), 'protect: [ssh]\n');
      const argv = [
        '--reuid=65534',
        '--regid=65534',
        '--clear-groups',
        process.execPath,
        POSTERND,
        'check',
        '-c',
        join(folder, 'postern.yaml'),
      ];
      const { status, stderr } = spawnSync('setpriv', argv, { encoding: 'utf8' });
      assert.equal(status, 3, stderr);
      assert.match(stderr, /not permitted to change the firewall.*run as root or with CAP_NET_ADMIN/);
      chmodSync(join(folder, 'postern.yaml'), 0o600);
      const blind = spawnSync('setpriv', argv, { encoding: 'utf8' });
      assert.equal(blind.status, 3, blind.stderr);
      assert.match(blind.stderr, /no permission to read .*: use sudo.*\nposternd: nothing could be looked at: run it as root\n$/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('SSH_CONNECTION', () => {
  for (const [text, expected] of [
    ['10.0.0.5 51234 10.0.0.1 22', '10.0.0.5 22'],
    ['fe80::1%eth0 51234 fe80::2%eth0 2222', 'fe80::1 2222'],
    ['::ffff:10.0.0.5 51234 ::ffff:10.0.0.1 22', '10.0.0.5 22'],
    ['', undefined],
    ['rubbish', undefined],
    ['10.0.0.5 51234 10.0.0.1 x', undefined],
  ] as const) {
    it(`${JSON.stringify(text)} is ${expected ?? 'no session'}`, () => {
      const session = parseSshConnection(text);
      assert.equal(session === undefined ? undefined : `${session.address.text} ${session.serverPort}`, expected);
    });
  }
});
