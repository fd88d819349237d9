// Things that happen at the same instant: two packets for one tag or one one-shot, a flood while the gate is replaced.
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Firewall, GateLayout } from '../../daemon/firewall/firewall.ts';
import { type Conversation, converse } from '../../daemon/firewall/nftables/conversation.ts';
import { openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import { readElements } from '../../daemon/firewall/nftables/reading.ts';
import {
  address,
  CLIENT,
  datagram,
  LAYOUT,
  type Lab,
  opening,
  openLab,
  port,
  SERVER,
  sendDatagrams,
  tagNumber,
  timed,
  until,
} from './gate-lab.ts';
import { AF_INET, AF_INET6, IPPROTO_RAW, newControl, SOCK_DGRAM, SOCK_RAW, socketAddress, startSender, synPacket } from './gate-sender.ts';

const ROUNDS = 2000;
const REPLACEMENTS = 200;

describe('at the same instant', () => {
  let lab: Lab;
  let gate: Firewall;
  let reader: Conversation;

  before(async () => {
    lab = openLab();
    gate = await openNftables({ table: 'postern' });
    reader = converse();
  });
  after(async () => {
    await gate.release();
    await reader.close();
    lab.close();
  });

  test('two processors, one tag: exactly one passes (P30d)', async () => {
    await gate.install(LAYOUT, []);
    const tags = Array.from({ length: ROUNDS }, (_, at) => tagNumber(at));
    await gate.arm(tags, 120_000);
    const control = newControl();
    const senders = await Promise.all(
      [0, 1].map(() =>
        startSender({
          namespace: lab.client,
          socket: [AF_INET, SOCK_DGRAM, 0],
          from: undefined,
          to: socketAddress(address(SERVER[4]).bytes, 62201),
          packets: tags.map(datagram),
          mode: 'together',
          threads: 2,
          control,
        }),
      ),
    );
    await Promise.all(senders.map(({ ended }) => ended));
    await until(async () => {
      const { knocks, junk } = await gate.counters();
      return knocks + junk >= (control[2] ?? 0);
    });
    const { knocks, junk } = await gate.counters();
    assert.deepEqual({ knocks, junk }, { knocks: ROUNDS, junk: (control[2] ?? 0) - ROUNDS });
  });

  test('two processors, one one-shot: exactly one connection passes (P30d)', async () => {
    const first = 20_000;
    await gate.install({ ...LAYOUT, protect: [port(`tcp/${first}-${first + ROUNDS - 1}`)] }, []);
    await gate.open(Array.from({ length: ROUNDS }, (_, at) => timed(opening('once', CLIENT[4], `tcp/${first + at}`), 120_000)));
    const control = newControl();
    const [from, to] = [address(CLIENT[4]).bytes, address(SERVER[4]).bytes];
    const senders = await Promise.all(
      [1111, 2222].map((sourcePort) =>
        startSender({
          namespace: lab.client,
          socket: [AF_INET, SOCK_RAW, IPPROTO_RAW],
          from: undefined,
          to: socketAddress(to, 0),
          packets: Array.from({ length: ROUNDS }, (_, at) => synPacket(from, to, sourcePort, first + at)),
          mode: 'together',
          threads: 2,
          control,
        }),
      ),
    );
    await Promise.all(senders.map(({ ended }) => ended));
    assert.equal(control[2], 2 * ROUNDS);
    const admitted = (): readonly string[] =>
      readElements(reader, 'postern', 'admitted4').map(({ key }) => Buffer.from(key).toString('hex'));
    await until(async () => admitted().length + (await gate.counters()).refused >= 2 * ROUNDS);
    assert.equal(new Set(admitted().map((key) => key.slice(-8))).size, ROUNDS, 'each port admitted somebody');
    assert.equal(admitted().length, ROUNDS, 'and nobody else');
    assert.deepEqual(await gate.standing(), []);
  });

  test('a flood while the gate is replaced, structure and all: nothing slips through (P30e)', async (t) => {
    const layouts: readonly GateLayout[] = [
      { ...LAYOUT, protect: ['udp/5555', 'udp/6000-6010'].map(port) },
      { ...LAYOUT, protect: ['tcp/22', 'udp/5555', 'udp/6000-6010', 'udp/7000'].map(port), refuse: 'reject', interfaces: ['eth0'] },
    ];
    const [one, other] = layouts;
    assert.ok(one !== undefined && other !== undefined);
    await gate.install(one, []);
    let slipped = 0;
    const services = await Promise.all(
      ([4, 6] as const).flatMap((version) =>
        [5555, 6005].map(async (number) => {
          const socket = createSocket({ type: version === 4 ? 'udp4' : 'udp6', ipv6Only: version === 6 }).bind(number);
          await once(socket, 'listening');
          socket.on('message', () => {
            slipped += 1;
          });
          return socket;
        }),
      ),
    );
    const control = newControl();
    t.after(() => {
      Atomics.store(control, 0, 1);
      for (const service of services) service.close();
    });
    const flood = ([version, number]: readonly [4 | 6, number]) =>
      startSender({
        namespace: lab.client,
        socket: [version === 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0],
        from: undefined,
        to: socketAddress(address(SERVER[version]).bytes, number),
        packets: [new Uint8Array(32)],
        mode: 'flood',
        threads: 0,
        control,
      });
    const senders = await Promise.all(
      (
        [
          [4, 5555],
          [6, 6005],
        ] as const
      ).map(flood),
    );
    for (let round = 0; round < REPLACEMENTS; round += 1) {
      await gate.install(round % 2 === 0 ? other : one, []);
      // Packets that slipped would be read now.
      await sleep(1);
    }
    Atomics.store(control, 0, 1);
    await Promise.all(senders.map(({ ended }) => ended));
    assert.ok((control[2] ?? 0) > 10_000, `${control[2]} packets`);
    assert.equal(slipped, 0, `of ${control[2]} packets`);
    // The same service hears the client as soon as it may.
    await gate.open([timed(opening('grant', CLIENT[4], 'udp/5555'), 30_000)]);
    await sendDatagrams(lab, [new Uint8Array(32)], SERVER[4], 5555, CLIENT[4]);
    await until(() => slipped === 1);
  });
});
