// Black box: closed before a knock, open after it for that client alone, closed again on time, and nothing to be seen of it all.
//
//   client ──┐
//            ├── switch ── server: posternd, an echo service on tcp/8022
//   stranger ┘
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, FORBIDDEN_PORT, KNOCK_PORT, PORT, profileOf, REQUEST, Stage, UDP_PORT } from '../lab/stage.ts';

const skip = labMissing() ?? false;
/** How much later than promised a door may be seen shut, on a loaded machine. The kernel itself is exact to a jiffy. */
const SLACK_MS = 2_000;

describe('the first knock', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'open' });
  });
  after(() => stage?.close());

  for (const { family, at } of FAMILIES) {
    describe(`over ${family}`, () => {
      const address = () => stage.server.addresses()[at];

      test('is closed before: a scan finds nothing, a connection gets no answer', async () => {
        const scan = await stage.client.exec(
          ['nmap', '-n', '-Pn', '-sS', '--max-retries', '1', '-p', `8000-8100,${PORT}`, '--open', address()].concat(at === 1 ? ['-6'] : []),
        );
        assert.doesNotMatch(scan.stdout, /^\d+\/tcp/m);
        assert.equal(await stage.door(address()), 'timeout');
      });

      test('opens the port, says so, and for the source address only', async () => {
        const said = await stage.knock(address(), '-t', '30s');
        assert.match(said, /open after [\d.]+ ms/);
        const connected = await stage.client.connect(address(), PORT, { payload: 'ping', timeoutMs: 2_000 });
        assert.equal(connected.reply, 'hello\nping');
        assert.equal(await stage.door(address(), stage.stranger), 'timeout');
        assert.equal(await stage.door(address(), stage.client, FORBIDDEN_PORT), 'timeout');
        const { stdout } = await stage.postern.posternd(['revoke', 'alice']);
        assert.match(stdout, /alice/);
        assert.equal(await stage.door(address()), 'timeout');
      });

      test('closes on time (P24)', async () => {
        await stage.knock(address(), '-t', '2s');
        assert.equal(await stage.door(address()), 'open');
        const lastedMs = await stage.untilShut(address(), 2_000 + SLACK_MS);
        assert.ok(lastedMs <= 2_000 + SLACK_MS, `${lastedMs} ms`);
        assert.equal(await stage.kernelGrants(), 0);
      });

      test('opens a UDP service too, and lets its answers through', async () => {
        const ask = () => stage.client.sendUdp(address(), UDP_PORT, [Buffer.from('udp?')], { wanted: 1, waitMs: 500 });
        assert.equal((await ask()).replies.length, 0);
        await stage.alice.knock([profileOf(address()), `udp/${UDP_PORT}`, '-t', '30s']);
        // UDP is not probed by knock: the grant may be a moment behind.
        let replies = 0;
        for (let tries = 0; tries < 10 && replies === 0; tries += 1) replies = (await ask()).replies.length;
        assert.equal(replies, 1);
        await stage.postern.posternd(['revoke', 'alice']);
      });

      test('refuses a port outside the rule (P40): nothing opens, not even what is allowed beside it', async () => {
        const wanted = [profileOf(address()), REQUEST, `tcp/${FORBIDDEN_PORT}`, '--retries', '0', '--timeout', '1s'];
        const refused = await stage.alice.knock(wanted, { mayFail: true });
        assert.equal(refused.code, 1);
        assert.equal(await stage.door(address()), 'timeout');
        assert.equal(await stage.kernelGrants(), 0);
      });
    });
  }

  test('nothing listens: no socket of ours in ss -lntup and ss -lw', async () => {
    const { stdout } = await stage.server.exec(['ss', '-H', '-n', '-l', '-t', '-u', '-p']);
    const pid = (await stage.postern.status()).pid;
    assert.ok(!stdout.includes(`pid=${pid},`), stdout);
    assert.ok(!stdout.includes(`:${KNOCK_PORT} `), stdout);
    assert.equal((await stage.server.exec(['ss', '-H', '-n', '-l', '-w', '-p'])).stdout, '');
  });

  test('names the client, its address and the time left in status and grants', async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '20s');
    const status = await stage.postern.status();
    assert.deepEqual(
      status.grants.map((grant) => [grant.client, grant.address]),
      [['alice', stage.client.ipv4()]],
    );
    const listed = await stage.postern.posternd(['grants']);
    assert.match(listed.stdout, new RegExp(`alice +${stage.client.ipv4()}`));
    await stage.postern.posternd(['revoke', stage.client.ipv4()]);
    assert.deepEqual((await stage.postern.status()).grants, []);
  });
});
