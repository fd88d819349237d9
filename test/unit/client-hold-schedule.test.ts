// When `knock hold` knocks and looks: the schedule alone, by a clock of ours; and that a sleep and a new address are noticed.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { HoldSchedule, type Look, shortestIntervalMs } from '../../client/hold-schedule.ts';
import { type Change, watchChanges } from '../../client/hold-watch.ts';
import { unixMs } from '../../protocol/brand.ts';

/** Runs a schedule for so long against a server that grants `grantMs`; what was done when, and for how long the door was shut. */
function simulate(options: {
  readonly askedMs: number | undefined;
  readonly grantMs: number;
  readonly forMs: number;
  readonly looks?: boolean;
}) {
  const { askedMs, grantMs, forMs, looks = true } = options;
  const schedule = new HoldSchedule({ lifetimeMs: askedMs, shortestMs: 5000, looks, nowMs: 0 });
  const knocks: { readonly atMs: number; readonly look: boolean }[] = [];
  let [openUntilMs, shutMs] = [grantMs, 0];
  while (schedule.due.atMs <= forMs) {
    const { atMs, look } = schedule.due;
    knocks.push({ atMs, look });
    const found: Look = openUntilMs > atMs ? 'stood' : 'gap';
    shutMs += Math.max(0, atMs - openUntilMs);
    openUntilMs = atMs + grantMs;
    if (look) schedule.looked(found, atMs);
    else schedule.sent(atMs);
  }
  return { knocks, shutMs, intervalMs: schedule.intervalMs, looks: knocks.filter(({ look }) => look).length };
}

const HOUR = 3_600_000;

describe('the schedule of knock hold', () => {
  const cases = [
    { text: 'the daemon’s default lifetime, nothing asked', askedMs: undefined, grantMs: 30_000, intervalMs: 10_000 },
    { text: 'what was asked for', askedMs: 60_000, grantMs: 60_000, intervalMs: 20_000 },
    { text: 'long lifetimes: a knock every five minutes at least', askedMs: 24 * HOUR, grantMs: 24 * HOUR, intervalMs: 300_000 },
  ] as const;
  for (const { text, askedMs, grantMs, intervalMs } of cases) {
    test(`never leaves the door shut: ${text}`, () => {
      const run = simulate({ askedMs, grantMs, forMs: 8 * HOUR });
      assert.deepEqual([run.shutMs, run.intervalMs], [0, intervalMs]);
    });

    test(`two knocks in a row may be lost: ${text}`, () => {
      assert.ok(intervalMs * 3 <= grantMs);
    });

    test(`looks ever more rarely: ${text}`, () => {
      const run = simulate({ askedMs, grantMs, forMs: 8 * HOUR });
      assert.ok(run.looks <= 8 * 6 + 10, `${run.looks} looks in 8 hours`);
      assert.equal(run.knocks[0]?.look, true);
    });
  }

  test('a rule that gives less than was asked is found out at the first look, and met within three', () => {
    const run = simulate({ askedMs: 120_000, grantMs: 12_000, forMs: HOUR });
    assert.deepEqual([run.intervalMs, run.knocks[0]?.atMs], [10_000, 40_000]);
    assert.equal(run.shutMs, 40_000 - 12_000 + (20_000 - 12_000));
  });

  test('an outage does not make the pause shorter, and is tried against at growing pauses', () => {
    const schedule = new HoldSchedule({ lifetimeMs: 60_000, shortestMs: 5000, looks: true, nowMs: 0 });
    const pauses = [];
    let nowMs = schedule.due.atMs;
    for (let at = 0; at < 7; at += 1) {
      assert.equal(schedule.looked('shut', nowMs), false);
      pauses.push(schedule.due.atMs - nowMs);
      nowMs = schedule.due.atMs;
    }
    assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    assert.equal(schedule.looked('gap', nowMs), false);
    assert.equal(schedule.intervalMs, 20_000);
  });

  test('a change of the network makes it knock and look at once, and is no reason for a shorter pause', () => {
    const schedule = new HoldSchedule({ lifetimeMs: 60_000, shortestMs: 5000, looks: true, nowMs: 0 });
    schedule.hurry(1234);
    assert.deepEqual(schedule.due, { atMs: 1234, look: true });
    assert.deepEqual([schedule.looked('gap', 1300), schedule.intervalMs], [false, 20_000]);
  });

  test('where nothing can be looked at, it knocks all the same', () => {
    const run = simulate({ askedMs: undefined, grantMs: 30_000, forMs: HOUR, looks: false });
    assert.deepEqual([run.looks, run.shutMs, run.intervalMs], [0, 0, 10_000]);
  });

  test('P16b: the pauses fit into the slots of a minute', () => {
    for (const [addresses, slots] of [
      [1, 16],
      [2, 16],
      [2, 64],
      [1, 1],
      [4, 16],
    ] as const) {
      const knocksAMinute = (60_000 / shortestIntervalMs(addresses, slots)) * addresses;
      assert.ok(knocksAMinute <= Math.max(1, slots), `${addresses} addresses, ${slots} slots: ${knocksAMinute}`);
    }
  });
});

describe('what makes a grant worthless early', () => {
  /** Steps of both clocks and routes, one for each look of the watcher. */
  async function changes(steps: readonly { readonly wallMs?: number; readonly steadyMs?: number; readonly route?: string }[]) {
    const stop = new AbortController();
    const seen: Change[] = [];
    let [at, wallMs, steadyMs, route] = [0, 1_000_000, 0, 'a'];
    const routes = async () => {
      const step = steps[at];
      at += 1;
      if (step === undefined) stop.abort();
      route = step?.route ?? route;
      return route;
    };
    const world = {
      now: () => {
        wallMs += steps[at]?.wallMs ?? 1000;
        return unixMs(wallMs);
      },
      monotonicMs: () => {
        steadyMs += steps[at]?.steadyMs ?? 1000;
        return steadyMs;
      },
    };
    await watchChanges(routes, world, stop.signal, (change) => seen.push(change), 0);
    return seen;
  }

  test('nothing, as long as nothing changes', async () => {
    assert.deepEqual(await changes([{}, {}, {}, { wallMs: 3000 }]), []);
  });

  test('another address of this machine', async () => {
    assert.deepEqual(await changes([{}, { route: 'b' }, {}]), [{ kind: 'moved', from: 'a', to: 'b' }]);
  });

  test('a sleep in which the steady clock stood still, and one in which it went on', async () => {
    for (const step of [{ wallMs: 3_600_000 }, { wallMs: 61_000, steadyMs: 61_000 }]) {
      const [change, ...more] = await changes([{}, step, {}]);
      assert.deepEqual([change?.kind, more], ['slept', []]);
    }
  });
});
