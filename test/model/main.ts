// npm run model: many histories by chance, the model and a real posternd side by side. What it compares stands in compare.ts.
import { parseArgs } from 'node:util';
import { BACKENDS } from '../lab/backend-table.ts';
import { tally } from './happening.ts';
import { runHistories } from './run.ts';

const USAGE = `usage: sudo npm run model -- [--backend ${BACKENDS.join('|')}] [--runs N] [--steps N] [--seed S] [--path P] [--replay-path R] [--no-shrink]`;

const { values } = parseArgs({
  options: {
    backend: { type: 'string', default: 'nftables' },
    steps: { type: 'string', default: '30' },
    runs: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    path: { type: 'string' },
    'replay-path': { type: 'string' },
    'no-shrink': { type: 'boolean', default: false },
  },
});
const [runs, seed, steps] = [Number(values.runs), Number(values.seed), Number(values.steps)];
const backend = BACKENDS.find((name) => name === values.backend);
if (backend === undefined || !Number.isInteger(runs) || runs < 1 || !Number.isInteger(seed) || !Number.isInteger(steps) || steps < 1) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}
const started = performance.now();
process.stdout.write(
  `model: ${runs} histories of up to ${steps} steps: --backend ${backend} --runs ${runs} --steps ${steps} --seed ${seed}\n`,
);
let ran = 0;
let shortest = Number.POSITIVE_INFINITY;
try {
  await runHistories({
    backend,
    runs,
    mostCommands: steps,
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
