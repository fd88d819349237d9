// A few histories by chance on each run of the tests, always the same ones; npm run model runs as many as you like.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeClockMissing } from '../lab/fake-clock.ts';
import { labMissing } from '../lab/lab.ts';
import { tally } from './happening.ts';
import { runHistories } from './run.ts';

const SEED = 20261121;
const HISTORIES = 3;
const MOST_COMMANDS = 60;

test('whatever happens in whatever order (knocks, replays, clock steps, reloads, crashes, others at the table), what is open is what the documents say', {
  skip: labMissing() ?? fakeClockMissing() ?? false,
  timeout: 240_000,
}, async (t) => {
  await runHistories({
    backend: 'nftables',
    runs: HISTORIES,
    mostCommands: MOST_COMMANDS,
    seed: SEED,
    deadlineMs: 230_000,
    shrinks: false,
  });
  t.diagnostic([...tally].map(([what, times]) => `${what} ${times}`).join(', '));
  for (const what of ['knock granted', 'knock replay', 'knock unknown', 'write rules', 'set the clock by', 'start'])
    assert.ok((tally.get(what) ?? 0) > 0, `${what} never happened: this shows too little`);
});
