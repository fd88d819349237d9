// Black box: the wall clock is set while the daemon runs, forward, back, and to 2099; and the replay ledger is gone, cut or damaged when it starts.
// A clock of the test's own (test/lab/fake-clock.ts) stands in for the machine's, for posternd and knock alike.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import type { Capture } from '../lab/capture.ts';
import { FakeClock, fakeClockMissing } from '../lab/fake-clock.ts';
import type { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import { FAMILIES, KNOCK_PORT, PORT, profileOf, REQUEST, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';

const skip = labMissing() ?? fakeClockMissing() ?? false;
const HOUR = 3600;
const TO_2099 = 72 * 365 * 24 * HOUR;

describe('a clock that is set, a ledger that is damaged', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  let clock: FakeClock;
  const start = () => stage.postern.start({ env: clock.env });
  const knock = async (person: Knocker, address: string, ...args: readonly string[]) => {
    const { stdout, stderr } = await person.knock([profileOf(address), REQUEST, ...args], { mayFail: true, env: clock.env });
    return stdout + stderr;
  };
  const revokeAll = async () => {
    for (const { id } of (await stage.postern.status()).grants) await stage.postern.posternd(['revoke', id]);
  };
  const said = (pattern: RegExp) => [...stage.postern.daemon.stdout.matchAll(new RegExp(pattern, 'g'))].length;
  /** Sets the clock and waits until the daemon has noticed. */
  const step = async (seconds: number) => {
    const before = said(/the clock moved by/);
    clock.step(seconds);
    await waitFor(() => said(/the clock moved by/) > before, { deadlineMs: 4_000, what: 'the daemon to notice the step' });
  };
  const recordedKnock = async (address: string): Promise<Capture> => {
    const capture = await stage.client.capture({ filter: `udp dst port ${KNOCK_PORT}`, direction: 'out' });
    assert.match(await knock(stage.alice, address, '-t', '60s'), /open after/);
    await capture.waitForFrames(1);
    await capture.stop();
    return capture;
  };
  const opensNothing = async (recorded: Capture, address: string) => {
    await stage.replay(stage.client, recorded);
    await stage.resend(stage.stranger, recorded, address);
    assert.equal(await stage.kernelGrants(), 0);
    assert.equal(await stage.door(address), 'timeout');
    assert.equal(await stage.door(address, stage.stranger), 'timeout');
  };
  before(async () => {
    clock = new FakeClock();
    stage = await Stage.create({ label: 'clock', start: false });
    await start();
  });
  beforeEach(async () => {
    if (stage.postern.daemon.ended) await start();
    await revokeAll();
  });
  const captures: Capture[] = [];
  afterEach(async () => {
    for (const capture of captures.splice(0)) await capture.close();
  });
  after(async () => {
    await stage?.close();
    clock?.close();
  });

  for (const { family, at } of FAMILIES) {
    for (const { text, seconds } of [
      { text: 'forward by an hour', seconds: HOUR },
      { text: 'back by an hour', seconds: -HOUR },
      { text: 'to 2099', seconds: TO_2099 },
    ]) {
      test(`set ${text} and back: live grants go on, fresh knocks open, old ones are dead, over ${family} (P13, P14)`, async () => {
        const address = stage.server.addresses()[at];
        const recorded = await recordedKnock(address);
        captures.push(recorded);
        const connection = await stage.client.ask('hold', { address, port: PORT, timeoutMs: 2_000 });
        for (const by of [seconds, -seconds]) {
          await step(by);
          assert.equal(await stage.door(address), 'open', 'the grant of before');
          const grant = (await stage.postern.status()).grants.find(({ client }) => client === 'alice');
          assert.ok((grant?.remaining_seconds ?? 0) > 20 && (grant?.remaining_seconds ?? 99) <= 60, JSON.stringify(grant));
          await stage.untilGranted(stage.bob, address, ['-t', '20s'], { env: clock.env });
          await stage.postern.posternd(['revoke', 'bob', '--keep-sessions']);
          assert.equal(await stage.client.ask('talk', { connection, payload: `${by}`, timeoutMs: 2_000 }), 'echoed');
        }
        await stage.client.ask('hangUp', { connection });
        await revokeAll();
        await opensNothing(recorded, address);
        await step(seconds);
        await opensNothing(recorded, address);
        await step(-seconds);
      });

      test(`set ${text}: a grant of three seconds ends after three seconds, over ${family} (P24)`, async () => {
        const address = stage.server.addresses()[at];
        assert.match(await knock(stage.alice, address, '-t', '3s'), /open after/);
        const since = performance.now();
        clock.step(seconds);
        await stage.untilShut(address, 6_000);
        const tookMs = performance.now() - since;
        assert.ok(tookMs > 1_500 && tookMs < 5_000, `shut after ${tookMs} ms`);
        await step(-seconds);
      });
    }
  }

  for (const { text, harm, told, keeps } of [
    { text: 'absent', harm: (path: string) => rmSync(path), told: /replay ledger [^"]* is missing, a new one is begun/, keeps: false },
    {
      text: 'empty',
      harm: (path: string) => truncateSync(path, 0),
      told: /replay ledger [^"]* (?:is damaged|cannot be used) \(/,
      keeps: true,
    },
    {
      text: 'cut in the middle',
      harm: (path: string) => truncateSync(path, 10_000),
      told: /replay ledger [^"]* is damaged \(/,
      keeps: true,
    },
    { text: 'damaged in one byte of a mark', harm: flipLast, told: /replay ledger [^"]* is damaged \(/, keeps: true },
    {
      text: 'something else',
      harm: (path: string) => writeFileSync(path, 'not a ledger\n'.repeat(5000)),
      told: /replay ledger [^"]* cannot be used \(/,
      keeps: true,
    },
  ]) {
    test(`a ledger that is ${text} at the start: said, no replay, and fresh knocks open again within five minutes (P12)`, async () => {
      const address = stage.server.ipv4();
      const recorded = await recordedKnock(address);
      captures.push(recorded);
      await revokeAll();
      const folder = join(stage.postern.folder, 'state');
      const kept = () => readdirSync(folder).filter((name) => name.startsWith('ledger.corrupt-')).length;
      const before = kept();
      await stage.postern.killHard();
      harm(join(folder, 'ledger'));
      await start();
      assert.match(stage.postern.daemon.stdout, told);
      assert.equal(kept(), before + (keeps ? 1 : 0));
      assert.equal(await stage.door(address, stage.stranger), 'timeout');
      await opensNothing(recorded, address);
      // A knock of this minute might be a replay, for all that the daemon can know.
      assert.doesNotMatch(await knock(stage.bob, address, '--retries', '0', '--timeout', '1s'), /open after/);
      await step(5 * 60);
      assert.match(await knock(stage.bob, address, '-t', '2s'), /open after/);
      await stage.untilShut(address, 5_000);
      await opensNothing(recorded, address);
    });
  }
});

/** One bit of the youngest record. */
function flipLast(path: string): void {
  const bytes = readFileSync(path);
  const last = bytes.findLastIndex((byte) => byte !== 0);
  bytes[last] = (bytes[last] ?? 0) ^ 1;
  writeFileSync(path, bytes);
}
