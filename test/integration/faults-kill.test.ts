// Black box: kill -9 at a hundred random moments, starts included, while people knock, grants end, a stranger tries the door, and everything that
// was ever sent is sent again. POSTERN_SEED repeats a run's moments.
//
//   server ── switch ── client: six people knock, each time for another port; every packet of theirs is recorded and replayed
//                └───── stranger: tries a protected port all the time
//
// Each port is asked for once, for two seconds. So a grant for it that is seen later than that after it was first seen has outlived its lifetime,
// or its knock was accepted a second time.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { setTimeout as moment } from 'node:timers/promises';
import { isNftables, openPorts } from '../lab/backend.ts';
import { Knocker } from '../lab/installation.ts';
import { labMissing } from '../lab/lab.ts';
import type { Running } from '../lab/process.ts';
import { FAMILIES, KNOCK_PORT, PORT, profileOf, REQUEST, rulesFor, Stage } from '../lab/stage.ts';
import { waitFor } from '../lab/wait.ts';
import { startProbing } from './neighbors-probe.ts';

const skip = labMissing() ?? false;
/** Each change takes iptables several processes: fewer kills in the same time. */
const KILLS = isNftables() ? 100 : 30;
const LONGEST_LIFE_MS = 500;
const PEOPLE = 4;
const FIRST_PORT = 20_000;
const LIFETIME_MS = 2_000;
/** A look at the kernel takes its time on a loaded machine, and ipset counts whole seconds. */
const SLACK_MS = 1_500;
const REPLAY_EACH = 10;
/** People are not machines, and the machine shall have time for the daemon too. */
const PAUSE_MS = 100;
/** A machine that is busy with other things kills less often, but at least half as often. */
const ENOUGH_MS = 120_000;

describe('kill -9 under load', { skip, timeout: 240_000 }, () => {
  let stage: Stage;
  const people: Knocker[] = [];
  before(async () => {
    const config = { protect: [REQUEST, `tcp/${FIRST_PORT}-${FIRST_PORT + 1999}`], max_grants: 1000 };
    stage = await Stage.create({ label: 'kills', config, start: false });
    for (let number = 1; number <= PEOPLE; number += 1) {
      const person = await Knocker.create(stage.client, `person${number}`);
      person.trust(stage.postern);
      people.push(person);
    }
    const allow = [{ services: [REQUEST, `tcp/${FIRST_PORT}-${FIRST_PORT + 1999}`], ttl: '2s', max_ttl: '1m', default: false }];
    stage.postern.writeRules(rulesFor([stage.alice, ...people], allow));
  });
  after(async () => {
    for (const person of people) person.close();
    await stage?.close();
  });

  test('a hundred times: no grant outlives its time, no knock is accepted twice, no stranger gets in, and it comes back each time', async (t) => {
    const seed = Number(process.env['POSTERN_SEED'] ?? randomInt(2 ** 31));
    t.diagnostic(`POSTERN_SEED=${seed}`);
    const random = generator(seed);
    let over = false;
    let port = FIRST_PORT;
    const address = stage.server.ipv4();
    const launch = () => stage.server.start(stage.postern.command(['run']));
    const isReady = (daemon: Running) => daemon.waitForOutput(/"msg":"ready/, 30_000);

    let daemon = launch();
    await isReady(daemon);
    const recorded = await stage.client.capture({ filter: `udp dst port ${KNOCK_PORT}`, direction: 'out' });
    const probe = await startProbing(stage.stranger, address, [PORT]);
    const knocking = Array.from({ length: PEOPLE / 2 }, async (_, at) => {
      for (let round = 0; !over; round += 1) {
        const target = stage.server.addresses()[FAMILIES[round % 2]?.at ?? 0];
        const wanted = [`tcp/${port++}`, '--no-verify', '--retries', '0'];
        await people[2 * at + (round % 2)]?.knock([profileOf(target), ...wanted], { mayFail: true });
        await moment(PAUSE_MS);
      }
    });
    const seen = new Map<string, { readonly first: number; last: number }>();
    const look = async () => {
      const began = performance.now();
      const open = await openPorts((argv, options) => stage.server.exec(argv, options));
      const ended = performance.now();
      for (const opening of open) {
        const before = seen.get(opening);
        if (before === undefined) seen.set(opening, { first: ended, last: began });
        else before.last = began;
      }
    };
    const looking = (async () => {
      while (!over) {
        await look();
        await moment(PAUSE_MS);
      }
    })();
    const started = performance.now();
    let kills = 0;

    for (let kill = 1; kill <= KILLS && (kill <= KILLS / 2 || performance.now() - started < ENOUGH_MS); kill += 1) {
      // Half of them while it starts or a moment later, half of them while it works.
      if (random() < 0.5) await isReady(daemon);
      await moment(random() * LONGEST_LIFE_MS);
      assert.ok(!daemon.ended, `kill ${kill}: it ended by itself\n${daemon.stdout.slice(-2000)}${daemon.stderr}`);
      daemon.kill('SIGKILL');
      await daemon.exited;
      kills = kill;
      daemon = launch();
      if (kill % REPLAY_EACH !== 0) continue;
      await isReady(daemon);
      await stage.client.exec(['tcpreplay', '-q', '--topspeed', '-i', 'eth0', recorded.file], { mayFail: true });
    }
    await isReady(daemon);
    over = true;
    await Promise.all([...knocking, looking]);
    const sent = recorded.frames().length;
    // All that was ever sent, once more, with the daemon up: then everything that is open was never accepted before, and ends in its time.
    await stage.client.exec(['tcpreplay', '-q', '--topspeed', '-i', 'eth0', recorded.file]);
    const until = performance.now() + LIFETIME_MS + SLACK_MS;
    // With iptables the daemon works off what was replayed one by one, while the first grants end.
    const deadline = until + 60_000;
    while (performance.now() < until || ((await stage.kernelGrants()) > 0 && performance.now() < deadline)) await look();

    const opened = await probe.stop();
    const late = [...seen].filter(([, { first, last }]) => last - first > LIFETIME_MS + SLACK_MS).map(([opening]) => opening);
    t.diagnostic(`${kills} kills, ${sent} knocks sent, ${seen.size} grants seen, ${probe.tries()} tries by the stranger`);
    assert.deepEqual(late, [], 'open for longer than granted, or granted twice');
    assert.deepEqual(opened, [], 'the stranger got in');
    assert.equal(await stage.kernelGrants(), 0);
    assert.ok(seen.size >= KILLS / 2 && sent >= seen.size, `${seen.size} of ${sent} knocks opened: this shows too little`);
    daemon.kill('SIGTERM');
    assert.equal((await daemon.exited).code, 0);
    await stage.postern.start();
    assert.doesNotMatch(stage.postern.daemon.stdout, /ledger .* (?:damaged|missing)/);
    await waitFor(async () => /open after/.test(await stage.knock(address, '-t', '30s')));
  });
});

/** mulberry32: the same moments for the same seed. */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
