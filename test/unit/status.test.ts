// What `posternd status` says of the gate: as it stands in the kernel, not as it should. Somebody reads it at three in the morning.
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { describeStatus } from '../../daemon/commands/status.ts';
import { answering } from '../../daemon/control/answers.ts';
import { StatusReport } from '../../daemon/control/messages.ts';
import { Counters } from '../../daemon/counters.ts';
import type { Firewall } from '../../daemon/firewall/firewall.ts';
import { running } from '../fakes/daemon-host.ts';

async function ground(context: TestContext, more: Partial<Firewall> = {}) {
  const { host, postern } = await running(context);
  const parts = {
    postern,
    firewall: { ...host.kernel.firewall(), ...more },
    ledger: { health: () => ({ place: 'state', marks: 0, note: '' }) },
    capture: { name: 'nflog', counters: () => ({ seen: 0, lost: 0, foreign: 0, malformed: 0 }) },
    captureWhy: 'capture nflog, group 5',
    counters: new Counters(),
    clock: host.time.clock(),
    startedAt: host.time.clock().monotonic(),
  };
  const ask = answering(parts as unknown as Parameters<typeof answering>[0]);
  const gate = async () => {
    const report = StatusReport.parse(JSON.parse(JSON.stringify(await ask({ command: 'status' }, 0), (_key, value) => plain(value))));
    return [report.gate.state, describeStatus(report).split('\n')[1]];
  };
  return { host, postern, gate };
}

/** Listings are walked as they are sent. */
function plain(value: unknown): unknown {
  return typeof value === 'object' && value !== null && Symbol.iterator in value ? [...(value as Iterable<unknown>)] : value;
}

test('a gate that stands is up', async (context) => {
  const { gate } = await ground(context);
  assert.deepEqual(await gate(), ['up', 'gate     up (nftables, table postern), closed unless granted: tcp/22 tcp/8443']);
});

test('one that an administrator took down is DOWN', async (context) => {
  const { gate, postern } = await ground(context);
  await postern.gate.down();
  assert.deepEqual(await gate(), [
    'down',
    'gate     DOWN: every port is open (nftables, table postern); "posternd gate up" closes unless granted: tcp/22 tcp/8443',
  ]);
});

for (const [text, intact] of [
  ['flushed or changed', async () => false],
  ['that cannot be read', () => Promise.reject(new Error('no answer'))],
] as const) {
  test(`one that should be up but is ${text} is never called up`, async (context) => {
    const { gate } = await ground(context, { intact });
    const [state, line] = await gate();
    assert.equal(state, 'changed');
    assert.match(line ?? '', /^gate {5}NOT IN PLACE: .* ports may be open/);
  });
}

test('"firewall: none" closes nothing, and is not called up', async (context) => {
  const { gate } = await ground(context, { name: 'none' });
  assert.deepEqual(await gate(), ['none', 'gate     NONE: every port is open ("firewall: none" only decides and logs)']);
});
