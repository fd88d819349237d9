// Thousands of openings in a gate that is loaded anew: none is lost, none lasts longer, none is missing for a moment, and nothing stands still.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Firewall, ONE_SHOT_KINDS, type Opening, openingKey, type TimedOpening } from '../../daemon/firewall/firewall.ts';
import { openNftables } from '../../daemon/firewall/nftables/nftables.ts';
import { addressFromBytes } from '../../protocol/address.ts';
import { labMissing } from '../lab/lab.ts';
import { CLIENT, command, dial, echoService, LAYOUT, type Lab, opening, openLab, SERVER, talk, timed } from './gate-lab.ts';

const skip = labMissing() ?? false;
const COUNT = 6000;
const LIFETIME_MS = 60_000;

/** As many openings, of strangers at addresses of their own. */
function crowd(count: number, kind: Opening['kind'] = 'grant'): readonly TimedOpening[] {
  return Array.from({ length: count }, (_, at) => {
    const address = addressFromBytes(new Uint8Array([10, 200, at >> 8, at & 255]));
    return timed({ kind, address, protocol: 'tcp', port: 22, sourcePort: 0 }, LIFETIME_MS);
  });
}

describe('thousands of openings', { skip }, () => {
  let lab: Lab;
  let gate: Firewall;
  beforeEach(async () => {
    lab = openLab();
    gate = await openNftables({ table: 'postern', ownership: 'plain' });
  });
  afterEach(async () => {
    await gate.release();
    lab.close();
  });

  const cases = [
    { text: 'where no gate stood', before: async () => undefined },
    { text: 'in the place of another gate', before: () => gate.install(LAYOUT, crowd(10)) },
    { text: 'after somebody flushed the ruleset', before: async () => command('nft', 'flush', 'ruleset') },
  ];
  for (const { text, before } of cases) {
    test(`all stand, and none for longer than it was given: ${text}`, async () => {
      await before();
      const wanted = [...crowd(COUNT), ...crowd(500, 'ending')];
      const since = performance.now();
      let turns = 0;
      let isOver = false;
      const installing = gate.install(LAYOUT, wanted).finally(() => {
        isOver = true;
      });
      while (!isOver) {
        turns += 1;
        await nextTurn();
      }
      await installing;
      const standing = await gate.standing();
      const passedMs = performance.now() - since;
      assert.deepEqual(
        standing.map((each) => openingKey(each.opening)).toSorted(),
        wanted.map((each) => openingKey(each.opening)).toSorted(),
      );
      const remaining = standing.map(({ remainingMs }) => remainingMs);
      // Counted from the call on: that encoding and loading took a while must not prolong anything. Some ticks of the kernel's clock aside.
      assert.ok(Math.max(...remaining) <= LIFETIME_MS, `${Math.max(...remaining)} ms`);
      assert.ok(Math.min(...remaining) >= LIFETIME_MS - passedMs - 100, `${Math.min(...remaining)} ms after ${passedMs} ms`);
      assert.ok(turns > 4, `the event loop turned ${turns} times`);
    });
  }

  test('a few: what remains of them is counted from the call on, whatever comes in between', async () => {
    const since = performance.now();
    const installing = gate.install(LAYOUT, crowd(50));
    // A busy machine, in the middle of it.
    while (performance.now() < since + 300);
    await installing;
    const passedMs = performance.now() - since;
    const longest = Math.max(...(await gate.standing()).map(({ remainingMs }) => remainingMs));
    // Two ticks of the kernel's clock aside, where it ticks a hundred times a second.
    assert.ok(longest <= LIFETIME_MS - passedMs + 20, `${longest} ms of ${LIFETIME_MS} after ${passedMs} ms`);
  });

  test('a one-shot that is used while they are loaded anew stays used', async () => {
    const service = await echoService(22);
    const once = timed(opening('once', CLIENT[4], 'tcp/22'), LIFETIME_MS);
    await gate.install(LAYOUT, [...crowd(COUNT), once]);
    let isOver = false;
    const installing = gate.install(LAYOUT, [...crowd(COUNT), once]).finally(() => {
      isOver = true;
    });
    const { socket, outcome } = await dial(lab, SERVER[4], 22, CLIENT[4]);
    assert.equal(await outcome, 'open');
    assert.equal(isOver, false, 'the connection was there too late to show anything');
    await installing;
    assert.deepEqual(await gate.standing(ONE_SHOT_KINDS), []);
    assert.equal((await gate.standing()).length, COUNT);
    assert.ok(await talk(socket, 'still there'), 'the one connection goes on');
    socket.destroy();
    service.close();
  });

  test('a one-shot that nobody uses meanwhile stands, for no longer than before', async () => {
    const once = timed(opening('once', CLIENT[4], 'tcp/22'), LIFETIME_MS);
    await gate.install(LAYOUT, [...crowd(COUNT), once]);
    const since = performance.now();
    await gate.install(LAYOUT, [...crowd(COUNT), once]);
    const [standing] = await gate.standing(ONE_SHOT_KINDS);
    const passedMs = performance.now() - since;
    assert.ok(standing !== undefined && standing.remainingMs <= LIFETIME_MS && standing.remainingMs >= LIFETIME_MS - passedMs - 100);
  });

  test('a connection that lives by its grant goes on while the gate is replaced, and while it comes back after a flush', async () => {
    const service = await echoService(22);
    const mine = timed(opening('ending', CLIENT[4], 'tcp/22'), LIFETIME_MS);
    await gate.install(LAYOUT, [mine]);
    const { socket, outcome } = await dial(lab, SERVER[4], 22, CLIENT[4]);
    assert.equal(await outcome, 'open');
    let ended = false;
    socket.once('close', () => {
      ended = true;
    });
    // Written all the time: a packet that meets a gate without the grant would be answered with a reset.
    let isOver = false;
    const talking = (async () => {
      let lines = 0;
      for (; !isOver && (await talk(socket, `line ${lines}\n`)); lines += 1) await nextTurn();
      return lines;
    })();
    const openings = [...crowd(COUNT), mine];
    for (let round = 0; round < 3; round += 1) {
      await gate.install(LAYOUT, openings);
      command('nft', 'flush', 'ruleset');
      await gate.install(LAYOUT, openings);
    }
    isOver = true;
    assert.ok((await talking) > 10);
    assert.equal(ended, false, 'nobody ended it');
    socket.destroy();
    await once(socket, 'close');
    service.close();
  });

  test('who is cut stays cut, and who has a grant is not, among thousands', async () => {
    const openings = crowd(COUNT);
    await gate.install(LAYOUT, openings);
    const [first, second] = openings.map((each) => each.opening);
    assert.ok(first !== undefined && second !== undefined);
    await gate.close([first, second], true);
    await gate.install(LAYOUT, openings.slice(1));
    const cut = command('nft', 'list', 'set', 'inet', 'postern', 'cut4');
    assert.match(cut, new RegExp(`${first.address.text} . tcp . 22`));
    assert.doesNotMatch(cut, new RegExp(`${second.address.text} . tcp . 22`));
  });
});
