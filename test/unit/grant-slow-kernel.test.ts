// A firewall that needs time to open (a child process): what happens meanwhile. The book knows at once, the journal and the log only when it is done.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ALICE, BOB, CLOSE, type HostUnderTest, running, SSH_HOME } from '../fakes/daemon-host.ts';

/** The kernel answers when this is called. */
function slowed(host: HostUnderTest): () => void {
  let answer = (): void => undefined;
  host.kernel.slowness = new Promise((resolve) => {
    answer = resolve;
  });
  return answer;
}

const journaled = (host: HostUnderTest): string => readFileSync(join(host.folder, 'run', 'grants.jsonl'), 'utf8');

test('nothing is reported or journaled before the kernel has opened', async (context) => {
  const { host, postern } = await running(context);
  const answer = slowed(host);
  const delivered = host.deliver(postern, host.knock(ALICE, 1));
  await new Promise(setImmediate);
  assert.deepEqual(host.decisions, []);
  assert.doesNotMatch(journaled(host), /alice/);
  answer();
  assert.deepEqual(await delivered, ['granted']);
  assert.match(journaled(host), /alice/);
});

test('what the kernel refuses late was never there', async (context) => {
  const { host, postern } = await running(context);
  const answer = slowed(host);
  const delivered = host.deliver(postern, host.knock(ALICE, 1));
  host.kernel.failing = true;
  answer();
  assert.deepEqual(await delivered, ['firewall']);
  assert.deepEqual(postern.grants.all(), []);
});

test('P25 a prolongation that the kernel refuses late leaves the grant as it was', async (context) => {
  const { host, postern } = await running(context);
  await host.deliver(postern, host.knock(ALICE, 1));
  const before = postern.grants.all();
  const answer = slowed(host);
  const delivered = [1, 2].map((slot) =>
    host.deliver(postern, host.knock(ALICE, slot + 1, { action: { kind: 'open', lifetimeSeconds: 3000 + slot, once: false } })),
  );
  host.kernel.failing = true;
  answer();
  await Promise.all(delivered);
  assert.deepEqual(postern.grants.all(), before);
});

test('P16a a close that comes while the kernel opens ends it, also for the journal', async (context) => {
  const { host, postern } = await running(context);
  const answer = slowed(host);
  const opening = host.deliver(postern, host.knock(ALICE, 1));
  host.time.advance(10);
  const closing = host.deliver(postern, host.knock(ALICE, 2, { action: CLOSE }));
  answer();
  await Promise.all([opening, closing]);
  assert.deepEqual(postern.grants.all(), []);
  assert.ok(!host.decisions.some(({ kind }) => kind === 'granted'));
  assert.doesNotMatch(journaled(host), /"put"/);
  assert.deepEqual(host.kernel.keys(), []);
});

test('the most grants of a client are counted while the kernel still opens some', async (context) => {
  const { host, postern } = await running(context);
  host.config('max_grants: 1\n');
  await postern.reload();
  const answer = slowed(host);
  const first = host.deliver(postern, host.knock(ALICE, 1), '198.18.0.7');
  const second = host.deliver(postern, host.knock(ALICE, 2), '198.18.0.8');
  const other = host.deliver(postern, host.knock(BOB, 1), '198.18.0.9');
  answer();
  await Promise.all([first, second, other]);
  assert.deepEqual(host.kernel.keys(), [SSH_HOME, 'grant 198.18.0.9 tcp 22 0']);
  assert.ok(host.decisions.some((decision) => decision.kind === 'dropped' && decision.reason === 'max-grants'));
});
