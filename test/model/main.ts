// npm run model: many histories by chance, the model and a real posternd side by side. What it compares stands in compare.ts.
import { parseArgs } from 'node:util';
import { tally } from './happening.ts';
import { runHistories } from './run.ts';

const USAGE = 'usage: sudo npm run model -- [--runs N] [--seed S] [--path P] [--replay-path R] [--no-shrink]';

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    path: { type: 'string' },
    'replay-path': { type: 'string' },
    'no-shrink': { type: 'boolean', default: false },
  },
});
const [runs, seed] = [Number(values.runs), Number(values.seed)];
if (!Number.isInteger(runs) || runs < 1 || !Number.isInteger(seed)) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}
const started = performance.now();
process.stdout.write(`model: ${runs} histories, --seed ${seed}\n`);
let ran = 0;
let shortest = Number.POSITIVE_INFINITY;
try {
  await runHistories({
    runs,
    mostCommands: 30,
    seed,
    deadlineMs: 24 * 3600 * 1000,
    path: values.path,
    replayPath: values['replay-path'],
    shrinks: !values['no-shrink'],
    onRun: (number) => {
      ran = number;
      if (number % 10 === 0) process.stdout.write(`  ${number} histories, ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
    },
    onFailure: (history, error) => {
      const length = history.split('\n').length;
      if (length < shortest) process.stdout.write(`failed:\n${history.replaceAll(/^/gm, '  ')}\n${String(error)}\n`);
      shortest = Math.min(shortest, length);
    },
  });
  process.stdout.write(`model and reality agreed after every step of ${ran} histories\n`);
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
for (const [what, times] of [...tally].sort(([, a], [, b]) => b - a)) process.stdout.write(`  ${String(times).padStart(6)}  ${what}\n`);
