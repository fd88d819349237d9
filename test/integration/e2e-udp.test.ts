// Black box: the fallback for hosts without the packet log. A UDP socket listens, everything else holds as with it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, Stage } from '../lab/stage.ts';

const skip = labMissing() ?? false;

describe('capture: udp', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'udp', config: { capture: 'udp' } });
  });
  after(() => stage?.close());

  test('says so in status, and ss shows the socket', async () => {
    assert.equal((await stage.postern.status()).capture.name, 'udp');
    assert.match((await stage.server.exec(['ss', '-H', '-n', '-l', '-u'])).stdout, new RegExp(`:${KNOCK_PORT} `));
  });

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`closed before, open after, closed again on time, over ${family}`, async () => {
      assert.equal(await stage.door(address()), 'timeout');
      assert.match(await stage.knock(address(), '-t', '2s'), /open after/);
      assert.equal(await stage.door(address()), 'open');
      assert.equal(await stage.door(address(), stage.stranger), 'timeout');
      await stage.untilShut(address(), 4_000);
    });

    test(`answers nothing and opens nothing to junk and replays, over ${family} (P7, P20)`, async () => {
      const recorded = await stage.recordedKnock(address());
      await stage.postern.posternd(['revoke', 'alice']);
      const capture = await stage.server.capture({
        direction: 'out',
        filter: `udp src port ${KNOCK_PORT} or icmp or (icmp6 and ip6[40] < 128)`,
      });
      await stage.client.sendUdp(address(), KNOCK_PORT, [new Uint8Array(1), new Uint8Array(300).fill(7), new Uint8Array(1400)]);
      await stage.resend(stage.client, recorded, address());
      await stage.resend(stage.stranger, recorded, address());
      assert.equal(await stage.kernelGrants(), 0);
      assert.equal(await stage.door(address()), 'timeout');
      assert.equal(await stage.door(address(), stage.stranger), 'timeout');
      assert.deepEqual(await capture.settle(stage.client.addresses()[at]), []);
      await capture.close();
    });
  }
});
