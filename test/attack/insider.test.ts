// Black box: mallory has a key and a rule of their own (udp/8053, a minute at most, no address but the sender's) and wants more: the services,
// addresses, slots and log of others.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type IpAddress, parseAddress } from '../../protocol/address.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import type { Protocol } from '../../protocol/ports.ts';
import { openPorts } from '../lab/backend.ts';
import { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { KNOCK_PORT, PORT, profileOf, REQUEST, rulesFor, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { deliver, Mint, pathBetween } from './adversary.ts';
import { FLAG, frame, packet, TCP, tcp, UDP, udp } from './frames.ts';

const skip = labMissing() ?? false;
const MOST_SECONDS = 60;
const MOST_LINES_A_MINUTE = 6;

describe('a client who may do little', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let mallory: Knocker;
  let mint: Mint;
  before(async () => {
    stage = await Stage.create({ label: 'insider', start: false });
    mallory = await Knocker.create(stage.stranger, 'mallory');
    const rules = { ...rulesFor([mallory], [{ services: [`udp/${UDP_PORT}`], ttl: '20s', max_ttl: `${MOST_SECONDS}s` }]), name: 'mallory' };
    writeFileSync(join(stage.postern.folder, 'rules.d', 'mallory.yaml'), JSON.stringify(rules));
    await stage.postern.start();
    mint = new Mint(mallory, stage.postern);
  });
  after(async () => {
    mallory?.close();
    await stage?.close();
  });

  const ports = (protocol: Protocol, first: number, last = first): KnockBody['requests'] => [
    { kind: 'ports', ports: { protocol, first, last } },
  ];
  const own = ports('udp', UDP_PORT);
  const opened = async () => openPorts((argv, options) => stage.server.exec(argv, options));
  const send = async (body: Partial<KnockBody>, from?: string) => {
    const path = pathBetween(stage.stranger, stage.server, 0, from === undefined ? {} : { from });
    const knock = udp(path, { from: 40_000, to: KNOCK_PORT }, mint.packet({ requests: own, ...body }));
    await deliver(stage.stranger, stage.server, [frame(path, packet(path, UDP, knock))]);
  };
  const dropped = async (reason: string) => (await stage.postern.status()).knocks.dropped[reason] ?? 0;
  const revoke = (who: string) => stage.postern.posternd(['revoke', who], { mayFail: true });

  for (const { what, body, from, reason } of [
    { what: "the service of another client's rule", body: () => ({ requests: ports('tcp', PORT) }), reason: 'not-allowed' },
    { what: 'their own service together with another', body: () => ({ requests: [...own, ...ports('tcp', PORT)] }), reason: 'not-allowed' },
    { what: 'every port at once', body: () => ({ requests: ports('udp', 1, 65_535) }), reason: 'not-allowed' },
    { what: 'a service that nobody defined', body: () => ({ requests: [{ kind: 'service', name: 'root' }] }), reason: 'unknown-service' },
    { what: 'an opening for the address of another', body: () => bound(stage.client.ipv4()), reason: 'relayed' },
    { what: 'an opening for everybody', body: () => bound('255.255.255.255'), from: '255.255.255.255', reason: undefined },
    { what: 'an opening for the server itself', body: () => ({}), from: '127.0.0.1', reason: undefined },
  ] as { what: string; body: () => Partial<KnockBody>; from?: string; reason: string | undefined }[]) {
    test(`gets nothing by a knock for ${what}`, async () => {
      const before_ = reason === undefined ? 0 : await dropped(reason);
      await send(body(), from);
      if (reason !== undefined) await waitFor(async () => (await dropped(reason)) > before_, { what: `a drop: ${reason}` });
      // Their own service is still theirs: what was asked for before has been judged.
      await send({});
      await waitFor(async () => (await opened()).length > 0, { what: 'the opening that is theirs' });
      assert.deepEqual(await opened(), [`${stage.stranger.ipv4()} udp ${UDP_PORT}`]);
      await revoke('mallory');
    });
  }

  test('gets no more time than the rule gives, whatever is asked for', async () => {
    await send({ action: { kind: 'open', lifetimeSeconds: 0xffff_ffff, once: false } });
    await waitFor(async () => (await opened()).length > 0, { what: 'the opening' });
    const [grant] = (await stage.postern.status()).grants;
    assert.ok(grant !== undefined && grant.remaining_seconds <= MOST_SECONDS);
    for (const seconds of await stage.kernelRemaining('IPv4')) assert.ok(seconds <= MOST_SECONDS);
    await revoke('mallory');
  });

  test("closes no grant of another, neither from its address nor by name, and uses up nobody's slots or log", async () => {
    await stage.knock(stage.server.ipv4());
    const said = () => stage.postern.daemon.stdout.split('\n');
    const [before_, refused] = [said().length, await dropped('not-allowed')];
    await send({ action: { kind: 'close' }, requests: [] }, stage.client.ipv4());
    await send({ action: { kind: 'close' }, requests: ports('tcp', PORT) }, stage.client.ipv4());
    // All that is left of the minute's slots, each refused.
    const path = pathBetween(stage.stranger, stage.server, 0);
    const knocks = Array.from({ length: 40 }, () => mint.packet({ requests: ports('tcp', PORT) }));
    await deliver(
      stage.stranger,
      stage.server,
      knocks.map((each) => frame(path, packet(path, UDP, udp(path, { from: 40_000, to: KNOCK_PORT }, each)))),
    );
    await waitFor(async () => (await dropped('not-allowed')) >= refused + knocks.length, { what: 'all of them to be refused' });
    assert.equal(await stage.door(stage.server.ipv4()), 'open', "alice's grant");
    const lines = said()
      .slice(before_ - 1)
      .filter((line) => line.includes('mallory') && line.includes('not-allowed'));
    assert.ok(lines.length <= MOST_LINES_A_MINUTE, lines.join('\n'));
    assert.match(await stage.knock(stage.server.ipv4()), /open/);
    await revoke('alice');
  });

  test('who forges a SYN in the name of a one-shot spends it and gets nothing: its owner knocks again', async () => {
    await stage.alice.knock([profileOf(stage.server.ipv4()), REQUEST, '--once']);
    const listed = async () => (await stage.postern.status()).grants.length;
    await waitFor(async () => (await listed()) === 1, { what: 'the one-shot' });
    const path = pathBetween(stage.stranger, stage.server, 0, { from: stage.client.ipv4() });
    await deliver(stage.stranger, stage.server, [
      frame(path, packet(path, TCP, tcp(path, { from: 40_002, to: PORT }, { flags: FLAG.syn }))),
    ]);
    assert.equal(await stage.door(stage.server.ipv4()), 'timeout');
    assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
    assert.match(await stage.knock(stage.server.ipv4()), /open after/);
    await revoke('alice');
  });

  test('a service name made of words for the terminal is malformed, and reaches no line as it is', async () => {
    const words = Buffer.from('\u001b]0;x\u0007\n<6>a');
    const before_ = await dropped('malformed');
    const path = pathBetween(stage.stranger, stage.server, 0);
    const knock = mint.forged({ requests: [{ kind: 'service', name: 'n'.repeat(words.length) }] }, (body) =>
      body.set(words, body.length - words.length),
    );
    await deliver(stage.stranger, stage.server, [frame(path, packet(path, UDP, udp(path, { from: 40_000, to: KNOCK_PORT }, knock)))]);
    await waitFor(async () => (await dropped('malformed')) > before_, { what: 'it to be dropped' });
    // What was summed up is told at the end.
    await stage.postern.stop();
    assert.match(stage.postern.daemon.stdout, /malformed/);
    const audit = readFileSync(stage.postern.auditFile, 'utf8');
    for (const line of [...audit.split('\n'), ...stage.postern.daemon.stdout.split('\n')].filter(Boolean)) {
      assert.ok(!/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(line), line);
      if (line.startsWith('{')) JSON.parse(line);
    }
  });
});

function bound(text: string): Partial<KnockBody> {
  const parsed = parseAddress(text);
  assert.ok(parsed.ok);
  const address: IpAddress = parsed.value;
  return { source: { kind: 'bound', address } };
}
