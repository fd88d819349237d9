// A daemon with many grants: what takes long is done in slices, and what comes in between is neither lost nor let through.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { NO_HOOKS } from '../../daemon/hooks/hook.ts';
import { unixMs } from '../../protocol/brand.ts';
import { keyId } from '../../protocol/identity.ts';
import type { PortRange } from '../../protocol/ports.ts';
import { ALICE, address, BOB, CLOSE, HOME, rulesText, running, SSH_HOME } from '../fakes/daemon-host.ts';

const WORK = '198.18.0.8';
const SSH_WORK = `grant ${WORK} tcp 22 0`;

function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test('P30e a knock, a close and a revocation that come while the gate is loaded anew hold for the new one', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(BOB, 1), HOME);
  await host.deliver(postern, host.knock(ALICE, 1), '198.18.0.9');
  const loading = gate();
  host.kernel.loading = loading.opened;
  const up = postern.gate.up();
  await nextTurn();
  host.time.advance(10);
  const knocked = host.deliver(postern, host.knock(ALICE, 2), WORK);
  const closed = host.deliver(postern, host.knock(BOB, 2, { action: CLOSE }), HOME);
  const revoked = postern.revoke('198.18.0.9', false);
  await nextTurn();
  assert.ok(!host.kernel.keys().includes(SSH_WORK), 'not into a gate that is about to go');
  loading.open();
  await Promise.all([up, knocked, closed, revoked]);
  assert.deepEqual(host.kernel.keys(), [SSH_WORK]);
  assert.deepEqual(
    postern.grants.all().map(({ client, address }) => `${client} ${address.text}`),
    [`alice ${WORK}`],
  );
});

test('a gate that could not be loaded lets knocks go on', async (context) => {
  const { host, postern } = await running(context);
  host.kernel.loading = Promise.reject(new Error('no memory'));
  await assert.rejects(postern.gate.up(), /no memory/);
  host.kernel.loading = undefined;
  assert.deepEqual(await host.deliver(postern, host.knock(ALICE, 1)), ['granted']);
  assert.deepEqual(host.kernel.keys(), [SSH_HOME]);
});

test('P39 a thousand grants of a client who is out of the rules end in slices; others stay, and knocks are let in meanwhile', async (context) => {
  const { host, postern } = await running(context);
  const COUNT = 1000;
  await postern.reload();
  await postern.grantByHand({ who: 'alice', from: HOME, services: ['ssh'], ttlSeconds: 600, once: false });
  const owner = { client: 'alice', key: keyId(ALICE.publicKey) };
  const ports: readonly PortRange[] = [{ protocol: 'tcp', first: 22, last: 22 }];
  const ssh = { label: 'ssh', ports, kind: 'grant', sourcePort: 0, lifetimeSeconds: 600, hooks: NO_HOOKS } as const;
  for (let number = 0; number < COUNT; number += 1) {
    const from = address(`10.1.${number >> 8}.${number & 255}`);
    assert.ok((await postern.grants.grant(owner, { address: from, services: [ssh] }, unixMs(host.time.now()))).pass);
  }
  await host.deliver(postern, host.knock(BOB, 1), WORK);
  host.rules(rulesText([['bob', BOB]]));
  const reloading = postern.reload();
  let turns = 0;
  let isOver = false;
  const over = reloading.then(() => {
    isOver = true;
  });
  while (!isOver) {
    turns += 1;
    await nextTurn();
  }
  await over;
  assert.ok(turns > 5);
  // What an administrator opened by hand is no knock's.
  assert.deepEqual(host.kernel.keys(), [SSH_HOME, SSH_WORK].toSorted());
  assert.equal(host.kernel.cut.length, COUNT);
});
