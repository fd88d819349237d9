// `posternd ports` against real sockets: whoever it says can reach a port is tried from another host, and nobody else gets through.
//
//   client ──┐
//            ├── switch ── eth0 server eth1 ── container (a published port leads there)
//   stranger ┘
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isNftables } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { labMissing } from '../lab/lab.ts';
import { DockerLike, neighborMissing, Ufw } from '../lab/neighbors.ts';
import { FORBIDDEN_PORT, KNOCK_PORT, PORT, REQUEST, Stage, UDP_PORT } from '../lab/stage.ts';

const skip = labMissing() ?? (isNftables() ? false : 'what listens is the same for every backend');
const PUBLISHED = 8080;

type Row = {
  readonly ports: string;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly bound_to: string;
  readonly reach: string;
  readonly families: readonly { readonly version: 4 | 6; readonly reach: string; readonly by: string }[];
  readonly v6only: boolean | null;
  readonly kernel_picked_port: boolean;
  readonly processes: readonly { readonly pid: number; readonly name: string }[];
  readonly user: string | null;
  readonly published_to: string | null;
  readonly rules: readonly { readonly file: string; readonly line: number; readonly clients: readonly string[] }[];
};
type Report = {
  readonly gate: string;
  readonly sockets: readonly Row[];
  readonly nothing_listens: readonly string[];
  readonly exposed: number;
  readonly notes: readonly string[];
};

/** Sockets of every kind, in one process; it says when they stand. */
const LISTENER = `
const net = require('node:net'), dgram = require('node:dgram'), [v4, v6] = process.argv.slice(1);
const tcp = (options) => new Promise((done, fail) => net.createServer((socket) => socket.on('error', () => {}).end()).on('error', fail).listen(options, done));
const udp = (type, options) => new Promise((done) => { const s = dgram.createSocket(type); s.bind(options, () => done(s)); });
(async () => {
  await tcp({ port: 7001, host: '0.0.0.0' });
  await tcp({ port: 7002, host: '::' });
  await tcp({ port: 7003, host: '::', ipv6Only: true });
  await tcp({ port: 7004, host: '127.0.0.1' });
  await tcp({ port: 7005, host: '::1' });
  await tcp({ port: 7006, host: v4 });
  await tcp({ port: 7007, host: v6 });
  await udp('udp4', { port: 7008 });
  await udp({ type: 'udp6', ipv6Only: true }, { port: 7009 });
  const asking = await udp('udp4', { port: 0 });
  const connected = await udp('udp4', { port: 7010 });
  await new Promise((done) => connected.connect(53, v4, done));
  console.log('standing ' + asking.address().port);
})();
`;

describe('posternd ports', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  let container: Host;
  let asking = 0;
  before(async () => {
    stage = await Stage.create({
      label: 'ports',
      config: { protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`, `udp/${UDP_PORT}`, 'tcp/9100-9110'] },
    });
    const { lab, server, client, stranger } = stage;
    container = await lab.host('container');
    await lab.link(server, container);
    await lab.route(server, 1, [container]);
    await lab.route(server, 0, [client, stranger]);
    await container.listen({ tcp: [80] });
    const listener = server.start([process.execPath, '-e', LISTENER, server.ipv4(), server.ipv6()]);
    await listener.waitForOutput(/standing (\d+)/, 10_000);
    asking = Number(/standing (\d+)/.exec(listener.stdout)?.[1]);
    server.start(['socat', 'TCP-LISTEN:7011,fork,reuseaddr,so-bindtodevice=lo', 'STDOUT']);
    await server.exec(['sh', '-c', 'until ss -Hltn | grep -q :7011; do sleep 0.05; done']);
  });
  after(() => stage?.close());
  const ports = (...args: readonly string[]) => stage.postern.posternd(['ports', ...args], { mayFail: true });
  const report = async (...args: readonly string[]): Promise<Report> => JSON.parse((await ports('--json', ...args)).stdout) as Report;
  const rowOf = (all: Report, port: number): Row => {
    const row = all.sockets.find((each) => each.port === port);
    assert.ok(row, `no row for ${port}`);
    return row;
  };

  /** For each TCP port: what the audit says of each family, against what a connection from outside meets. */
  async function compare(all: Report, from: Host, open: readonly string[]): Promise<number> {
    let compared = 0;
    for (const row of all.sockets.filter(({ protocol }) => protocol === 'tcp')) {
      for (const version of [4, 6] as const) {
        const said = row.families.find((family) => family.version === version)?.reach ?? 'not bound';
        const { outcome } = await from.connect(version === 4 ? stage.server.ipv4() : stage.server.ipv6(), row.port, { timeoutMs: 300 });
        // Two sockets can share a port: what one does not take the other may.
        const others = all.sockets.filter((other) => other !== row && other.protocol === 'tcp' && other.port === row.port);
        if (others.length > 0) continue;
        assert.equal(outcome === 'open', open.includes(said), `${row.ports} over IPv${version}: said ${said}, met ${outcome}`);
        compared += 1;
      }
    }
    return compared;
  }

  test('what it says everyone can reach is what a stranger reaches, over IPv4 and IPv6, and nothing else', async () => {
    const all = await report();
    assert.equal(all.gate, 'up');
    assert.ok((await compare(all, stage.stranger, ['everyone'])) >= 18);
    const reach = Object.fromEntries(all.sockets.map((row) => [row.ports, row.reach]));
    assert.deepEqual(
      [7001, 7002, 7003, 7004, 7005, 7006, 7007, 7011, PORT, FORBIDDEN_PORT].map((port) => reach[`tcp/${port}`]),
      ['everyone', 'everyone', 'everyone', 'loopback', 'loopback', 'everyone', 'everyone', 'loopback', 'knock', 'nobody'],
    );
    assert.deepEqual([rowOf(all, 7002).v6only, rowOf(all, 7003).v6only], [false, true]);
    assert.deepEqual(
      rowOf(all, 7003).families.map(({ version }) => version),
      [6],
    );
    assert.equal(rowOf(all, 7011).bound_to, '*%lo');
  });

  test('names process, user and the rules that open a port; and protected ports on which nothing listens', async () => {
    const all = await report();
    const row = rowOf(all, PORT);
    assert.ok(
      row.processes.some(({ pid, name }) => pid > 0 && /node|MainThread/.test(name)),
      JSON.stringify(row.processes),
    );
    assert.equal(row.user, 'root');
    assert.deepEqual(
      row.rules.map(({ file, clients }) => [file, clients]),
      [[stage.postern.rulesFile, ['alice', 'bob']]],
    );
    assert.deepEqual(all.nothing_listens, ['tcp/9100-9110']);
    assert.match(all.notes.join('\n'), /other network namespaces/);
  });

  test('UDP: sockets that answer are listed, one on a port that the kernel picked is marked, a connected one is none', async () => {
    const all = await report();
    assert.deepEqual([rowOf(all, 7008).reach, rowOf(all, 7008).kernel_picked_port], ['everyone', false]);
    assert.deepEqual(
      rowOf(all, 7009).families.map(({ version }) => version),
      [6],
    );
    assert.equal(rowOf(all, UDP_PORT).reach, 'knock');
    assert.equal(rowOf(all, asking).kernel_picked_port, true);
    assert.equal(
      all.sockets.find(({ port }) => port === 7010),
      undefined,
    );
    assert.equal(
      all.sockets.find(({ port }) => port === KNOCK_PORT),
      undefined,
      'nothing listens on the knock port',
    );
  });

  test('--exposed prints only that, ends with 1, and leaves out what asks', async () => {
    const { code, stdout, stderr } = await ports('--exposed');
    assert.equal(code, 1);
    const listed = [...stdout.matchAll(/^everyone\s+(\S+)/gm)].map((match) => match[1]).sort();
    assert.deepEqual(listed, ['tcp/7001', 'tcp/7002', 'tcp/7003', 'tcp/7006', 'tcp/7007', 'udp/7008', 'udp/7009']);
    assert.match(stderr, /^note: 1 UDP socket on ports that the kernel picked left out/m);
    assert.match(stderr, /^posternd: 7 ports that everyone can reach: /m);
    assert.doesNotMatch(stdout, /knock first|loopback/);
  });

  test('with the gate down protected ports are everyone’s, and it says so', async () => {
    await stage.postern.posternd(['gate', 'down']);
    try {
      const all = await report();
      assert.equal(all.gate, 'down');
      assert.match(all.notes.join('\n'), /THE GATE IS DOWN/);
      assert.deepEqual([rowOf(all, PORT).reach, rowOf(all, FORBIDDEN_PORT).reach], ['everyone', 'everyone']);
      assert.ok((await compare(all, stage.stranger, ['everyone'])) >= 18);
    } finally {
      await stage.postern.posternd(['gate', 'up']);
    }
  });

  test('a gate that stands on some interfaces only leaves the others open, and it says on which', async () => {
    const config = { protect: [REQUEST], port: KNOCK_PORT, interfaces: ['eth1'] };
    stage.postern.writeConfig(config);
    await stage.postern.posternd(['reload']);
    try {
      const row = rowOf(await report(), PORT);
      assert.equal(row.reach, 'everyone');
      assert.match(row.families[0]?.by ?? '', /protected, but not on eth0/);
      assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'open');
    } finally {
      stage.postern.writeConfig({ protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`, `udp/${UDP_PORT}`, 'tcp/9100-9110'], port: KNOCK_PORT });
      await stage.postern.posternd(['reload']);
    }
  });

  test('a published port (Docker’s rules) is shown with where it leads, open or behind a knock (P28)', async () => {
    const { server } = stage;
    const docker = new DockerLike(server, 'eth1', { published: PUBLISHED, container: [container.ipv4(), container.ipv6()], inside: 80 });
    await docker.up();
    try {
      const all = await report();
      const rows = all.sockets.filter(({ port }) => port === PUBLISHED);
      assert.deepEqual(rows.map(({ published_to }) => published_to).sort(), [`${container.ipv4()}:80`, `${container.ipv6()}:80`].sort());
      assert.ok(
        rows.every(({ reach }) => reach === 'everyone'),
        JSON.stringify(rows),
      );
      assert.equal((await stage.stranger.connect(server.ipv4(), PUBLISHED)).outcome, 'open');
      stage.postern.writeConfig({ protect: [REQUEST, `tcp/${PUBLISHED}`], port: KNOCK_PORT });
      await stage.postern.posternd(['reload']);
      const gated = (await report()).sockets.filter(({ port }) => port === PUBLISHED);
      assert.ok(gated.length === 2 && gated.every(({ reach }) => reach === 'nobody'), JSON.stringify(gated));
      assert.equal((await stage.stranger.connect(server.ipv4(), PUBLISHED)).outcome, 'timeout');
    } finally {
      stage.postern.writeConfig({ protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`, `udp/${UDP_PORT}`, 'tcp/9100-9110'], port: KNOCK_PORT });
      for (const tool of ['iptables-nft-restore', 'ip6tables-nft-restore'])
        await server.exec([tool], { stdin: '*nat\nCOMMIT\n*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n' });
      await stage.postern.posternd(['reload']);
    }
  });

  test('real ufw: what it drops, what it lets in for some, and that it keeps a protected port shut', {
    skip: neighborMissing('ufw') ?? false,
  }, async () => {
    const { server, client, stranger } = stage;
    const ufw = new Ufw(server);
    try {
      await ufw.ufw('allow', '7001/tcp');
      await ufw.ufw('allow', 'from', client.ipv4(), 'to', 'any', 'port', '7006', 'proto', 'tcp');
      await ufw.ufw('--force', 'enable');
      const all = await report();
      const reach = (port: number): string => rowOf(all, port).reach;
      assert.deepEqual([7001, 7003, 7006, 7004, PORT].map(reach), ['everyone', 'nobody', 'some', 'loopback', 'nobody']);
      assert.match(rowOf(all, 7003).families[0]?.by ?? '', /^ufw drops it \(/);
      assert.match(rowOf(all, PORT).families[0]?.by ?? '', /^protected; ufw drops it \(/);
      assert.ok((await compare(all, stranger, ['everyone'])) >= 18);
      assert.equal((await client.connect(server.ipv4(), 7006)).outcome, 'open', 'the some');
      const exposed = await ports('--exposed', '--json');
      assert.deepEqual(
        (JSON.parse(exposed.stdout) as Report).sockets.map(({ ports: label }) => label),
        ['tcp/7001'],
      );
      await ufw.ufw('--force', 'disable');
    } finally {
      ufw.close();
    }
  });

  test('without root: all sockets, nothing called closed that was not seen to be, and what could not be seen', async () => {
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
    await stage.server.exec(['chmod', '-R', 'a+rX', stage.postern.folder]);
    await stage.server.exec(['chmod', '600', `${stage.postern.folder}/host_ed25519`]);
    const { stdout } = await stage.server.exec([...nobody, ...stage.postern.command(['ports', '--json'])], { mayFail: true });
    const all = JSON.parse(stdout) as Report;
    assert.equal(all.gate, 'unknown');
    assert.deepEqual([rowOf(all, 7001).reach, rowOf(all, 7004).reach, rowOf(all, PORT).reach], ['everyone', 'loopback', 'knock']);
    assert.match(rowOf(all, PORT).families[0]?.by ?? '', /whether the gate is up could not be seen/);
    assert.match(all.notes.join('\n'), /other firewalls do could not be seen/);
    assert.match(all.notes.join('\n'), /processes of other users are hidden/);
  });
});
