// Datagrams that wait: a burst does not hold up the event loop, nothing is lost or overtakes, and a flood does not fill the memory.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Datagram } from '../../daemon/capture/capture.ts';
import { WaitingDatagrams } from '../../daemon/capture/waiting.ts';
import { parseAddress } from '../../protocol/address.ts';

const source = parseAddress('198.51.100.7');
assert.ok(source.ok);
const from = source.value;

function datagram(number: number): Datagram {
  return { payload: new Uint8Array([number >> 8, number & 255]), source: from, sourcePort: 1000 };
}

function numberOf({ payload }: Datagram): number {
  return (payload[0] ?? 0) * 256 + (payload[1] ?? 0);
}

function workFor(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

test('a burst is worked off in order, and the event loop turns in between', async () => {
  let turns = 0;
  const seen: { readonly number: number; readonly turn: number }[] = [];
  const waiting = new WaitingDatagrams((each) => {
    workFor(2);
    seen.push({ number: numberOf(each), turn: turns });
  });
  let isOver = false;
  const count = (): void => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  for (let number = 0; number < 32; number += 1) waiting.add(datagram(number));
  assert.ok(seen.length <= 1, 'who adds does not wait for the work');
  await waiting.empty();
  isOver = true;
  assert.deepEqual(
    seen.map(({ number }) => number),
    Array.from({ length: 32 }, (_, at) => at),
  );
  const most = Math.max(...seen.map(({ turn }) => seen.filter((other) => other.turn === turn).length));
  assert.ok(most <= 4, `${most} in one turn`);
  assert.ok(turns >= 8, `${turns} turns`);
});

test('one alone is worked off at once', async () => {
  const seen: number[] = [];
  const waiting = new WaitingDatagrams((each) => seen.push(numberOf(each)));
  waiting.add(datagram(7));
  assert.deepEqual(seen, [7]);
  await waiting.empty();
});

test('a flood without a turn is worked off in order, with a bounded number that wait', async () => {
  const seen: number[] = [];
  const waiting = new WaitingDatagrams((each) => seen.push(numberOf(each)));
  for (let number = 0; number < 5000; number += 1) {
    waiting.add(datagram(number));
    assert.ok(number + 1 - seen.length <= 256);
  }
  await waiting.empty();
  assert.deepEqual(
    seen,
    Array.from({ length: 5000 }, (_, at) => at),
  );
});
