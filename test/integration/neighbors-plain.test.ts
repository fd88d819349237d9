// Black box: a gate that nobody owns (kernels before 6.9). Others flush it in a loop while people knock: it is back within a second, with its
// live grants, each time (P27).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { labMissing } from '../lab/lab.ts';
import { Firewalld, neighborMissing } from '../lab/neighbors.ts';
import type { Running } from '../lab/process.ts';
import { FORBIDDEN_PORT, knockBy, PORT, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { openMs, startProbing } from './neighbors-probe.ts';

const skip = labMissing() ?? false;
const PROGRAM = fileURLToPath(new URL('./neighbors-plain-program.js', import.meta.url));
const ROUNDS = 6;

describe('a table that nobody owns', { skip, timeout: 120_000 }, () => {
  let stage: Stage;
  let daemon: Running;
  before(async () => {
    stage = await Stage.create({ label: 'plain', start: false });
    daemon = stage.server.start([process.execPath, PROGRAM, stage.postern.configFile]);
    await daemon.waitForOutput(/"msg":"ready/, 20_000);
    const tables = JSON.parse((await stage.server.exec(['nft', '-j', 'list', 'tables'])).stdout) as {
      nftables: { table?: { flags?: unknown } }[];
    };
    assert.deepEqual(
      tables.nftables.flatMap(({ table }) => (table === undefined ? [] : [table.flags])),
      [undefined],
      'the table is owned: this would test nothing',
    );
  });
  after(() => stage?.close());

  // First: a stranger who slips in by a flush (below) keeps that connection, and its source port, for a while.
  test('firewalld starts, reloads and stops beside it without touching it', { skip: neighborMissing('firewalld') ?? false }, async () => {
    const address = stage.server.ipv4();
    const firewalld = await Firewalld.create(stage.server);
    const probe = await startProbing(stage.stranger, address, [PORT, FORBIDDEN_PORT]);
    for (const reload of ['--reload', '--complete-reload']) await firewalld.cmd([reload]);
    await firewalld.stop();
    assert.deepEqual(await probe.stop(), []);
    assert.equal(await stage.door(address, stage.stranger), 'timeout');
    firewalld.close();
  });

  test('flushed in a loop while people knock: back within a second each time, grants and all', async (t) => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '300s');
    const probe = await startProbing(stage.stranger, address, [PORT, FORBIDDEN_PORT]);
    const outages: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const before = probe.opened().length;
      await stage.server.exec(['nft', 'flush', 'ruleset']);
      const began = performance.now();
      await waitFor(
        async () => (await stage.server.exec(['nft', 'list', 'chain', 'inet', 'postern', 'gate'], { mayFail: true })).code === 0,
      );
      assert.ok(performance.now() - began < 1_000, `back after ${performance.now() - began} ms`);
      assert.match(await knockBy(stage.bob, address, '-t', '60s'), /open after/);
      assert.equal(await stage.door(address), 'open');
      assert.equal(await stage.door(address, stage.stranger), 'timeout');
      outages.push(openMs(probe.opened().slice(before)));
    }
    await probe.stop();
    assert.ok(Math.max(...outages) < 1_000, `open for ${outages.join(', ')} ms`);
    t.diagnostic(`open for ${outages.join(', ')} ms`);
    const { grants } = await stage.postern.status();
    assert.deepEqual([...new Set(grants.map(({ client }) => client))].sort(), ['alice', 'bob']);
  });

  test('live connections go on; who slipped in while the gate was gone gets no key for the next one (P27, P30f)', async () => {
    const address = stage.server.ipv4();
    const sourcePort = 40_404;
    await stage.knock(address, '-t', '300s');
    const kept = await stage.client.ask('hold', { address, port: PORT, timeoutMs: 2_000 });
    // A daemon that is busy for a moment: long enough for a stranger.
    daemon.kill('SIGSTOP');
    await stage.server.exec(['nft', 'flush', 'ruleset']);
    const slip = () => stage.stranger.connect(address, PORT, { sourcePort, timeoutMs: 700 });
    assert.equal((await slip()).outcome, 'open');
    daemon.kill('SIGCONT');
    await waitFor(async () => (await stage.door(address, stage.stranger)) === 'timeout', { deadlineMs: 3_000 });
    assert.equal((await slip()).outcome, 'timeout');
    assert.equal(await stage.client.ask('talk', { connection: kept, payload: 'still there?', timeoutMs: 2_000 }), 'echoed');
  });

  test('someone else adds a rule, deletes a chain, deletes the table: put right at once, and said in the log', async () => {
    const address = stage.server.ipv4();
    for (const touch of ['insert rule inet postern gate accept', 'flush chain inet postern gate', 'delete table inet postern']) {
      await stage.server.exec(['nft', touch]);
      await waitFor(async () => (await stage.door(address, stage.stranger)) === 'timeout', { deadlineMs: 3_000, what: touch });
    }
    assert.match(daemon.stdout, /not ours any more \(somebody flushed or changed the ruleset\)/);
  });
});
