// Black box: what an administrator does at a bad moment: reload while the gate is down, revoke beside others, stop while knocks come.
import assert from 'node:assert/strict';
import { lstatSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { labMissing } from '../lab/lab.ts';
import { FORBIDDEN_PORT, knockBy, PORT, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;

describe('at a bad moment', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  const second = () => join(stage.postern.folder, 'rules.d', 'bob.yaml');
  const usual = { protect: [REQUEST, `tcp/${FORBIDDEN_PORT}`], port: 62201 };
  /** Each of the two with an entry of their own. */
  const rules = (alice: object, bob: object) => {
    stage.postern.writeRules({ ...rulesFor([stage.alice], [{ services: [REQUEST], ttl: '60s', ...alice }]), name: 'a' });
    const other = { ...rulesFor([stage.bob], [{ services: [REQUEST], ttl: '60s', ...bob }]), name: 'b' };
    writeFileSync(second(), JSON.stringify(other), { mode: 0o644 });
  };
  before(async () => {
    stage = await Stage.create({ label: 'life' });
  });
  beforeEach(async () => {
    await stage.ensureRunning();
    stage.postern.writeConfig(usual);
    rules({}, {});
    await stage.postern.posternd(['reload']);
    for (const { id } of (await stage.postern.status()).grants) await stage.postern.posternd(['revoke', id], { mayFail: true });
  });
  after(() => stage?.close());

  test('a port that is protected while the gate is down is closed when the gate goes up', async () => {
    const address = stage.server.ipv4();
    stage.postern.writeConfig({ ...usual, protect: [REQUEST] });
    await stage.postern.posternd(['reload']);
    assert.equal(await stage.door(address, stage.stranger, FORBIDDEN_PORT), 'open');
    await stage.postern.posternd(['gate', 'down']);
    stage.postern.writeConfig(usual);
    assert.match((await stage.postern.posternd(['reload'])).stdout, /^reloaded: 2 clients/);
    await stage.postern.posternd(['gate', 'up']);
    assert.equal(await stage.door(address, stage.stranger, FORBIDDEN_PORT), 'timeout');
    assert.match(await stage.knock(address), /open after/);
  });

  test('revoking while the gate is down ends the connection, and gate up does not bring the grant back', async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '60s');
    const connection = await stage.client.ask('hold', { address, port: PORT, timeoutMs: 2_000 });
    await stage.postern.posternd(['gate', 'down']);
    await stage.postern.posternd(['revoke', 'alice']);
    assert.notEqual(await stage.client.ask('talk', { connection, payload: 'still there?', timeoutMs: 1_000 }), 'echoed');
    await stage.postern.posternd(['gate', 'up']);
    assert.equal(await stage.door(address), 'timeout');
  });

  test('a client that was removed while no daemon ran is out after the start (P39)', async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '60s');
    await stage.postern.stop();
    stage.postern.writeRules({ name: 'a', clients: [], allow: [] });
    await stage.postern.start();
    assert.equal(await stage.door(address), 'timeout');
    assert.deepEqual((await stage.postern.status()).grants, []);
  });

  test('revoking alice leaves bob behind the same address in, whatever kind of grant each has (P30b)', async () => {
    const address = stage.server.ipv4();
    rules({ sessions: 'end' }, {});
    await stage.postern.posternd(['reload']);
    await stage.knock(address);
    await knockBy(stage.bob, address);
    await stage.postern.posternd(['revoke', 'alice']);
    assert.equal(await stage.door(address), 'open');
    await stage.postern.posternd(['revoke', 'bob']);
    assert.notEqual(await stage.door(address), 'open');
  });

  test('revoking alice in the last second of bob shuts the door with bob, not at the end of her time', async () => {
    const address = stage.server.ipv4();
    await stage.knock(address, '-t', '60s');
    await knockBy(stage.bob, address, '-t', '3s');
    const left = (await stage.postern.status()).grants.find(({ client }) => client === 'bob')?.remaining_seconds ?? Number.NaN;
    // Not a wait for something to happen, but for a time to be nearly over.
    await stage.server.exec(['sleep', (left - 0.7).toFixed(2)]);
    await stage.postern.posternd(['revoke', 'alice']);
    await stage.untilShut(address, 2_000);
  });

  test('a service that was given another port: revoke shuts the old one too', async () => {
    const address = stage.server.ipv4();
    rules({ services: ['web'] }, {});
    stage.postern.writeConfig({ ...usual, services: { web: REQUEST } });
    await stage.postern.posternd(['reload']);
    await stage.alice.knock([profileOf(address), 'web', '--no-verify']);
    await stage.waitForGrants(1);
    stage.postern.writeConfig({ ...usual, services: { web: `tcp/${FORBIDDEN_PORT}` } });
    await stage.postern.posternd(['reload']);
    await stage.alice.knock([profileOf(address), 'web', '--no-verify']);
    await stage.waitForGrants(2);
    await stage.postern.posternd(['revoke', 'alice']);
    assert.equal(await stage.kernelGrants(), 0);
    assert.notEqual(await stage.door(address), 'open');
  });

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`${signal} in the moment of "ready" is a clean stop: exit 0, the ledger closed, the gate left closed`, async () => {
      await stage.postern.stop();
      const daemon = await stage.postern.start();
      daemon.kill(signal);
      await daemon.exited;
      assert.equal(daemon.child.exitCode, 0);
      assert.match(daemon.stdout, /the gate stays closed/);
      assert.equal(await stage.door(stage.server.ipv4(), stage.stranger), 'timeout');
    });
  }

  test('SIGHUP while it starts does not end it: it reads everything again as soon as it runs', async () => {
    await stage.postern.stop();
    const starting = stage.postern.start();
    // It has its ledger, but is not ready.
    const lock = join(stage.postern.folder, 'state', 'ledger.lock');
    await waitFor(() => lstatSync(lock, { throwIfNoEntry: false }) !== undefined, { intervalMs: 1 });
    process.kill(stage.postern.daemon.pid, 'SIGHUP');
    await starting;
    await stage.postern.daemon.waitForOutput(/"msg":"reloaded"/);
  });

  test('a peer that keeps the control socket busy does not keep the daemon from stopping', async () => {
    const peer = createConnection(join(stage.postern.folder, 'run', 'control.sock'));
    peer.on('error', () => undefined);
    peer.on('data', () => peer.write('{"command":"grants"}\n'));
    peer.write('{"command":"grants"}\n');
    await new Promise((resolve) => peer.once('data', resolve));
    const since = performance.now();
    stage.postern.daemon.kill('SIGTERM');
    await stage.postern.daemon.exited;
    assert.ok(performance.now() - since < 5_000);
    assert.equal(stage.postern.daemon.child.exitCode, 0);
  });
});
