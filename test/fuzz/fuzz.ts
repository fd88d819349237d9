// npm run fuzz: runs targets for long, says how it goes, and what it found. Without --keep nothing in the project changes.
//
//   npm run fuzz -- [TARGET …] [--seconds N | --runs N] [--seed N] [--keep] [--missed] [--json FILE]
//   npm run fuzz -- TARGET --input FILE      runs one input again
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readCorpus, readKept, targetNames, writeKept } from './corpus-file.ts';
import { coverageOf, type FileCoverage, percent } from './coverage.ts';
import { Engine } from './engine.ts';
import { loadTarget } from './load-target.ts';
import { PROJECT } from './project.ts';
import { shrunk, smallCorpus } from './shrink.ts';
import { watchdog } from './watchdog.ts';

const USAGE = `usage: npm run fuzz -- [TARGET …] [--seconds N | --runs N] [--seed N] [--keep] [--missed] [--json FILE]
       npm run fuzz -- TARGET --input FILE
targets: ${targetNames().join(' ')}`;
/** Each target, when nothing is said. */
const DEFAULT_SECONDS = 60;
const LINE_EVERY_MS = 5000;
const FOUND = join(PROJECT, 'fuzz-found');

type Limits = { readonly seconds: number | undefined; readonly runs: number | undefined; readonly seed: number };

function options() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        seconds: { type: 'string' },
        runs: { type: 'string' },
        seed: { type: 'string' },
        keep: { type: 'boolean', default: false },
        missed: { type: 'boolean', default: false },
        json: { type: 'string' },
        input: { type: 'string' },
      },
    });
  } catch (error) {
    return wrongUsage(error instanceof Error ? error.message : '');
  }
}

function wrongUsage(why: string): never {
  process.stderr.write(`fuzz: ${why}\n${USAGE}\n`);
  process.exit(2);
}

function wholeNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,15}$/.test(text)) wrongUsage(`--${name} ${JSON.stringify(text)}: a whole number is wanted`);
  return Number(text);
}

/** One target, one line after the other. True: nothing was found. */
async function fuzz(
  name: string,
  limits: Limits,
  values: { readonly keep: boolean; readonly missed: boolean; readonly json?: string | undefined },
): Promise<boolean> {
  const startedAt = new Date();
  const loaded = await loadTarget(name);
  mkdirSync(FOUND, { recursive: true });
  const endless = join(FOUND, `${name}-endless`);
  const dog = watchdog(endless, `npm run fuzz -- ${name} --input ${endless}`);
  const engine = new Engine(loaded, limits.seed, dog.before);
  await engine.begin(readCorpus(name));
  const known = engine.corpus.length;
  const edges = loaded.instrumented.edges.length;
  process.stdout.write(`${name}: ${loaded.target.about}\n  seed ${limits.seed}, ${known} inputs, ${edges} edges in all that it loads\n`);

  const startMs = performance.now();
  const secondsGone = () => (performance.now() - startMs) / 1000;
  let lineMs = startMs;
  let told = 0;
  const isOver = () =>
    limits.runs === undefined ? secondsGone() >= (limits.seconds ?? DEFAULT_SECONDS) : engine.executions >= limits.runs;
  while (!isOver()) {
    // The clock is read once in a while only.
    for (let step = 0; step < 64 && (limits.runs === undefined || engine.executions < limits.runs); step += 1) await engine.step();
    told = await tellFindings(name, engine, told, loaded);
    if (performance.now() - lineMs < LINE_EVERY_MS) continue;
    lineMs = performance.now();
    process.stdout.write(`  ${progress(engine, secondsGone(), known)}\n`);
  }
  await tellFindings(name, engine, told, loaded);
  const seconds = secondsGone();
  await dog.stop();
  process.stdout.write(`  ${progress(engine, seconds, known)}\n`);
  const coverage = await coverageOf(loaded, engine);
  tellEnd(engine, coverage, values.missed);
  if (values.keep) {
    const file = writeKept(name, await smallCorpus(loaded, [...readKept(name), ...engine.corpus]));
    process.stdout.write(`  kept in ${file}: ${readKept(name).length} inputs\n`);
  }
  if (values.json !== undefined) writeJson(values.json, { name, startedAt, limits, engine, seconds, coverage });
  return engine.findings.length === 0;
}

function progress(engine: Engine, seconds: number, known: number): string {
  const { executions, corpus, findings } = engine;
  const each = Math.round(executions / Math.max(seconds, 0.001));
  return `${number(executions)} runs in ${seconds.toFixed(0)} s (${number(each)}/s), ${engine.edgesTaken()} edges, ${corpus.length - known} new inputs, ${findings.length} findings`;
}

async function tellFindings(
  name: string,
  { findings }: Engine,
  told: number,
  loaded: Awaited<ReturnType<typeof loadTarget>>,
): Promise<number> {
  for (const { input, what, stack } of findings.slice(told)) {
    const small = await shrunk(input, async (smaller) => (await messageOf(async () => loaded.target.run(smaller))) === what);
    const file = join(FOUND, `${name}-${createHash('sha256').update(small).digest('hex').slice(0, 12)}`);
    writeFileSync(file, small);
    process.stdout.write(
      `  FINDING: ${JSON.stringify(what)}\n    again: npm run fuzz -- ${name} --input ${file}\n${stack.split('\n').slice(1, 6).join('\n')}\n`,
    );
  }
  return findings.length;
}

async function messageOf(run: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await run();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function tellEnd(engine: Engine, coverage: readonly FileCoverage[], missed: boolean): void {
  const stages = [...engine.stages].sort((a, b) => b[1] - a[1]);
  const { executions, slowest } = engine;
  process.stdout.write('  how far they came:\n');
  for (const [stage, count] of stages)
    process.stdout.write(`    ${stage.padEnd(20)} ${number(count).padStart(14)}  ${((100 * count) / executions).toFixed(2)} %\n`);
  process.stdout.write(
    `  the slowest: ${slowest.milliseconds.toFixed(1)} ms for ${slowest.input.length} bytes\n  ${'covered'.padEnd(46)} lines      edges\n`,
  );
  for (const { file, lines, edges, missed: not } of coverage) {
    process.stdout.write(
      `    ${file.padEnd(42)}  ${percent(lines).padStart(8)}  ${percent(edges).padStart(8)} (${edges.taken} of ${edges.all})\n`,
    );
    if (missed) for (const edge of not) process.stdout.write(`      never: ${edge}\n`);
  }
}

type Ended = {
  readonly name: string;
  readonly startedAt: Date;
  readonly limits: Limits;
  readonly engine: Engine;
  readonly seconds: number;
  readonly coverage: readonly FileCoverage[];
};

function writeJson(file: string, { name, startedAt, limits, engine, seconds, coverage }: Ended): void {
  const { executions, findings, slowest, stages } = engine;
  const report = {
    target: name,
    started_at: startedAt.toISOString(),
    ...limits,
    took_seconds: Math.round(seconds),
    executions,
    edges: engine.edgesTaken(),
    findings: findings.map(({ what }) => what),
    slowest_ms: slowest.milliseconds,
    stages: Object.fromEntries(stages),
    coverage: coverage.map(({ missed: _, ...rest }) => rest),
  };
  writeFileSync(file, `${JSON.stringify(report)}\n`, { flag: 'a' });
}

function number(value: number): string {
  return value.toLocaleString('en-US');
}

async function again(name: string, file: string): Promise<void> {
  const { target } = await loadTarget(name);
  const startMs = performance.now();
  process.stdout.write(`${await target.run(new Uint8Array(readFileSync(file)))}, in ${(performance.now() - startMs).toFixed(1)} ms\n`);
}

// Whoever pipes us into head has seen enough.
process.stdout.on('error', () => process.exit(0));
const { values, positionals } = options();
const unknown = positionals.find((name) => !targetNames().includes(name));
if (unknown !== undefined) wrongUsage(`no target is called ${JSON.stringify(unknown)}`);
const names = positionals.length === 0 ? targetNames() : positionals;
const [only] = names;
if (values.input !== undefined) {
  if (positionals.length !== 1 || only === undefined) wrongUsage('--input wants one target');
  await again(only, values.input);
} else {
  const seed = wholeNumber('seed', values.seed) ?? Math.floor(Math.random() * 2 ** 32);
  const limits = { seconds: wholeNumber('seconds', values.seconds), runs: wholeNumber('runs', values.runs), seed };
  const { keep, missed, json } = values;
  let sound = true;
  for (const name of names) sound = (await fuzz(name, limits, { keep, missed, json })) && sound;
  process.exitCode = sound ? 0 : 1;
}
