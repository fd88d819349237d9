// Connections that end with their grant, against the real kernel: one-shots whose one connection ends, and those bound to a source port.
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Firewall, TimedOpening } from '../../daemon/firewall/firewall.ts';
import { openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import { openingsOf } from '../../daemon/grants/openings.ts';
import {
  address,
  CLIENT,
  command,
  dial,
  echoService,
  knockAtPort,
  LAYOUT,
  type Lab,
  NEIGHBOR,
  opening,
  openLab,
  port,
  SERVER,
  talk,
  timed,
  udpSocket,
  until,
  VERSIONS,
} from './gate-lab.ts';

describe('sessions that end with their grant', () => {
  let lab: Lab;
  let gate: Firewall;
  let service: { readonly close: () => void };

  before(async () => {
    lab = openLab();
    service = await echoService(22);
    gate = await openNftables({ table: 'postern' });
    await gate.install(LAYOUT, []);
  });
  afterEach(async () => {
    await gate.close(
      (await gate.standing()).map((standing) => standing.opening),
      false,
    );
  });
  after(async () => {
    service.close();
    await gate.release();
    lab.close();
  });

  /** All that a grant of this kind puts into the kernel. */
  const grantOf = (
    kind: 'once-ending' | 'bound-ending',
    from: string,
    to = 'tcp/22',
    remainingMs = 30_000,
    sourcePort = 0,
  ): TimedOpening[] => openingsOf({ kind, address: address(from), ports: [port(to)], sourcePort }).map((each) => timed(each, remainingMs));
  const kinds = async () => (await gate.standing()).map((standing) => standing.opening.kind);

  for (const version of VERSIONS) {
    const [server, client, neighbor] = [SERVER[version], CLIENT[version], NEIGHBOR[version]];
    const attempt = (from: string = client, sourcePort = 0) => knockAtPort(lab, gate, server, 22, from, sourcePort);

    test(`IPv${version}: a one-shot admits one connection, which ends with the grant by the kernel's clock`, async () => {
      await gate.open(grantOf('once-ending', client, 'tcp/22', 2500));
      assert.equal(await attempt(neighbor), 'silent');
      const { socket, outcome } = await dial(lab, server, 22, client);
      assert.equal(await outcome, 'open');
      assert.deepEqual(await kinds(), ['lasting'], 'what admits is spent');
      assert.equal(await attempt(), 'silent', 'a second connection');
      assert.equal(await talk(socket, 'while it stands'), true);
      await until(async () => (await gate.standing()).length === 0);
      const { ended } = await gate.counters();
      assert.equal(await talk(socket, 'after its end'), false);
      assert.ok((await gate.counters()).ended > ended);
    });

    test(`IPv${version}: what makes a used one-shot last admits nobody, and closing it ends the connection`, async () => {
      const grant = grantOf('once-ending', client);
      await gate.open(grant);
      const { socket, outcome } = await dial(lab, server, 22, client);
      assert.equal(await outcome, 'open');
      assert.equal(await talk(socket, 'here'), true);
      // As after a flush: the daemon knows that the one-shot was used.
      await gate.install(LAYOUT, grant.slice(1));
      assert.equal(await talk(socket, 'after the gate was replaced'), true);
      assert.equal(await attempt(), 'silent');
      await gate.close(
        grant.map((each) => each.opening),
        false,
      );
      assert.equal(await talk(socket, 'after its end'), false);
    });

    test(`IPv${version}: revoking it cuts the connection at once`, async () => {
      const grant = grantOf('once-ending', client);
      await gate.open(grant);
      const { socket, outcome } = await dial(lab, server, 22, client);
      assert.equal(await outcome, 'open');
      const ended = new Promise((resolve) => socket.once('close', resolve));
      await gate.close(
        grant.map((each) => each.opening),
        true,
      );
      await ended;
      assert.equal(await attempt(), 'silent');
    });

    for (const [where, hook, match] of [
      ['a SYN lost behind the gate', 'input', 'tcp dport 22 tcp flags & (syn|ack) == syn'],
      ['a lost answer', 'output', 'tcp sport 22 tcp flags & (syn|ack) == (syn|ack)'],
    ] as const) {
      test(`IPv${version}: it still connects after ${where}, and still ends (P30a)`, async () => {
        // A SYN has 60 or 80 bytes: the quota holds the first one only.
        lab.nft(`table inet loss {
          counter lost { }
          chain lossy { type filter hook ${hook} priority 0; ${match} quota until 100 bytes counter name lost drop
          }
        }`);
        const grant = grantOf('once-ending', client);
        await gate.open(grant);
        const { socket, outcome } = await dial(lab, server, 22, client);
        assert.equal(await outcome, 'open');
        assert.match(command('nft', 'list', 'counter', 'inet', 'loss', 'lost'), /packets 1 /);
        lab.nft('delete table inet loss');
        assert.equal(await talk(socket, 'here'), true);
        assert.equal(await attempt(), 'silent');
        await gate.close(
          grant.map((each) => each.opening),
          false,
        );
        assert.equal(await talk(socket, 'after its end'), false);
      });
    }

    test(`IPv${version}: UDP that is never answered is one flow, and ends with the grant too`, async (t) => {
      const heard: string[] = [];
      const mute = await udpSocket((action) => Promise.resolve(action()), version, 5555);
      mute.on('message', (bytes) => heard.push(bytes.toString()));
      const [one, other] = [await udpSocket(lab.asClient, version, 0, client), await udpSocket(lab.asClient, version, 0, client)];
      t.after(() => {
        for (const socket of [mute, one, other]) socket.close();
      });
      const send = async (socket: typeof one, text: string): Promise<void> => {
        const before = (await gate.counters()).refused;
        socket.send(text, 5555, server);
        await until(async () => heard.includes(text) || (await gate.counters()).refused > before);
      };
      const grant = grantOf('once-ending', client, 'udp/5555');
      await gate.open(grant);
      await send(one, 'first');
      await send(other, 'of another socket');
      await send(one, 'second');
      await gate.close(
        grant.map((each) => each.opening),
        false,
      );
      await send(one, 'after its end');
      assert.deepEqual(heard, ['first', 'second']);
    });

    test(`IPv${version}: an opening for one source port admits that port only, and its connection ends with it`, async () => {
      const grant = grantOf('bound-ending', client, 'tcp/22', 30_000, 40_122);
      await gate.open(grant);
      assert.deepEqual(
        (await gate.standing()).map((standing) => standing.opening),
        grant.map((each) => each.opening),
      );
      assert.equal(await attempt(client, 40_123), 'silent');
      const { socket, outcome } = await dial(lab, server, 22, client, 40_122);
      assert.equal(await outcome, 'open');
      assert.equal(await talk(socket, 'here'), true);
      await gate.close(
        grant.map((each) => each.opening),
        false,
      );
      assert.equal(await talk(socket, 'after its end'), false);
    });

    test(`IPv${version}: a one-shot that keeps its connection is not ended by one beside it that does not (P30)`, async () => {
      await gate.open([timed(opening('once', client, 'tcp/22'), 30_000)]);
      const kept = await dial(lab, server, 22, client);
      assert.equal(await kept.outcome, 'open');
      const grant = grantOf('once-ending', client);
      await gate.open(grant);
      const ending = await dial(lab, server, 22, client);
      assert.equal(await ending.outcome, 'open');
      for (const { socket } of [kept, ending]) assert.equal(await talk(socket, 'both live'), true);
      await gate.close(
        grant.map((each) => each.opening),
        false,
      );
      assert.equal(await talk(kept.socket, 'kept'), true);
      assert.equal(await talk(ending.socket, 'ended'), false);
      kept.socket.destroy();
    });
  }
});
