// The same of the gate in iptables, with ipset; without it: sudo npm run model -- --backend iptables-without-ipset.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeClockMissing } from '../lab/fake-clock.ts';
import { labMissing } from '../lab/lab.ts';
import { tally } from './happening.ts';
import { runHistories } from './run.ts';

const SEED = 20261124;
const HISTORIES = 2;
const MOST_COMMANDS = 60;

test('whatever happens in whatever order, what is open with iptables is what the documents say, and what it cannot do is refused', {
  skip: labMissing() ?? fakeClockMissing() ?? false,
  timeout: 240_000,
}, async (t) => {
  await runHistories({
    backend: 'iptables-nft',
    runs: HISTORIES,
    mostCommands: MOST_COMMANDS,
    seed: SEED,
    deadlineMs: 230_000,
    shrinks: false,
  });
  t.diagnostic([...tally].map(([what, times]) => `${what} ${times}`).join(', '));
  for (const what of ['knock granted', 'knock replay', 'knock unknown', 'write rules: reload', 'set the clock by', 'start', 'others'])
    assert.ok((tally.get(what) ?? 0) > 0, `${what} never happened: this shows too little`);
});
