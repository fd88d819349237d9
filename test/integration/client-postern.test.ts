// `knock` and the real posternd, for what only the two together can show.
import assert from 'node:assert/strict';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { FORBIDDEN_PORT, PORT, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

describe('knock and posternd', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  before(async () => {
    stage = await Stage.create({ label: 'knock' });
    const folder = join('/etc/netns', stage.client.namespace);
    mkdirSync(folder, { recursive: true });
    const [ipv4, ipv6] = stage.server.addresses();
    writeFileSync(join(folder, 'hosts'), `127.0.0.1 localhost\n${ipv4} both.test\n${ipv6} both.test\n`);
  });
  after(async () => {
    rmSync(join('/etc/netns', stage.client.namespace), { recursive: true, force: true });
    await stage.close();
  });

  test('P16b: both addresses with all retries, twice in a minute: every single knock is accepted', async () => {
    // The client never sees the door open, so it spends all of its retries.
    await stage.client.nft(`table inet blind { chain c { type filter hook input priority 0; tcp sport ${PORT} drop; }\n}`);
    try {
      const { knocks: earlier } = await stage.postern.status();
      for (let run = 0; run < 2; run += 1) {
        const args = ['both.test', REQUEST, '--server-key', stage.postern.publicLine, '--timeout', '4s', '--json'];
        const result = await stage.alice.knock(args, { mayFail: true });
        assert.deepEqual([result.code, JSON.parse(result.stdout).knocksSent], [1, 8]);
      }
      const { knocks } = await stage.postern.status();
      assert.equal(knocks.granted - earlier.granted, 16);
      assert.deepEqual(knocks.dropped, earlier.dropped);
    } finally {
      await stage.client.nft('delete table inet blind');
      await stage.postern.posternd(['revoke', 'alice'], { mayFail: true });
    }
  });

  test('opens, gives back with close, and opens again at once', async () => {
    for (const address of stage.server.addresses()) {
      assert.match(await stage.knock(address), /^open after \d+(\.\d)? ms\n$/);
      const key = stage.postern.publicLine;
      const closed = await stage.alice.knock(['close', address.includes(':') ? 'server6' : 'server4', REQUEST, '--server-key', key]);
      assert.equal(closed.stdout, 'closed\n');
      assert.equal(await stage.door(address), 'timeout');
      assert.match(await stage.knock(address), /^open after/);
      await stage.postern.posternd(['revoke', 'alice']);
    }
  });

  test('a one-shot knock leaves the one connection to its user', async () => {
    const address = stage.server.ipv4();
    const result = await stage.alice.knock(['server4', REQUEST, '--once']);
    assert.match(result.stdout, /^knock sent to/);
    // The knock was not checked: the grant may be a moment behind.
    await waitFor(async () => (await stage.door(address)) === 'open', { what: 'the door to open' });
    assert.equal(await stage.door(address), 'timeout');
  });

  test('says what may be wrong when the rule does not give the service', async () => {
    const result = await stage.alice.knock(['server4', `tcp/${FORBIDDEN_PORT}`, '--timeout', '1s'], { mayFail: true });
    assert.equal(result.code, 1);
    assert.match(result.stderr, /^knock: tcp\/8023 on [\d.]+ did not open within 1 s/);
    assert.match(result.stderr, /may not open this service: SHA256:/);
  });
});
