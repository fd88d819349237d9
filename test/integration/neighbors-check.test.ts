// posternd check reads other people's real rulesets and says which protected port they would keep closed; a real connection (no gate, so
// that only the neighbor decides) is the judge of each answer.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { DockerLike, Firewalld, neighborMissing, rulesOfOthers, Ufw } from '../lab/neighbors.ts';
import { PORT, Stage } from '../lab/stage.ts';

const skip = labMissing() ?? neighborMissing('iptables-nft-save', 'iptables-legacy-save') ?? false;
const OTHER = 8023;

type Obstacle = {
  readonly kind: string;
  readonly ports: readonly string[];
  readonly families: readonly number[];
  readonly chain: string;
  readonly rule: string | null;
};
type Report = {
  readonly problems: readonly { severity: string; message: string; cure: string }[];
  readonly obstacles: readonly Obstacle[] | null;
  readonly hides_best: string | null;
  readonly other_firewalls: readonly string[] | null;
};

describe('check, beside other firewalls', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({
      label: 'nbc',
      start: false,
      config: { protect: [`tcp/${PORT}`, `tcp/${OTHER}`] },
      allow: [{ services: [`tcp/${PORT}`] }],
    });
  });
  after(() => stage?.close());
  afterEach(async () => {
    await stage.server.exec(['nft', 'flush', 'ruleset']);
    for (const tool of ['iptables-legacy', 'ip6tables-legacy']) {
      for (const words of ['-P INPUT ACCEPT', '-F', '-X', '-t mangle -F']) await stage.server.exec([tool, ...words.split(' ')]);
    }
  });

  async function check(): Promise<Report> {
    const before = await rulesOfOthers(stage.server);
    const { stdout } = await stage.postern.posternd(['check', '--json'], { env: { SSH_CONNECTION: '' } });
    assert.equal(await rulesOfOthers(stage.server), before, 'check changed something');
    return JSON.parse(stdout) as Report;
  }
  const warnings = ({ problems }: Report): string =>
    problems.map(({ severity, message, cure }) => `${severity}: ${message}: ${cure}`).join('\n');

  /** What a client really meets: which ports of which family do not open. */
  async function reallyClosed(): Promise<readonly string[]> {
    const tries = ([4, 6] as const).flatMap((version) =>
      [PORT, OTHER].map(async (port) => {
        const { outcome } = await stage.client.connect(stage.server.addresses()[version === 4 ? 0 : 1], port, { timeoutMs: 300 });
        return outcome === 'open' ? [] : [`tcp/${port} IPv${version}`];
      }),
    );
    return (await Promise.all(tries)).flat().sort();
  }
  const saidClosed = ({ obstacles }: Report, ...kinds: readonly string[]): readonly string[] =>
    (obstacles ?? [])
      .filter(({ kind }) => kinds.includes(kind))
      .flatMap(({ ports, families }) => ports.flatMap((port) => families.map((family) => `${port} IPv${family}`)))
      .flatMap((each) =>
        each.startsWith(`tcp/${PORT}-${OTHER} `) ? [each.replace(`-${OTHER}`, ''), each.replace(`${PORT}-`, '')] : [each],
      )
      .sort();
  async function agrees(): Promise<Report> {
    const report = await check();
    assert.deepEqual(saidClosed(report, 'blocked', 'only-some'), await reallyClosed(), warnings(report));
    return report;
  }

  test('nothing beside us: no word', async () => {
    const report = await agrees();
    assert.deepEqual([report.obstacles, report.other_firewalls, report.hides_best], [[], [], 'pass']);
    assert.deepEqual(report.problems, []);
  });

  test('ufw and capture: udp: says that knocks do not get in, and what helps; the cure works', {
    skip: neighborMissing('ufw') ?? false,
  }, async () => {
    const ufw = new Ufw(stage.server);
    const config = { protect: [`tcp/${PORT}`, `tcp/${OTHER}`] };
    try {
      await ufw.ufw('--force', 'enable');
      await ufw.ufw('allow', `${PORT}:${OTHER}/tcp`);
      stage.postern.writeConfig({ ...config, capture: 'nflog' });
      assert.doesNotMatch(warnings(await check()), /knocks/);
      stage.postern.writeConfig({ ...config, capture: 'udp' });
      assert.match(
        warnings(await check()),
        /warning: knocks do not reach capture: udp: ufw drops udp\/62201 \(ip filter INPUT: policy drop\): set capture: nflog, .* or run "ufw allow 62201\/udp"/,
      );
      await ufw.ufw('allow', '62201/udp');
      assert.doesNotMatch(warnings(await check()), /knocks/);
      await stage.postern.start();
      assert.match(await stage.knock(stage.server.ipv4()), /open after/);
      await stage.postern.stop();
      await stage.postern.posternd(['gate', 'down']);
    } finally {
      stage.postern.writeConfig(config);
      await ufw.ufw('disable');
      ufw.close();
    }
  });

  test('ufw: says what it denies and how to allow it; the cure works', { skip: neighborMissing('ufw') ?? false }, async () => {
    const ufw = new Ufw(stage.server);
    try {
      await ufw.ufw('--force', 'enable');
      const denied = await agrees();
      assert.match(
        warnings(denied),
        /warning: tcp\/8022-8023 stays closed after a knock too: ufw drops it \(ip filter INPUT: policy drop\): run "ufw allow 8022:8023\/tcp"/,
      );
      assert.equal(denied.hides_best, 'drop');
      await ufw.ufw('allow', `${PORT}/tcp`);
      assert.match(warnings(await agrees()), /tcp\/8023 stays closed.*run "ufw allow 8023\/tcp"/);
      await ufw.ufw('limit', `${OTHER}/tcp`);
      // Without a reload ufw 0.36.2 leaves its IPv6 chain for the first limit empty, and check says so.
      await ufw.ufw('reload');
      assert.deepEqual((await agrees()).obstacles, []);
      await ufw.ufw('delete', 'allow', `${PORT}/tcp`);
      await ufw.ufw('reject', `${PORT}/tcp`);
      const rejected = warnings(await agrees());
      assert.match(
        rejected,
        /tcp\/8022 stays closed after a knock too: ufw rejects it over IPv4 \(ip filter ufw-user-input: -A ufw-user-input .*-j REJECT/,
      );
      assert.match(
        rejected,
        /tcp\/8022 stays closed after a knock too: ufw rejects it over IPv6 \(ip6 filter ufw6-user-input: -A ufw6-user-input .*-j REJECT/,
      );
      await ufw.ufw('delete', 'reject', `${PORT}/tcp`);
      await ufw.ufw('allow', `${PORT}/tcp`);
      await ufw.ufw('delete', 'limit', `${OTHER}/tcp`);
      await ufw.ufw('allow', 'proto', 'tcp', 'from', '192.0.2.0/24', 'to', 'any', 'port', `${OTHER}`);
      const some = await agrees();
      assert.deepEqual(
        some.obstacles?.map(({ kind, families }) => [kind, families]),
        [
          ['only-some', [4]],
          ['blocked', [6]],
        ],
      );
      assert.match(
        warnings(some),
        /tcp\/8023 opens after a knock only for some: ufw drops it over IPv4 .* but for what this lets in: .*192\.0\.2\.0\/24/,
      );
      await ufw.ufw('default', 'allow');
      assert.deepEqual((await agrees()).obstacles, []);
    } finally {
      await ufw.ufw('disable');
      ufw.close();
    }
  });

  test('firewalld: says which zone refuses and how to let it in; the cure works', {
    skip: neighborMissing('firewalld') ?? false,
  }, async () => {
    const firewalld = await Firewalld.create(stage.server);
    try {
      const denied = await agrees();
      assert.match(
        warnings(denied),
        /tcp\/8022-8023 stays closed after a knock too: firewalld rejects it \(inet firewalld filter_IN_public: reject.*\): run "firewall-cmd --permanent --zone=public --add-port=8022-8023\/tcp && firewall-cmd --reload"/,
      );
      // Its closed ports answer, so silence would stand out.
      assert.equal(denied.hides_best, 'pass');
      await firewalld.cmd(['--permanent', '--zone=public', `--add-port=${PORT}/tcp`]);
      await firewalld.cmd(['--reload']);
      assert.match(warnings(await agrees()), /tcp\/8023 stays closed.*--add-port=8023\/tcp/);
      await firewalld.cmd(['--zone=work', '--change-interface=eth0']);
      assert.match(warnings(await agrees()), /filter_IN_work.*--zone=work --add-port=8022-8023\/tcp/);
      await firewalld.cmd(['--zone=work', `--add-port=${PORT}-${OTHER}/tcp`]);
      assert.deepEqual((await agrees()).obstacles, []);
      await firewalld.cmd(['--zone=work', '--add-rich-rule', `rule family="ipv6" port port="${OTHER}" protocol="tcp" drop`]);
      assert.match(
        warnings(await agrees()),
        /tcp\/8023 stays closed after a knock too: firewalld drops it over IPv6 .*: remove the rich rule/,
      );
      await firewalld.cmd(['--zone=drop', '--change-interface=eth0']);
      assert.match(warnings(await agrees()), /filter_IN_drop/);
      await firewalld.cmd(['--zone=trusted', '--change-interface=eth0']);
      assert.deepEqual((await agrees()).obstacles, []);
    } finally {
      await firewalld.stop();
      firewalld.close();
    }
  });

  /** Rulesets of nft's own, and what check must call them. */
  const NFT: readonly (readonly [what: string, ruleset: string, kinds: readonly string[]])[] = [
    ['a policy of drop', '', ['blocked']],
    ['one port let in', `tcp dport ${PORT} accept`, ['blocked']],
    ['a range', `tcp dport 8000-8100 accept`, []],
    ['a set of ports', `tcp dport { 22, ${PORT}, ${OTHER} } accept`, []],
    ['a named set', 'tcp dport @open accept', ['blocked']],
    ['a verdict map', `tcp dport vmap { ${PORT} : accept, ${OTHER} : drop }`, ['blocked']],
    ['a named verdict map', 'tcp dport vmap @ways', ['blocked']],
    ['a jump by connection state', 'ct state vmap { new : jump fresh, established : accept }', ['blocked']],
    ['a goto that comes back', `meta l4proto tcp goto fresh\ntcp dport ${OTHER} accept`, ['blocked']],
    ['a concatenation', `meta l4proto . th dport { tcp . ${PORT}, udp . ${OTHER} } accept`, ['blocked']],
    ['one family', `meta nfproto ipv6 tcp dport 8000-8100 accept`, ['blocked']],
    ['another interface', 'iifname "wlan*" accept', ['blocked']],
    ['this interface', 'iifname { "eth*", "wlan0" } accept', []],
    ['loopback only', 'iif lo accept', ['blocked']],
    ['our own addresses', 'fib daddr type local tcp dport >= 8000 accept', []],
    ['a SYN', 'tcp flags & (fin|syn|rst|ack) == syn accept', []],
    ['anything but a SYN', 'tcp flags & (fin|syn|rst|ack) != syn accept', ['blocked']],
    ['a rate', `tcp dport { ${PORT}, ${OTHER} } limit rate 100/second accept`, []],
    ['above a rate', `tcp dport { ${PORT}, ${OTHER} } limit rate over 100/second drop\naccept`, []],
    ['sources that we are not', `ip saddr 192.0.2.0/24 accept`, ['blocked', 'only-some']],
    ['a list of banned sources', `ip saddr { 192.0.2.0/24 } drop\nip6 saddr 2001:db8::/32 drop\naccept`, []],
    ['a destination that is not ours', 'ip daddr 192.0.2.1 accept', ['blocked']],
    ['reject', `tcp dport ${PORT} reject with tcp reset\naccept`, ['blocked']],
    ['a later chain', `accept\n}\nchain late { type filter hook input priority 10; tcp dport ${PORT} drop;`, ['blocked']],
    ['an earlier hook', `accept\n}\nchain early { type filter hook prerouting priority raw; tcp dport ${PORT} drop;`, ['blocked']],
    [
      'a redirected port',
      `tcp dport ${OTHER} drop\naccept\n}\nchain nat { type nat hook prerouting priority dstnat; tcp dport ${PORT} redirect to :${OTHER};`,
      ['blocked'],
    ],
    [
      'redirected from what is closed',
      `tcp dport ${PORT} accept\n}\nchain nat { type nat hook prerouting priority dstnat; tcp dport ${OTHER} redirect to :${PORT};`,
      [],
    ],
  ];
  for (const [what, rules, kinds] of NFT) {
    test(`nft, ${what}: as a connection finds it`, async () => {
      await stage.server.nft(`
        table inet filter {
          set open { type inet_service; flags interval; elements = { 8000-${PORT} }
          }
          map ways { type inet_service : verdict; elements = { ${PORT} : jump fresh }
          }
          chain fresh { tcp dport ${PORT} counter accept
          }
          chain input { type filter hook input priority filter; policy drop;
            ct state established accept
            meta l4proto ipv6-icmp accept
            ${rules}
          }
        }`);
      const report = await agrees();
      assert.deepEqual([...new Set(report.obstacles?.map(({ kind }) => kind))].sort(), kinds);
    });
  }

  test('nft at ingress: as a connection finds it', async () => {
    await stage.server.nft(`table netdev n { chain c { type filter hook ingress device "eth0" priority 0; tcp dport ${PORT} drop; }\n}`);
    assert.match(warnings(await agrees()), /tcp\/8022 stays closed .*\(netdev n c: tcp dport 8022 drop\)/);
  });

  test('names the rule, and says "cannot tell" where it hangs on what cannot be read', async () => {
    await stage.server.nft(
      `table inet filter { chain input { type filter hook input priority filter; policy drop; meta mark 0x7 tcp dport ${PORT} accept; tcp dport ${OTHER} accept; }\n}`,
    );
    const report = await check();
    assert.deepEqual(
      report.obstacles?.map(({ kind, ports, rule }) => [kind, ports, rule]),
      [['cannot-tell', [`tcp/${PORT}`], 'meta mark 0x00000007 tcp dport 8022 accept']],
    );
    assert.doesNotMatch(warnings(report), /8022/);
    const { stdout } = await stage.postern.posternd(['check'], { env: { SSH_CONNECTION: '' } });
    assert.match(
      stdout,
      /^beside {4}cannot tell whether tcp\/8022 opens after a knock: .*\(inet filter input: meta mark 0x00000007 tcp dport 8022 accept\)/m,
    );
    assert.match(stdout, /^beside {4}inet filter input drops by default$/m);
  });

  const IPTABLES: readonly (readonly [what: string, rules: readonly string[], closed: readonly string[]])[] = [
    ['a policy of drop', ['-P INPUT DROP'], [`tcp/${PORT}`, `tcp/${OTHER}`]],
    ['ports', ['-P INPUT DROP', `-A INPUT -p tcp --dport ${PORT} -j ACCEPT`], [`tcp/${OTHER}`]],
    [
      'several ports and states',
      ['-P INPUT DROP', `-A INPUT -p tcp -m multiport --dports 22,${PORT}:${OTHER} -m conntrack --ctstate NEW -j ACCEPT`],
      [],
    ],
    [
      'a chain of their own',
      ['-N mine', `-A mine -p tcp --syn --dport ${PORT} -j REJECT`, '-A mine -j RETURN', '-A INPUT -i eth+ -g mine'],
      [`tcp/${PORT}`],
    ],
    ['another interface', ['-A INPUT ! -i lo -p tcp -m tcp ! --dport 1:8022 -m comment --comment "-j \\"x" -j DROP'], [`tcp/${OTHER}`]],
    [
      'rates',
      [`-A INPUT -p tcp -m limit --limit 100/s -j ACCEPT`, `-A INPUT -p tcp -m connlimit --connlimit-above 50 -j DROP`, '-P INPUT DROP'],
      [],
    ],
    ['the mangle table', [`-t mangle -A PREROUTING -p tcp --dport ${PORT} -j DROP`], [`tcp/${PORT}`]],
  ];
  for (const backend of ['nft', 'legacy']) {
    for (const [what, rules, closed] of IPTABLES) {
      test(`iptables-${backend}, ${what}: as a connection finds it`, async () => {
        for (const tool of ['iptables', 'ip6tables']) {
          await stage.server.exec([`${tool}-${backend}`, '-A', 'INPUT', '-p', tool === 'iptables' ? 'icmp' : 'icmpv6', '-j', 'ACCEPT']);
          await stage.server.exec([
            `${tool}-${backend}`,
            '-A',
            'INPUT',
            '-m',
            'conntrack',
            '--ctstate',
            'RELATED,ESTABLISHED',
            '-j',
            'ACCEPT',
          ]);
          for (const rule of rules) await stage.server.exec(['sh', '-c', `${tool}-${backend} ${rule}`]);
        }
        const report = await agrees();
        const expected = closed.flatMap((port) => [`${port} IPv4`, `${port} IPv6`]);
        assert.deepEqual(saidClosed(report, 'blocked'), expected.sort(), warnings(report));
      });
    }
  }

  test("docker's rules: a published port goes to the container, and its own chains let it in", async () => {
    const container = await stage.lab.host('box');
    await stage.lab.link(stage.server, container);
    await stage.lab.route(stage.server, 1, [container]);
    await container.listen({ tcp: [80] });
    const docker = new DockerLike(stage.server, 'eth1', { published: OTHER, container: container.addresses(), inside: 80 });
    await docker.up();
    assert.deepEqual((await agrees()).obstacles, []);
    for (const tool of ['iptables', 'ip6tables'])
      await stage.server.exec([tool, '-I', 'DOCKER-USER', '-p', 'tcp', '--dport', '80', '-j', 'DROP']);
    const blocked = await agrees();
    assert.match(warnings(blocked), /tcp\/8023 stays closed after a knock too: Docker drops it.*DOCKER-USER/);
  });

  test('ufw on a gateway: what it does not route to the networks behind', { skip: neighborMissing('ufw') ?? false }, async () => {
    const { lab, server, client, postern } = stage;
    const behind = await lab.host('behind');
    await lab.link(server, behind);
    const link = server.interfaces.length - 1;
    await lab.route(server, link, [behind]);
    await lab.route(server, 0, [client]);
    await behind.listen({ tcp: [PORT, OTHER] });
    const networks = [server.ipv4(link).replace(/\d+$/, '0/24'), server.ipv6(link).replace(/1$/, '/64')];
    postern.writeConfig({ protect: [`tcp/${PORT}`], networks });
    const ufw = new Ufw(server);
    const open = async () =>
      (await Promise.all(behind.addresses().map((address) => client.connect(address, PORT, { timeoutMs: 300 })))).map(
        ({ outcome }) => outcome,
      );
    try {
      await ufw.ufw('allow', `${PORT}/tcp`);
      await ufw.ufw('--force', 'enable');
      const [ipv4 = '', ipv6 = ''] = networks;
      const denied = warnings(await check());
      for (const [family, network] of [
        ['', ipv4],
        ['6', ipv6],
      ] as const) {
        assert.ok(
          denied.includes(`tcp/${PORT} of ${network} stays closed after a knock too: ufw drops it over IPv${family === '' ? 4 : 6}`),
          denied,
        );
        assert.ok(denied.includes(`run "ufw route allow proto tcp to ${network} port ${PORT}"`), denied);
      }
      assert.deepEqual(await open(), ['timeout', 'timeout']);
      for (const network of networks) await ufw.ufw(...`route allow proto tcp to ${network} port ${PORT}`.split(' '));
      assert.deepEqual((await check()).obstacles, []);
      assert.deepEqual(await open(), ['open', 'open']);
    } finally {
      await ufw.ufw('disable');
      ufw.close();
      postern.writeConfig({ protect: [`tcp/${PORT}`, `tcp/${OTHER}`] });
    }
  });
});
