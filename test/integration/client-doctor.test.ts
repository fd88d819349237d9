// `knock doctor` and the real posternd: each of its findings is brought about for real.
//
//   inner ── client (routes, masquerades) ──┬── server (posternd)
//                                           └── stranger (clocks, STUN)
import assert from 'node:assert/strict';
import { appendFileSync, chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Host } from '../lab/host.ts';
import { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import type { Running, RunOptions } from '../lab/process.ts';
import { FORBIDDEN_PORT, KNOCK_PORT, REQUEST, rulesFor, Stage, UDP_PORT } from '../lab/stage.ts';

const ANSWERER = fileURLToPath(new URL('./client-answerer.js', import.meta.url));
const WEB_SERVER = fileURLToPath(new URL('./client-https-clock.js', import.meta.url));
const SHIFT = `--import=${new URL('./client-shifted-clock.js', import.meta.url).href}`;
const BEHIND_MS = -7_410_000;
const DEAD = 'tcp/8099';
const OPEN_PORT = 7777;
const skip = labMissing() ?? false;

type Finding = {
  readonly link: string;
  readonly state: string;
  readonly code: string;
  readonly address: string | null;
  readonly says: string;
  readonly cures: readonly string[];
};
type Report = {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  readonly verdict: { readonly ok: boolean; readonly link: string | null; readonly code: string; readonly says: string };
};

describe('knock doctor', { skip, timeout: 300_000 }, () => {
  let stage: Stage;
  let inner: Host;
  /** Enrolled, with a key that nobody has knocked with before this test. */
  let dora: Knocker;
  const running: Running[] = [];
  const undo: (() => unknown)[] = [];

  before(async () => {
    stage = await Stage.create({
      label: 'doctor',
      config: { protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`, DEAD, `udp/${UDP_PORT}`] },
      allow: [{ services: [REQUEST, DEAD, `udp/${UDP_PORT}`], ttl: '30s' }],
    });
    inner = await stage.lab.host('inner');
    await stage.lab.link(stage.client, inner);
    await stage.lab.route(stage.client, 1, [inner]);
    await stage.lab.masquerade(stage.client, 0);
    await stage.server.listen({ tcp: [OPEN_PORT] });
    const names = join('/etc/netns', stage.client.namespace);
    mkdirSync(names, { recursive: true });
    writeFileSync(
      join(names, 'hosts'),
      `127.0.0.1 localhost\n${stage.server
        .addresses()
        .map((address) => `${address} both.test\n`)
        .join('')}`,
    );
    writeFileSync(join(names, 'resolv.conf'), 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n');
  });
  after(async () => {
    if (stage === undefined) return;
    rmSync(join('/etc/netns', stage.client.namespace), { recursive: true, force: true });
    await stage.close();
  });
  beforeEach(async () => {
    dora = await Knocker.create(stage.client, 'dora');
    dora.trust(stage.postern);
    stage.postern.writeRules(rulesFor([stage.alice, dora], [{ services: [REQUEST, DEAD, `udp/${UDP_PORT}`], ttl: '30s' }]));
    await stage.postern.posternd(['reload']);
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((each) => each.stop()));
    for (const each of undo.splice(0).toReversed()) await each();
    await stage.postern.posternd(['revoke', 'dora'], { mayFail: true });
    dora.close();
  });

  async function examine(args: readonly string[], options: RunOptions & { readonly code: number; readonly by?: Knocker }): Promise<Report> {
    const { code, by = dora, ...more } = options;
    const result = await by.knock(['doctor', '--json', '--timeout', '2s', ...args], { mayFail: true, ...more });
    const report = JSON.parse(result.stdout) as Report;
    assert.deepEqual([result.code, result.stderr, report.ok], [code, '', code === 0], result.stdout);
    return report;
  }
  /** `state code` of a link, of all addresses. */
  const found = (report: Report, link: string) =>
    report.findings.filter((each) => each.link === link).map(({ state, code }) => `${state} ${code}`);
  const finding = (report: Report, link: string): Finding => {
    const first = report.findings.find((each) => each.link === link);
    assert.ok(first, link);
    return first;
  };
  async function nft(host: Host, table: string, rules: string): Promise<void> {
    undo.push(() => host.nft(`delete table inet ${table}`));
    await host.nft(`table inet ${table} { ${rules}\n}\n`);
  }
  async function serve(host: Host, argv: readonly string[]): Promise<void> {
    const server = host.start([process.execPath, ...argv]);
    running.push(server);
    await server.waitForOutput(/ready/);
  }
  const sntp = (kind: string) => serve(stage.stranger, [ANSWERER, kind, '123']);
  const behind = { env: { NODE_OPTIONS: SHIFT, CLOCK_SHIFT_MS: String(BEHIND_MS) } };
  const configFile = () => join(dora.home, '.config', 'knock', 'config.yaml');
  const knownHosts = () => join(dora.home, '.ssh', 'known_hosts');
  const otherKey = () => stage.alice.publicLine.split(' ').slice(0, 2).join(' ');

  test('everything holds: each link is ok, for each address, and the door opens', async () => {
    const report = await examine(['both.test', REQUEST, '--server-key', stage.postern.publicLine], { code: 0 });
    assert.deepEqual(
      report.findings.map(({ link, state, code }) => `${link} ${state} ${code}`),
      [
        'configuration ok read',
        'name ok resolved',
        'client-key ok read',
        'server-key ok given',
        'clock skipped clock-unknown',
        ...['route ok route', 'before ok silent', 'knock ok sent', 'door ok open'].flatMap((each) => [each, each]),
      ],
    );
    const addresses = report.findings.filter(({ link }) => link === 'door').map(({ address }) => address);
    assert.deepEqual([...addresses].sort(), [...stage.server.addresses()].sort());
    assert.match(report.verdict.says, /^it works: open after \d+(\.\d)? ms$/);
    assert.equal(report.verdict.code, 'works');
  });

  test('for people: a line for each link, the cure below it, the verdict last', async () => {
    // Before any knock: otherwise it could be a grant that still holds.
    const bad = await dora.knock(['doctor', 'server4', 'tcp/7777'], { mayFail: true });
    assert.match(
      bad.stdout,
      /^failed {3}before the knock {2}tcp\/7777 on [\d.]+ is open without a knock: NOT PROTECTED.*\n {27}- on the server: posternd ports says/m,
    );
    const good = await dora.knock(['doctor', 'server4', REQUEST]);
    assert.match(good.stdout, /^ok {7}configuration {5}profile "server4" in "/);
    assert.match(good.stdout, /^ok {7}door {14}tcp\/8022 on [\d.]+ opened after \d+(\.\d)? ms\n\nit works: open after \d+(\.\d)? ms\n$/m);
    assert.match(bad.stdout, /\n\nthe first link that fails: before the knock: tcp\/7777 on [^\n]*\n$/);
    assert.deepEqual([good.code, bad.code, good.stderr, bad.stderr], [0, 1, '', '']);
    assert.doesNotMatch(good.stdout + bad.stdout, /\x1b/);
  });

  describe('this machine', () => {
    test('a configuration that is wrong: with its place, and nothing behind it is guessed', async () => {
      appendFileSync(configFile(), '  web1: { hots: a }\n');
      const report = await examine(['server4'], { code: 1 });
      assert.deepEqual(found(report, 'configuration'), ['failed usage']);
      assert.match(finding(report, 'configuration').says, /config\.yaml:\d+:\d+: unknown key "hots": did you mean "host"\?$/);
      assert.ok(report.findings.slice(1).every(({ state }) => state === 'skipped') && report.findings.length === 9);
    });

    test('a name that nobody knows; the keys are looked at all the same', async () => {
      const report = await examine(['nosuch.test', '--server-key', stage.postern.publicLine], { code: 1 });
      assert.deepEqual(
        [found(report, 'name'), found(report, 'client-key'), found(report, 'server-key')],
        [['failed lookup-failed'], ['ok read'], ['ok given']],
      );
      assert.deepEqual(found(report, 'knock'), ['skipped skipped']);
      assert.equal(report.verdict.link, 'name');
    });

    test('no key: the way is looked at all the same', async () => {
      rmSync(join(dora.home, '.ssh', 'id_ed25519'));
      const report = await examine(['server4', REQUEST], { code: 1 });
      assert.deepEqual(
        ['client-key', 'route', 'before', 'knock'].map((link) => found(report, link)[0]),
        ['failed no-identity', 'ok route', 'ok silent', 'skipped skipped'],
      );
      assert.match(finding(report, 'client-key').says, /make one with "knock keygen"$/);
    });

    test('a key that others can read', async () => {
      chmodSync(join(dora.home, '.ssh', 'id_ed25519'), 0o644);
      const report = await examine(['server4'], { code: 1 });
      assert.deepEqual(found(report, 'client-key'), ['failed secret-exposed']);
      assert.match(finding(report, 'client-key').says, /\(mode 0644\): run chmod 600 on it$/);
    });

    test('a key that this user may not read', async () => {
      const file = join(dora.home, '.ssh', 'id_ed25519');
      const argv = ['setpriv', '--reuid=65534', '--clear-groups', ...dora.command(['doctor', '--json', stage.server.ipv4(), '-i', file])];
      const result = await stage.client.exec(argv, { mayFail: true, env: { HOME: '/nonexistent' } });
      const report = JSON.parse(result.stdout) as Report;
      assert.deepEqual([result.code, found(report, 'client-key')], [1, ['failed secret-unreadable']]);
    });

    test('a key that is damaged, and one with a passphrase that nobody can be asked for', async () => {
      const file = join(dora.home, '.ssh', 'id_ed25519');
      await stage.client.exec(['ssh-keygen', '-p', '-q', '-P', '', '-N', 'secret', '-f', file]);
      const locked = await examine(['server4'], { code: 1 });
      assert.deepEqual(found(locked, 'client-key'), ['failed no-passphrase']);
      writeFileSync(file, readFileSync(file, 'utf8').replace('b3BlbnNzaC1', 'xxxxxxxxxxx'));
      assert.deepEqual(found(await examine(['server4'], { code: 1 }), 'client-key'), ['failed identity-refused']);
    });

    test('a passphrase that is wrong, and a pre-shared key that is none', async () => {
      const file = join(dora.home, '.ssh', 'id_ed25519');
      const text = readFileSync(configFile(), 'utf8');
      writeFileSync(join(dora.home, 'bad.psk'), 'short\n', { mode: 0o600 });
      writeFileSync(configFile(), text.replace('"slots":64', '"slots":64,"psk_file":"~/bad.psk"'));
      const psk = await examine(['server4'], { code: 1 });
      assert.deepEqual([found(psk, 'client-key'), psk.verdict.link], [['failed psk-refused'], 'client-key']);
      await stage.client.exec(['ssh-keygen', '-p', '-q', '-P', '', '-N', 'secret', '-f', file]);
      writeFileSync(join(dora.home, 'passphrase'), 'wrong\n', { mode: 0o600 });
      const wrong = await examine(['server4'], { code: 1, env: { KNOCK_PASSPHRASE_FILE: join(dora.home, 'passphrase') } });
      assert.deepEqual(found(wrong, 'client-key'), ['failed wrong-passphrase']);
    });

    test('a server key that nobody knows, that is one of two, that is revoked', async () => {
      const address = stage.server.ipv4();
      writeFileSync(configFile(), 'profiles:\n');
      const key = stage.postern.publicLine.split(' ').slice(0, 2).join(' ');
      for (const [text, code] of [
        ['', 'server-key-unknown'],
        [`${address} ${key}\n${address} ${otherKey()}\n`, 'server-key-ambiguous'],
        [`@revoked ${address} ${key}\n`, 'server-key-revoked'],
      ] as const) {
        writeFileSync(knownHosts(), text);
        const report = await examine([address, REQUEST], { code: 1 });
        assert.deepEqual([found(report, 'server-key'), report.verdict.link], [[`failed ${code}`], 'server-key']);
      }
    });

    test('known_hosts has another key than the profile: said, for it may be right', async () => {
      writeFileSync(knownHosts(), `${stage.server.ipv4()} ${otherKey()}\n`);
      const report = await examine(['server4', REQUEST], { code: 0 });
      assert.deepEqual(found(report, 'server-key'), ['ok differs']);
      assert.match(finding(report, 'server-key').says, /from the profile; known_hosts has another one \(SHA256:/);
    });

    test('the key in known_hosts is sshd’s and posternd has its own: the door stays shut, and that is among the cures', async () => {
      writeFileSync(configFile(), 'profiles:\n');
      writeFileSync(knownHosts(), `${stage.server.ipv4()} ${otherKey()}\n`);
      const report = await examine([stage.server.ipv4(), REQUEST], { code: 1 });
      assert.deepEqual([found(report, 'server-key'), found(report, 'door')], [['ok known-hosts'], ['failed not-open']]);
      assert.ok(finding(report, 'door').cures.some((cure) => /the server key came from known_hosts/.test(cure)));
    });

    test('a clock that is hours off: seen by the host’s web server, and blamed when the door stays shut', async () => {
      await serve(stage.server, [WEB_SERVER, '80']);
      const report = await examine(['server4', REQUEST], { code: 1, ...behind });
      assert.deepEqual([found(report, 'clock'), found(report, 'door')], [['unsure clock-off'], ['failed not-open']]);
      assert.equal(report.verdict.code, 'clock-off');
      assert.match(report.verdict.says, /^most likely: clock: this machine's clock is 2 h 3 min behind that of "server4"/);
      assert.deepEqual(found(await examine(['server4', REQUEST], { code: 0 }), 'clock'), ['ok clock-right']);
    });

    test('a clock that a named one corrects; one that does not answer', async () => {
      await sntp('sntp-honest');
      const args = ['server4', REQUEST, '--time', `sntp:${stage.stranger.ipv4()}`];
      assert.deepEqual(found(await examine(args, { code: 0, ...behind }), 'clock'), ['ok clock-corrected']);
      await stage.postern.posternd(['revoke', 'dora']);
      assert.deepEqual(found(await examine(args, { code: 0 }), 'clock'), ['ok clock-right']);
      await Promise.all(running.splice(0).map((each) => each.stop()));
      await stage.postern.posternd(['revoke', 'dora']);
      const unanswered = await examine(args, { code: 1, ...behind });
      assert.deepEqual([found(unanswered, 'clock'), unanswered.verdict.code], [['unsure clock-unanswered'], 'clock-unanswered']);
    });
  });

  describe('the way', () => {
    const key = () => ['--server-key', stage.postern.publicLine];

    test('no route', async () => {
      const report = await examine(['198.51.100.7', ...key()], { code: 1 });
      assert.deepEqual([found(report, 'route'), found(report, 'before')], [['failed no-route'], ['skipped skipped']]);
      assert.match(finding(report, 'route').says, /ENETUNREACH/);
    });

    test('only one of two addresses has a route: the other one is gone on with', async () => {
      await stage.client.exec(['ip', '-6', 'route', 'del', 'fd00:77:1::/64', 'dev', 'eth0']);
      undo.push(() => stage.client.exec(['ip', '-6', 'route', 'add', 'fd00:77:1::/64', 'dev', 'eth0']));
      const report = await examine(['both.test', REQUEST, ...key()], { code: 1 });
      assert.deepEqual([found(report, 'route').toSorted(), found(report, 'door')], [['failed no-route', 'ok route'], ['ok open']]);
      assert.match(report.verdict.says, /^it works: open after \S+ ms \(but look at: route\)$/);
    });

    test('a host that has no address of the family of --via', async () => {
      const report = await examine([stage.server.ipv4(), '--via', stage.client.ipv6(), ...key()], { code: 1 });
      assert.deepEqual(found(report, 'route'), ['failed usage']);
    });

    for (const [family, profile] of [
      ['IPv4', 'server4'],
      ['IPv6', 'server6'],
    ] as const) {
      test(`this machine’s own firewall drops the knock, over ${family}`, async () => {
        await nft(stage.client, 'own', `chain c { type filter hook output priority 0; udp dport ${KNOCK_PORT} drop; }`);
        const report = await examine([profile, REQUEST], { code: 1 });
        assert.deepEqual([found(report, 'knock'), found(report, 'door')], [['failed blocked-here'], ['skipped not-sent']]);
        assert.match(finding(report, 'knock').says, /\(EPERM\): look at its own firewall$/);
      });

      test(`a firewall on the way forbids the knock, and says so, over ${family}`, async () => {
        await nft(
          stage.client,
          'way',
          `chain c { type filter hook forward priority 0; udp dport ${KNOCK_PORT} reject with icmpx admin-prohibited; }`,
        );
        const report = await examine([profile, REQUEST], { code: 1, by: dora.at(inner) });
        assert.deepEqual(found(report, 'knock'), ['failed filtered']);
        assert.equal(report.verdict.link, 'knock');
      });

      test(`a router says that the host cannot be reached, over ${family}`, async () => {
        await nft(
          stage.client,
          'way',
          'chain c { type filter hook forward priority 0; meta l4proto tcp reject with icmpx host-unreachable; }',
        );
        const report = await examine([profile, REQUEST], { code: 1, by: dora.at(inner) });
        assert.deepEqual(found(report, 'before'), ['failed unreachable']);
      });

      test(`nothing takes knocks and another firewall closes the port: the knock port answers "closed", over ${family}`, async () => {
        await nft(
          stage.server,
          'other',
          `chain c { type filter hook input priority 0; ct state new ${`tcp dport ${REQUEST.slice(4)}`} drop; }`,
        );
        await stage.postern.posternd(['gate', 'down']);
        undo.push(() => stage.postern.posternd(['gate', 'up']));
        const report = await examine([profile, REQUEST], { code: 1 });
        assert.deepEqual([found(report, 'knock'), found(report, 'door')], [['unsure answers-closed'], ['failed not-open']]);
        assert.match(report.verdict.says, /^most likely: knock: .*the port answers "closed": posternd does not run there/);
      });
    }

    test('a source that cannot be bound: the STUN server is silent', async () => {
      await serve(stage.stranger, [ANSWERER, 'silent', '3478']);
      const report = await examine(['server4', REQUEST, '--source', `stun:${stage.stranger.ipv4()}`], { code: 1 });
      assert.deepEqual(found(report, 'knock'), ['failed source']);
    });

    test('all knocks of this minute are used', async () => {
      writeFileSync(configFile(), readFileSync(configFile(), 'utf8').replaceAll('"slots":64', '"slots":1'));
      const minute = () => Math.floor(Date.now() / 60_000);
      for (;;) {
        const before = minute();
        await dora.knock(['server4', `udp/${UDP_PORT}`], { mayFail: true });
        const result = await dora.knock(['doctor', 'server4', REQUEST, '--json', '--timeout', '1s'], { mayFail: true });
        // Over the edge of a minute there is a slot again, and the door may be open by now.
        if (minute() !== before) {
          await stage.postern.posternd(['revoke', 'dora'], { mayFail: true });
          continue;
        }
        const report = JSON.parse(result.stdout) as Report;
        assert.deepEqual([result.code, found(report, 'knock'), found(report, 'door')], [1, ['failed no-slot'], ['skipped not-sent']]);
        assert.match(finding(report, 'knock').says, /^all knocks of this minute from this key to "server4" are used: try again in \d+ s$/);
        return;
      }
    });

    test('bound behind a NAT: the door stays shut, and that is among the cures', async () => {
      const report = await examine(['server4', REQUEST, '--source', 'bound'], { code: 1, by: dora.at(inner) });
      assert.deepEqual(found(report, 'door'), ['failed not-open']);
      assert.ok(finding(report, 'door').cures.some((cure) => /behind an address translator, use --source none/.test(cure)));
    });
  });

  describe('the door', () => {
    test('open without a knock: not protected, and no knock is sent', async () => {
      const capture = await stage.client.capture({ filter: `udp dst port ${KNOCK_PORT}`, direction: 'out' });
      const report = await examine(['server4', `tcp/${OPEN_PORT}`], { code: 1 });
      assert.deepEqual([found(report, 'before'), found(report, 'knock')], [['failed not-protected'], ['skipped skipped']]);
      assert.equal(report.verdict.code, 'not-protected');
      assert.deepEqual(await capture.settle(stage.server.ipv4()), []);
      await capture.close();
    });

    test('open from an earlier knock: said so, for it may be that', async () => {
      await dora.knock(['server4', REQUEST]);
      const report = await examine(['server4', REQUEST], { code: 0 });
      assert.deepEqual(found(report, 'before'), ['unsure open-already']);
      assert.match(finding(report, 'before').says, /this machine knocked there \d\.\d s ago/);
    });

    test('the server does not let this key in, or not there: silence, and the causes', async () => {
      for (const [by, service] of [
        [dora, `tcp/${FORBIDDEN_PORT}`],
        [stage.bob, REQUEST],
      ] as const) {
        const report = await examine(['server4', service], { code: 1, by });
        assert.deepEqual([found(report, 'knock'), found(report, 'door')], [['ok sent'], ['failed not-open']]);
        assert.ok(finding(report, 'door').cures.some((cure) => /not enrolled there, or may not open this service: SHA256:/.test(cure)));
        const [fingerprint = 'none'] = /SHA256:\S+/.exec(finding(report, 'server-key').says) ?? [];
        assert.ok(finding(report, 'door').cures.some((cure) => cure.includes(`the server key is another one than ${fingerprint}`)));
      }
    });

    test('the service is down behind the open door: a reset instead of silence', async () => {
      const report = await examine(['server4', DEAD], { code: 1 });
      assert.deepEqual([found(report, 'before'), found(report, 'door')], [['ok silent'], ['failed service-down']]);
      assert.match(report.verdict.says, /^the first link that fails: door: the door opened, but nothing listens behind it/);
    });

    test('one of two services is down', async () => {
      assert.deepEqual(found(await examine(['server4', REQUEST, DEAD], { code: 1 }), 'door'), ['failed partly-open']);
    });

    test('a gate that refuses by reset, and does not let this key in', async () => {
      const protect = [REQUEST, `tcp/${FORBIDDEN_PORT}`, DEAD, `udp/${UDP_PORT}`];
      const configure = async (more: object) => {
        stage.postern.writeConfig({ protect, port: KNOCK_PORT, default_ttl: '30s', ...more });
        await stage.postern.posternd(['reload']);
      };
      undo.push(() => configure({}));
      await configure({ refuse: 'reject' });
      const report = await examine(['server4', `tcp/${FORBIDDEN_PORT}`], { code: 1 });
      assert.deepEqual([found(report, 'before'), found(report, 'door')], [['ok refused'], ['failed refused']]);
    });

    test('a source port that another program has', async () => {
      await stage.client.listen({ tcp: [4998] });
      const report = await examine(['server4', REQUEST, '--source-port', '4998'], { code: 1 });
      assert.deepEqual(found(report, 'door'), ['failed cannot-connect']);
    });

    test('UDP: sent, and nothing more can be seen from here', async () => {
      const report = await examine(['server4', `udp/${UDP_PORT}`], { code: 0 });
      assert.deepEqual(
        ['before', 'knock', 'door'].map((link) => found(report, link)[0]),
        ['skipped no-probe', 'ok sent', 'skipped no-probe'],
      );
      assert.equal(report.verdict.code, 'not-seen');
      await stage.waitForGrants(1);
    });
  });

  describe('wrong usage: one line and exit code 2', () => {
    for (const [args, says] of [
      [['doctor'], /^knock: missing required argument 'HOST' \(see knock doctor --help\)\n$/],
      [['doctor', 'web1', '--once'], /^knock: unknown option '--once' [^\n]*\n$/],
      [['doctor', 'web1', '-p', '0'], /^knock: --port: expected a whole number[^\n]*\n$/],
      [['doctor', 'web1', '22'], /^knock: not a service: "22": write tcp\/22 or udp\/22\n$/],
      [['--once', 'doctor', 'web1'], /^knock: --once does not go with knock doctor \(see knock doctor --help\)\n$/],
      [['doctor', 'web1', '--', 'ls'], /^knock: knock doctor takes no command after --\n$/],
      [['doctor', 'web1', '--source', 'stun'], /^knock: --source stun: no STUN server was named[^\n]*\n$/],
      [['doctor', 'web1', '--via', 'wlan7'], /^knock: --via: "wlan7" is neither an interface[^\n]*\n$/],
    ] as const) {
      test(args.join(' '), async () => {
        const result = await dora.knock(args, { mayFail: true });
        assert.match(result.stderr, says);
        assert.equal(result.code, 2);
      });
    }
  });
});
