// The sieve against real datagrams: a tag is good for exactly one packet, junk never gets through, transit is left alone.
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Firewall, GateLayout } from '../../daemon/firewall/firewall.ts';
import { openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import {
  CLIENT,
  command,
  datagram,
  LAYOUT,
  type Lab,
  NEIGHBOR,
  openLab,
  SERVER,
  sendDatagrams,
  tagNumber,
  udpSocket,
  until,
  VERSIONS,
} from './gate-lab.ts';

const MINUTE_MS = 60_000;

describe('the sieve', () => {
  let lab: Lab;
  let gate: Firewall;
  let armed = 0;

  const put = (layout: Partial<GateLayout> = {}) => gate.install({ ...LAYOUT, ...layout }, []);
  const freshTag = async (): Promise<Uint8Array> => {
    armed += 1;
    const tag = tagNumber(armed);
    await gate.arm([tag], MINUTE_MS);
    return tag;
  };
  /** What the counters of the sieve gained while `action` ran and until as many packets as expected were counted. */
  const counted = async (packets: number, action: () => Promise<void>): Promise<{ knocks: number; junk: number }> => {
    const before = await gate.counters();
    await action();
    let gained = { knocks: 0, junk: 0 };
    await until(async () => {
      const now = await gate.counters();
      gained = { knocks: now.knocks - before.knocks, junk: now.junk - before.junk };
      return gained.knocks + gained.junk >= packets;
    });
    return gained;
  };
  const send = (tags: readonly Uint8Array[], host: string, from: string, port = 62201) =>
    sendDatagrams(lab, tags.map(datagram), host, port, from);

  before(async () => {
    lab = openLab({ behind: true });
    gate = await openNftables({ table: 'postern' });
    await put();
  });
  after(async () => {
    await gate.release();
    lab.close();
  });

  for (const version of VERSIONS) {
    test(`IPv${version}: a tag is good for one packet; its replay is junk, from there and from elsewhere`, async () => {
      const tag = await freshTag();
      assert.deepEqual(await counted(1, () => send([tag], SERVER[version], CLIENT[version])), { knocks: 1, junk: 0 });
      assert.deepEqual(await counted(2, () => send([tag, tag], SERVER[version], CLIENT[version])), { knocks: 0, junk: 2 });
      assert.deepEqual(await counted(1, () => send([tag], SERVER[version], NEIGHBOR[version])), { knocks: 0, junk: 1 });
    });

    test(`IPv${version}: every bit of the tag counts (P2)`, async () => {
      const tag = await freshTag();
      const flipped = Array.from({ length: 128 }, (_, bit) => tag.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte)));
      assert.deepEqual(await counted(128, () => send(flipped, SERVER[version], CLIENT[version])), { knocks: 0, junk: 128 });
      assert.deepEqual(await counted(1, () => send([tag], SERVER[version], CLIENT[version])), { knocks: 1, junk: 0 });
    });

    test(`IPv${version}: a datagram too short for a tag is junk`, async () => {
      const short = Array.from({ length: 16 }, (_, length) => new Uint8Array(length));
      assert.deepEqual(await counted(16, () => sendDatagrams(lab, short, SERVER[version], 62201, CLIENT[version])), {
        knocks: 0,
        junk: 16,
      });
    });

    test(`IPv${version}: knocks for another host pass through, tags of ours and all (P30c)`, async () => {
      const host = version === 4 ? '10.78.0.2' : 'fd78::2';
      const socket = await udpSocket(lab.asBehind, version, 62201);
      const heard: string[] = [];
      socket.on('message', (bytes) => heard.push(bytes.subarray(0, 16).toString('hex')));
      const before = await gate.counters();
      await send([tagNumber(900_001), tagNumber(900_002)], host, CLIENT[version]);
      await until(() => heard.length === 2);
      assert.deepEqual(await gate.counters(), before);
      socket.close();
    });
  }

  test('tags stay armed for their time and no longer, and can be disarmed', async () => {
    const tags = [await freshTag(), await freshTag(), await freshTag()];
    await gate.disarm(tags.slice(0, 1));
    await gate.disarm(tags.slice(0, 1));
    assert.deepEqual(await counted(2, () => send(tags.slice(0, 2), SERVER[4], CLIENT[4])), { knocks: 1, junk: 1 });
    await gate.disarmAll();
    assert.deepEqual(await counted(1, () => send(tags.slice(2), SERVER[4], CLIENT[4])), { knocks: 0, junk: 1 });
    const brief = tagNumber(800_000);
    await gate.arm([brief], 1000);
    const lasting = tagNumber(800_001);
    await gate.arm([lasting], MINUTE_MS);
    await sleep(1100); // The kernel announces no timeouts.
    assert.deepEqual(await counted(2, () => send([brief, lasting], SERVER[4], CLIENT[4])), { knocks: 1, junk: 1 });
  });

  test('arms many tags twice without an error, and nft can still list the set', async () => {
    await gate.disarmAll();
    const tags = Array.from({ length: 3500 }, (_, at) => tagNumber(100_000 + at));
    await gate.arm(tags, MINUTE_MS);
    await gate.arm(tags, MINUTE_MS);
    assert.equal(command('nft', '-j', 'list', 'set', 'inet', 'postern', 'tags').match(/"expires"/g)?.length, 3500);
    await gate.disarm(tags);
    assert.equal(command('nft', '-j', 'list', 'set', 'inet', 'postern', 'tags').match(/"expires"/g), null);
  });

  for (const [unmatched, answer] of [
    ['drop', 'silent'],
    ['pass', 'refused'],
  ] as const) {
    test(`with "unmatched: ${unmatched}" a knock, a replay and junk get the same answer: ${answer} (P20)`, async () => {
      await put({ unmatched });
      for (const version of VERSIONS) {
        const tag = await freshTag();
        for (const [what, payload] of [
          ['a knock', tag],
          ['its replay', tag],
          ['junk', tagNumber(999_999)],
        ] as const) {
          assert.equal(await answerTo(payload, version), answer, `${what}, IPv${version}`);
        }
        assert.equal(await answerTo(tag, version, 62_202), 'refused', 'any closed port');
      }
      await put();
    });
  }

  /** What a connected socket of the client hears: an ICMP error, or nothing although the sieve has counted the packet. */
  async function answerTo(tag: Uint8Array, version: 4 | 6, port = 62201): Promise<'silent' | 'refused'> {
    const socket = await udpSocket(lab.asClient, version, 0, CLIENT[version]);
    await new Promise<void>((resolve) => socket.connect(port, SERVER[version], resolve));
    const refused = new Promise<'refused'>((resolve) => {
      socket.once('error', () => resolve('refused'));
    });
    if (port !== 62201) {
      socket.send(datagram(tag));
      const answer = await refused;
      socket.close();
      return answer;
    }
    await counted(1, async () => socket.send(datagram(tag)));
    // On a veth pair the answer is there when the packet was counted; the pause is for Node to read it.
    const answer = await Promise.race([refused, sleep(100).then(() => 'silent' as const)]);
    socket.close();
    return answer;
  }

  for (const unmatched of ['drop', 'pass'] as const) {
    test(`handing to a socket ("pass"), unmatched ${unmatched}: a knock arrives once`, async () => {
      await put({ sieve: { kind: 'pass', to: 'socket' }, unmatched });
      const socket: Socket = createSocket({ type: 'udp6' }).bind(62201);
      await once(socket, 'listening');
      const heard: number[] = [];
      socket.on('message', (bytes) => heard.push(bytes.readUInt32BE(0)));
      const [tag, last] = [await freshTag(), await freshTag()];
      const number = (bytes: Uint8Array) => Buffer.from(bytes).readUInt32BE(0);
      await send([tag, tag, tagNumber(777_777), last], SERVER[4], CLIENT[4]);
      await until(() => heard.includes(number(last)));
      const junk = unmatched === 'drop' ? [] : [number(tag), 777_777];
      assert.deepEqual(heard, [number(tag), ...junk, number(last)]);
      socket.close();
      await put();
    });
  }

  test('without a sieve the knock port is nothing special, and arming says that there is none', async () => {
    await put({ sieve: { kind: 'none' } });
    assert.doesNotMatch(command('nft', 'list', 'table', 'inet', 'postern'), /sieve|knock {|tags/);
    await assert.rejects(gate.arm([tagNumber(1)], MINUTE_MS), { code: 'GATE_MISSING' });
    await put();
  });

  test('looks for knocks on the given interfaces only', async () => {
    await put({ interfaces: ['eth1', 'eth9'] });
    const before = await gate.counters();
    const tag = await freshTag();
    await send([tag], SERVER[4], CLIENT[4]);
    await put({ interfaces: ['eth0'] });
    assert.deepEqual(await gate.counters(), before);
    await gate.arm([tag], MINUTE_MS);
    assert.deepEqual(await counted(1, () => send([tag], SERVER[4], CLIENT[4])), { knocks: 1, junk: 0 });
    await put();
  });
});
