// Black box: a protected UDP service has more addresses than its own. Whoever sits on the same network reaches it by broadcast and multicast, and on
// a router anybody at all by the anycast address of its network; one answer from there would let the stranger in by unicast as well.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Capture } from '../lab/capture.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { inject, pathBetween } from './adversary.ts';
import { frame, groupMac, type Path, packet, UDP, udp } from './frames.ts';

const skip = labMissing() ?? false;
const ANSWERS = `udp src port ${UDP_PORT}`;
const SOURCE_PORT = 5_353;

type Address = { readonly what: string; readonly at: 0 | 1; readonly to: (own: string) => string; readonly mac: 'group' | 'own' };
const GROUPS: readonly Address[] = [
  { what: 'the broadcast address of the network', at: 0, to: (own) => own.replace(/\d+$/, '255'), mac: 'group' },
  { what: 'the limited broadcast address', at: 0, to: () => '255.255.255.255', mac: 'group' },
  { what: 'all hosts, 224.0.0.1', at: 0, to: () => '224.0.0.1', mac: 'group' },
  { what: 'all nodes, ff02::1', at: 1, to: () => 'ff02::1', mac: 'group' },
  { what: 'all routers, ff02::2', at: 1, to: () => 'ff02::2', mac: 'group' },
  { what: "the routers' anycast address", at: 1, to: (own) => own.replace(/::.*$/, '::'), mac: 'own' },
];

describe('a protected UDP port by a group address', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let answers: Capture;
  before(async () => {
    stage = await Stage.create({ label: 'groups' });
    await stage.server.sysctl({ 'net.ipv4.ip_forward': 1, 'net.ipv6.conf.all.forwarding': 1 });
    answers = await stage.server.capture({ direction: 'out', filter: ANSWERS });
  });
  after(async () => {
    await answers?.close();
    await stage?.close();
  });

  const sendTo = async ({ at, to, mac }: Address, text: string) => {
    const own = pathBetween(stage.stranger, stage.server, at);
    const path: Path = { ...own, to: to(own.to), ...(mac === 'group' ? { toMac: groupMac(to(own.to)) } : {}) };
    await inject(stage.stranger, [frame(path, packet(path, UDP, udp(path, { from: SOURCE_PORT, to: UDP_PORT }, Buffer.from(text))))]);
  };
  const answered = async (at: 0 | 1) => (await answers.settle(stage.stranger.addresses()[at])).length;

  for (const group of GROUPS) {
    test(`a stranger gets no answer by ${group.what}`, async () => {
      const [refused, before_] = [await stage.counter('refused'), await answered(group.at)];
      await sendTo(group, 'let me in');
      await waitFor(async () => (await stage.counter('refused')) > refused, { what: 'the gate to refuse it' });
      assert.equal(await answered(group.at), before_);
    });
  }

  for (const { family, at } of FAMILIES) {
    test(`nor by its own address after all of these, over ${family}`, async () => {
      const { replies } = await stage.stranger.sendUdp(stage.server.addresses()[at], UDP_PORT, [Buffer.from('now?')], {
        sourcePort: SOURCE_PORT,
        waitMs: 200,
      });
      assert.deepEqual(replies, []);
    });
  }

  test('without the gate each of them is a way to the service', async () => {
    await stage.postern.posternd(['gate', 'down']);
    for (const group of GROUPS) {
      const before_ = await answered(group.at);
      await sendTo(group, 'anybody there?');
      await waitFor(async () => (await answered(group.at)) > before_, { what: `an answer by ${group.what}` });
    }
  });
});
