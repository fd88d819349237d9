// Black box: time windows and long grants. The kernel ends a grant with its window; outside of it a knock opens nothing and the log says why.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { longestSeconds } from '../lab/backend.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, FORBIDDEN_PORT, profileOf, REQUEST, Stage, UDP_PORT } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? false;
const MINUTE_MS = 60_000;
const THIRTY_DAYS_S = 30 * 86_400;
/** Minutes that the window of PORT has, the present one included: enough for the whole test. */
const WINDOW_MINUTES = 10;

/** For `node --import`: a wall clock that stands ten seconds before a full minute, and moves by five years at SIGUSR2, either way in turn. */
const MOVING_CLOCK = `data:text/javascript,${encodeURIComponent(`
  const Real = Date;
  let offsetMs = 50_000 - (Real.now() % 60_000), byMs = 5 * 365 * 86_400_000;
  globalThis.Date = class extends Real {
    constructor(...given) { super(...(given.length === 0 ? [Real.now() + offsetMs] : given)); }
    static now() { return Real.now() + offsetMs; }
  };
  process.on('SIGUSR2', () => { offsetMs += byMs; byMs = -byMs; });
`)}`;

describe('time', { skip, timeout: 180_000 }, () => {
  let stage: Stage;
  let endMs = 0;
  before(async () => {
    const thisMinute = Math.floor(Date.now() / MINUTE_MS);
    endMs = (thisMinute + WINDOW_MINUTES) * MINUTE_MS;
    const minutes = (from: number) => Array.from({ length: WINDOW_MINUTES }, (_, at) => (thisMinute + from + at) % 60).join(',');
    stage = await Stage.create({
      label: 'time',
      allow: [
        { services: [REQUEST], ttl: '30s', max_ttl: '30d', when: `${minutes(0)} * * * *`, timezone: 'UTC' },
        { services: [`tcp/${FORBIDDEN_PORT}`], default: false, when: `${minutes(30)} * * * *`, timezone: 'UTC' },
        { services: [`udp/${UDP_PORT}`], default: false, max_ttl: '30d' },
      ],
    });
  });
  after(() => stage?.close());

  const remaining = async () => (await stage.postern.status()).grants.map(({ remaining_seconds }) => remaining_seconds);
  const revoke = () => stage.postern.posternd(['revoke', 'alice']);

  for (const { family, at } of FAMILIES) {
    const address = () => stage.server.addresses()[at];

    test(`a grant ends with its window, whatever was asked for, over ${family} (P37)`, async () => {
      assert.match(await stage.knock(address(), '-t', '30d'), /open after/);
      const left = (endMs - Date.now()) / 1000;
      const [seconds = 0] = await remaining();
      assert.ok(seconds <= left + 1 && seconds > left - 10, `${seconds} s, the window has ${left} s left`);
      // It is the kernel that knows: whatever happens to the daemon.
      const [inKernel = 0, ...others] = await stage.kernelRemaining(family);
      assert.deepEqual(others, []);
      assert.ok(inKernel <= left + 1 && inKernel > left - 15, `${inKernel} s in the kernel, the window has ${left} s left`);
      await revoke();
    });

    test(`outside its window a knock opens nothing, over ${family} (P37)`, async () => {
      const asked = [profileOf(address()), `tcp/${FORBIDDEN_PORT}`, '--retries', '0', '--timeout', '1s'];
      assert.equal((await stage.alice.knock(asked, { mayFail: true })).code, 1);
      assert.equal(await stage.door(address(), stage.client, FORBIDDEN_PORT), 'timeout');
      assert.equal(await stage.kernelGrants(), 0);
      assert.match(stage.postern.daemon.stdout, /"reason":"not-now"/);
    });

    test(`a grant of 30 days stands, in the kernel and after a restart, over ${family} (P26)`, async () => {
      await stage.alice.knock([profileOf(address()), `udp/${UDP_PORT}`, '-t', '30d']);
      await stage.waitForGrants(1);
      const almostAll = async () => {
        const [seconds = 0, ...others] = await remaining();
        assert.deepEqual(others, []);
        assert.ok(seconds <= THIRTY_DAYS_S && seconds > THIRTY_DAYS_S - 60, `${seconds} s`);
      };
      await almostAll();
      const [inKernel = 0] = await stage.kernelRemaining(family);
      const longest = Math.min(THIRTY_DAYS_S, longestSeconds());
      assert.ok(inKernel <= longest && inKernel > longest - 60, `${inKernel} s in the kernel`);
      await stage.postern.stop();
      await stage.postern.start();
      await almostAll();
      const answer = await stage.client.sendUdp(address(), UDP_PORT, [Buffer.from('udp?')], { wanted: 1, waitMs: 2_000 });
      assert.equal(answer.replies.length, 1);
      await revoke();
    });
  }

  test('a wall clock that is set by years, forward and back, does not hold the daemon up (P14)', async () => {
    await stage.postern.stop();
    const daemon = await stage.postern.start({ node: ['--import', MOVING_CLOCK] });
    for (const _ of ['forward', 'back']) {
      const steps = daemon.stdout.split('the clock moved by').length;
      process.kill(daemon.pid, 'SIGUSR2');
      await waitFor(() => daemon.stdout.split('the clock moved by').length > steps, { what: 'the step to be noticed' });
      const until = (await stage.postern.status()).uptime_seconds + 11;
      // Over the next full minute, in which whatever goes by the wall clock would begin.
      await waitFor(
        async () => {
          const asked = performance.now();
          const { uptime_seconds } = await stage.postern.status();
          assert.ok(performance.now() - asked < 5_000, 'the daemon stood still');
          return uptime_seconds > until;
        },
        { deadlineMs: 30_000, intervalMs: 500, what: 'a minute to end' },
      );
    }
    await stage.postern.stop();
    await stage.postern.start();
  });
});
