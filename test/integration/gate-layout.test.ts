// What the gate covers and what it leaves alone: trusted networks, interfaces, networks behind the host, published ports, its own traffic,
// connections that were there first.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { Firewall, GateLayout } from '../../daemon/firewall/firewall.ts';
import { parseSocketTable } from '../../daemon/firewall/nftables/live-connections.ts';
import { openGate } from './gate-backend.ts';
import {
  CLIENT,
  command,
  dial,
  echoService,
  isEnded,
  knockAtPort,
  LAYOUT,
  type Lab,
  NEIGHBOR,
  network,
  opening,
  openLab,
  port,
  SERVER,
  sendDatagrams,
  talk,
  timed,
  udpSocket,
  until,
  VERSIONS,
} from './gate-lab.ts';

const BEHIND = { 4: '10.78.0.2', 6: 'fd78::2' } as const;

describe('the layout', () => {
  let lab: Lab;
  let gate: Firewall;
  const closing: (() => void)[] = [];
  const put = (layout: Partial<GateLayout> = {}) => gate.install({ ...LAYOUT, ...layout }, []);

  before(async () => {
    lab = openLab({ behind: true });
    for (const number of [22, 9000]) {
      const service = await echoService(number);
      closing.push(() => service.close());
    }
    gate = await openGate({ table: 'postern' });
  });
  after(async () => {
    for (const close of closing) close();
    await gate.release();
    lab.close();
  });

  for (const version of VERSIONS) {
    const [server, client, neighbor] = [SERVER[version], CLIENT[version], NEIGHBOR[version]];
    const attempt = (number: number, from: string = client, host: string = server) => knockAtPort(lab, gate, host, number, from);

    test(`IPv${version}: connections that were there before the gate live on, new ones do not begin (P30f)`, async (t) => {
      await gate.remove();
      const old = await dial(lab, server, 22, client);
      const ranged = await dial(lab, server, 9000, neighbor);
      t.after(() => {
        old.socket.destroy();
        ranged.socket.destroy();
      });
      assert.equal(await old.outcome, 'open');
      assert.equal(await ranged.outcome, 'open');
      // As on a host where nothing tracked connections until now.
      assert.deepEqual(await put(), { fresh: true });
      command('conntrack', '-F');
      assert.equal(await talk(old.socket, 'still here'), true);
      assert.equal(await talk(ranged.socket, 'here too'), true);
      assert.equal(await attempt(22), 'silent');
      assert.equal(await attempt(9000, neighbor), 'silent');
      // Also when nothing is known any more but what the first gate noted.
      assert.deepEqual(await put(), { fresh: false });
      command('conntrack', '-F');
      assert.equal(await talk(old.socket, 'after a reload'), true);
    });

    test(`IPv${version}: trusted networks are never gated`, async () => {
      await put({ trusted: [network(version === 4 ? '10.77.0.3/32' : 'fd77::3/128')] });
      assert.equal(await attempt(22, neighbor), 'open');
      assert.equal(await attempt(22, client), 'silent');
      await put({ trusted: [network(version === 4 ? '10.77.0.2/31' : 'fd77::2/127')] });
      assert.equal(await attempt(22, client), 'open');
    });

    test(`IPv${version}: "refuse: reject" answers like a closed port, TCP and UDP`, async (t) => {
      await put({ refuse: 'reject' });
      assert.equal(await attempt(22), 'refused');
      assert.equal(await attempt(9000), 'refused');
      const socket = await udpSocket(lab.asClient, version, 0, client);
      t.after(() => socket.close());
      await new Promise<void>((resolve) => socket.connect(5555, server, resolve));
      const refused = once(socket, 'message').catch((error: NodeJS.ErrnoException) => error.code);
      socket.send('hello');
      assert.equal(await refused, 'ECONNREFUSED');
      await gate.open([timed(opening('grant', client, 'tcp/22'), 30_000)]);
      assert.equal(await attempt(22), 'open');
    });

    test(`IPv${version}: UDP opens and closes too, and its answers pass`, async (t) => {
      await put();
      const service = await udpSocket((action) => Promise.resolve(action()), version, 5555);
      t.after(() => service.close());
      service.on('message', (bytes, from) => service.send(bytes, from.port, from.address));
      const refusedBefore = (await gate.counters()).refused;
      await sendDatagrams(lab, [new Uint8Array(8)], server, 5555, client);
      await until(async () => (await gate.counters()).refused === refusedBefore + 1);
      await gate.open([timed(opening('grant', client, 'udp/5555'), 30_000)]);
      const socket = await udpSocket(lab.asClient, version, 0, client);
      t.after(() => socket.close());
      const answer = once(socket, 'message');
      socket.send('hello', 5555, server);
      assert.equal(String((await answer)[0]), 'hello');
    });

    test(`IPv${version}: what this host began is answered, from a protected port too`, async (t) => {
      await put();
      const remote = await echoService(7000, '::', lab.asBehind);
      t.after(() => remote.close());
      const socket = connect({ host: BEHIND[version], port: 7000, localPort: 9003 });
      t.after(() => socket.destroy());
      await once(socket, 'connect');
      assert.equal(await talk(socket, 'our own'), true);
    });

    test(`IPv${version}: transit is left alone, except to networks that are gated too (P30c)`, async (t) => {
      const remote = await echoService(22, BEHIND[version], lab.asBehind);
      t.after(() => remote.close());
      await put();
      assert.equal(await attempt(22, client, BEHIND[version]), 'open');
      await put({ networks: [network(version === 4 ? '10.78.0.0/24' : 'fd78::/64')] });
      assert.equal(await attempt(22, client, BEHIND[version]), 'silent');
      const grant = opening('ending', client, 'tcp/22');
      await gate.open([timed(grant, 30_000)]);
      const through = await dial(lab, BEHIND[version], 22, client);
      t.after(() => through.socket.destroy());
      assert.equal(await through.outcome, 'open');
      assert.equal(await talk(through.socket, 'through'), true);
      await gate.close([grant], true);
      assert.equal(await isEnded(gate, through.socket), true);
    });

    test(`IPv${version}: the gate stands on the given interfaces only`, async () => {
      await put({ interfaces: ['eth1'] });
      assert.equal(await attempt(22), 'open');
      await put({ interfaces: ['eth1', 'eth0'] });
      assert.equal(await attempt(22), 'silent');
    });
  }

  test('a published (DNAT) port opens only after a knock (P28)', async (t) => {
    const remote = await echoService(80, '10.78.0.2', lab.asBehind);
    lab.nft(`table ip publish {
      chain c { type nat hook prerouting priority dstnat; ip daddr 10.77.0.1 tcp dport 8443 dnat to 10.78.0.2:80
      }
    }`);
    t.after(() => {
      remote.close();
      lab.nft('delete table ip publish');
    });
    await put();
    assert.equal(await knockAtPort(lab, gate, SERVER[4], 8443, CLIENT[4]), 'silent');
    await gate.open([timed(opening('grant', CLIENT[4], 'tcp/8443'), 30_000)]);
    const { socket, outcome } = await dial(lab, SERVER[4], 8443, CLIENT[4]);
    assert.equal(await outcome, 'open');
    assert.equal(await talk(socket, 'published'), true);
    socket.destroy();
    assert.equal(await knockAtPort(lab, gate, SERVER[4], 8443, NEIGHBOR[4]), 'silent');
  });

  test('loopback is never gated', async () => {
    await put();
    const socket = connect({ host: '127.0.0.1', port: 22 });
    await once(socket, 'connect');
    socket.destroy();
  });
});

test("reads the kernel's table of sockets: connections to protected ports, both families, no listeners", () => {
  const table = [
    '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
    '   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0',
    '   1: 01004D0A:0016 02004D0A:D431 01 00000000:00000000 02:000AFCE0 00000000     0        0 2 2 0 20 4 30 10 -1',
    '   2: 01004D0A:0050 02004D0A:D432 01 00000000:00000000 02:000AFCE0 00000000     0        0 2 2 0 20 4 30 10 -1',
    '   3: 01004D0A:0016 02004D0A:D433 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0',
    '   4: 0000000000000000FFFF000001004D0A:0016 0000000000000000FFFF000003004D0A:1234 01 0:0 0:0 0 0 0 0',
    '   5: 000077FD000000000000000001000000:0016 000077FD000000000000000002000000:1235 08 0:0 0:0 0 0 0 0',
    'rubbish',
  ].join('\n');
  const flows = parseSocketTable(table, [port('tcp/22'), port('udp/80')]);
  assert.deepEqual(
    flows.map(({ peer, peerPort, local, localPort }) => `${peer.text} ${peerPort} ${local.text} ${localPort}`),
    ['10.77.0.2 54321 10.77.0.1 22', '10.77.0.3 4660 10.77.0.1 22', 'fd77::2 4661 fd77::1 22'],
  );
});
