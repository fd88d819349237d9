// What strangers can cost the daemon, and users of each other: junk of every kind, a million senders, a removal that fails. Real packets and
// books, a firewall in memory.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { addressFromBytes } from '../../protocol/address.ts';
import { ALICE, BOB, HOME, running, SSH_HOME } from '../fakes/daemon-host.ts';

const MIB = 1024 * 1024;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

test('P17 a right tag over a wrong seal is opened and dropped, however often: no mark, no grant, and the knock itself still counts', async (context) => {
  const { host, postern } = await running(context);
  const knock = host.knock(ALICE, 1);
  const forged = Array.from({ length: 2_000 }, () => {
    const packet = knock.slice();
    packet.set(randomBytes(packet.length - 60), 60);
    return packet;
  });
  const junk = forged.map(() => new Uint8Array(randomBytes(200)));
  const short = forged.map(() => new Uint8Array(randomBytes(100)));
  for (const [what, reason, packets] of [
    ['wrong length', 'length', short],
    ['wrong tag', 'unknown-tag', junk],
    ['right tag, wrong seal', 'seal', forged],
  ] as const) {
    const cpu = process.cpuUsage();
    const said = new Set<string>();
    for (const packet of packets) for (const each of await host.deliver(postern, packet)) said.add(each);
    context.diagnostic(`${what}: ${(process.cpuUsage(cpu).user / packets.length).toFixed(1)} µs of CPU a packet`);
    assert.deepEqual([...said], [reason]);
  }
  assert.deepEqual(host.kernel.keys(), []);
  assert.deepEqual(await host.deliver(postern, knock), ['granted']);
});

test('P18 a million senders leave nothing behind in memory', async (context) => {
  const { host, postern } = await running(context);
  const payload = new Uint8Array(randomBytes(200));
  const source = new Uint8Array(16);
  const flood = async (from: number, to: number) => {
    for (let sender = from; sender < to; sender += 1) {
      new DataView(source.buffer).setUint32(12, sender);
      source[0] = 0xfd;
      await postern.receive({ payload, source: addressFromBytes(source), sourcePort: sender & 0xffff });
      if (sender % 1_000 === 0) host.decisions.length = 0; // the test's own memory
    }
    host.decisions.length = 0;
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const before = await flood(0, 50_000);
  const after = await flood(50_000, 1_000_000);
  assert.ok(after - before < 2 * MIB, `${((after - before) / MIB).toFixed(1)} MiB for 950,000 senders`);
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
});

test("P19 junk and forgeries from a user's own address keep that user out of nothing", async (context) => {
  const { host, postern } = await running(context);
  const old = host.knock(ALICE, 1);
  await host.deliver(postern, old);
  for (let round = 0; round < 5_000; round += 1) {
    await postern.receive({
      payload: round % 2 === 0 ? new Uint8Array(randomBytes(200)) : old,
      source: addressFromBytes(HOME_BYTES),
      sourcePort: 9,
    });
  }
  host.time.advance(61_000);
  await postern.tick();
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 2)), ['granted']);
  assert.deepEqual(await host.deliver(postern, host.knock(BOB, 2)), ['granted']);
});

test('P23 one opening that the kernel will not close keeps no other grant from ending', async (context) => {
  const { host, postern } = await running(context);
  // More than end in one transaction.
  host.config('max_grants: 1000\n');
  await postern.reload();
  for (let nth = 0; nth < 260; nth += 1) {
    const at = nth % 13;
    if (nth > 0 && at === 0) host.time.advance(60_000);
    if (nth > 0 && at === 0) await postern.tick();
    const action = { kind: 'open', lifetimeSeconds: 3600, once: false } as const;
    const [said] = await host.deliver(postern, host.knock(ALICE, at, { action }), `198.18.${nth >> 8}.${nth & 255}`);
    assert.equal(said, 'granted');
  }
  await host.deliver(postern, host.knock(BOB, 1));
  host.kernel.stuckAt = 'grant 198.18.0.3 tcp 22 0';
  await assert.rejects(async () => postern.revoke('alice', false));
  const left = host.kernel.keys();
  assert.ok(left.includes(SSH_HOME), "bob's");
  assert.ok(!left.includes('grant 198.18.1.3 tcp 22 0'), 'those of another transaction are closed');
  assert.deepEqual(
    postern.grants.all().map(({ client }) => client),
    ['bob'],
    'and none of them comes back with a gate that is loaded anew',
  );
});

const HOME_BYTES = Uint8Array.from(HOME.split('.'), Number);
