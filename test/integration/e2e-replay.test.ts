// Black box: a recorded knock is worth nothing, wherever, whenever and however often it is sent again (P3, P4, P12, P16).
// Each test waits until the server has counted the packet; only then "it stayed closed" means something.
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { lacks } from '../lab/backend.ts';
import { Installation, Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

describe('a recorded knock', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'replay' });
  });
  beforeEach(() => stage.ensureRunning());
  after(() => stage?.close());

  const staysShut = async (address: string) => {
    assert.equal(await stage.kernelGrants(), 0);
    assert.equal(await stage.door(address), 'timeout');
    assert.equal(await stage.door(address, stage.stranger), 'timeout');
  };
  const revoke = () => stage.postern.posternd(['revoke', 'alice']);

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`dies in the kernel from the same and another address, over ${family}`, async () => {
      const recorded = await stage.recordedKnock(address());
      await revoke();
      const [junk, before] = [await stage.counter('junk'), await stage.postern.status()];
      await stage.replay(stage.client, recorded);
      await stage.resend(stage.client, recorded, address());
      await stage.resend(stage.stranger, recorded, address());
      await staysShut(address());
      if (lacks('sieve') !== false) return;
      assert.equal(await stage.counter('junk'), junk + 3 * recorded.frames().length);
      assert.equal((await stage.postern.status()).capture.seen, before.capture.seen, 'the daemon was not woken');
    });

    test(`stays dead after kill -9, a restart and a reload, over ${family} (P12)`, async () => {
      const recorded = await stage.recordedKnock(address());
      await revoke();
      const again = async () => {
        await stage.replay(stage.client, recorded);
        await stage.resend(stage.stranger, recorded, address());
        await staysShut(address());
      };
      await stage.postern.killHard();
      await again();
      await stage.postern.start();
      await again();
      await stage.postern.stop();
      await stage.postern.start();
      await again();
      await stage.postern.posternd(['reload']);
      await again();
      // And a fresh knock is not locked out by any of it.
      assert.match(await stage.knock(address()), /open after/);
      await revoke();
    });

    test(`lost on its way and sent by another: nothing opens for the thief, over ${family} (P3)`, async () => {
      // The original never arrives; its bytes do, from the stranger's address. The knock is bound to the client's.
      const recorded = await stage.lostKnock(address(), '--source', 'bound');
      const before = (await stage.postern.status()).knocks.dropped['relayed'] ?? 0;
      await stage.resend(stage.stranger, recorded, address());
      await waitFor(async () => ((await stage.postern.status()).knocks.dropped['relayed'] ?? 0) > before, {
        what: 'the drop to be counted',
      });
      await staysShut(address());
      // It is spent: the right address cannot use it any more either (P15).
      await stage.resend(stage.client, recorded, address());
      await staysShut(address());
    });

    test(`sent a hundred times in one tick: one grant, over ${family} (P16)`, async () => {
      const recorded = await stage.lostKnock(address());
      const [granted, knocks] = [(await stage.postern.status()).knocks.granted, await stage.counter('knocks')];
      await stage.replay(stage.client, recorded, { loop: 100 });
      await waitFor(async () => (await stage.door(address())) === 'open', { what: 'the door to open' });
      const status = await stage.postern.status();
      assert.equal(status.knocks.granted, granted + 1);
      assert.equal(status.grants.length, 1);
      assert.equal(await stage.counter('knocks'), knocks + (lacks('sieve') === false ? 1 : 100));
      await revoke();
    });
  }

  test('an open that was held back does not undo a later close (P16a)', async () => {
    const address = stage.server.ipv4();
    const held = await stage.lostKnock(address);
    assert.match(await stage.knock(address), /open after/);
    await stage.alice.knock(['close', profileOf(address), REQUEST]);
    await stage.waitForGrants(0);
    await stage.resend(stage.client, held, address);
    await waitFor(async () => ((await stage.postern.status()).knocks.dropped['superseded'] ?? 0) > 0, { what: 'the drop to be counted' });
    await staysShut(address);
  });

  test('a close that is caught and sent from elsewhere closes nothing (P16a)', async () => {
    const address = stage.server.ipv4();
    const held = await stage.lost(['close', profileOf(address), REQUEST, '--source', 'bound', '--retries', '0']);
    assert.match(await stage.knock(address), /open after/);
    const before = (await stage.postern.status()).knocks.dropped['relayed'] ?? 0;
    await stage.resend(stage.stranger, held, address);
    await waitFor(async () => ((await stage.postern.status()).knocks.dropped['relayed'] ?? 0) > before, { what: 'the drop to be counted' });
    assert.equal(await stage.door(address), 'open');
    await revoke();
  });

  test('for one server it is nothing to another that knows the same client (P4)', async () => {
    const other = await stage.lab.host('other');
    await stage.lab.link(stage.client, other);
    await other.listen({ tcp: [8022] });
    const second = await Installation.create(other, { protect: [REQUEST], port: KNOCK_PORT }, rulesFor([stage.alice]));
    try {
      await second.start();
      const recorded = await stage.recordedKnock(stage.server.ipv4());
      await revoke();
      await stage.client.sendUdp(other.ipv4(), KNOCK_PORT, recorded.payloads(KNOCK_PORT));
      await waitFor(async () => (await second.status()).kernel[lacks('sieve') === false ? 'junk' : 'knocks'] > 0, {
        what: 'the other server to count it',
      });
      assert.deepEqual((await second.status()).grants, []);
      assert.equal((await stage.client.connect(other.ipv4(), 8022, { timeoutMs: 400 })).outcome, 'timeout');
    } finally {
      await second.close();
    }
  });

  test('of a client whom the rules do not know: nothing', async () => {
    const mallory = await Knocker.create(stage.client, 'mallory');
    mallory.trust(stage.postern);
    const junk = await stage.counter('junk');
    const knocked = await mallory.knock([stage.server.ipv4(), REQUEST, '--retries', '0', '--timeout', '1s'], { mayFail: true });
    assert.equal(knocked.code, 1);
    if (lacks('sieve') === false) assert.ok((await stage.counter('junk')) > junk);
    await staysShut(stage.server.ipv4());
    mallory.close();
  });
});
