// npm run bench: the parts one after another, each a program of its own with a time limit, so that one that fails does not lose the others; then the
// documents from everything that was measured. What each part measures stands in its first lines.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PARTS, type Part } from './parts.ts';
import { type Failure, writeReport } from './report.ts';

const USAGE = `usage: sudo npm run bench [-- [PART…] [--quick] [--report]]
  without a part: all of them, then the documents
  --quick   a smoke run with few samples, without size; never for the documents
  --report  only write docs/benchmarks.md, its plots and the README's table from the results of earlier runs
parts:
${PARTS.map(({ key, about }) => `  ${key.padEnd(12)} ${about}`).join('\n')}
`;

const { parts, rest, isQuick, isReport } = parse(process.argv.slice(2));
const failures: Failure[] = [];
const isAll = parts.length === 0 && !isReport;
let interrupted: NodeJS.Signals | undefined;
for (const part of isAll ? PARTS.filter(({ isUsual, takesWords }) => isUsual && !(isQuick && takesWords)) : parts) {
  const why = await run(part);
  if (interrupted !== undefined) process.exit(interrupted === 'SIGINT' ? 130 : 143);
  if (why !== '') failures.push({ key: part.key, why });
  // After each: whoever interrupts a long run keeps what there is.
  if (isAll && !isQuick) writeReport(failures);
}
if (isReport || (isAll && !isQuick)) {
  const written = writeReport(failures);
  process.stderr.write(written.length === 0 ? 'bench: no results yet: run npm run bench\n' : `bench: wrote\n  ${written.join('\n  ')}\n`);
  if (written.length === 0) process.exit(1);
}
process.exit(failures.length === 0 ? 0 : 1);

/** Empty, or why it did not run. */
async function run({ key, minutes }: Part): Promise<string> {
  const program = fileURLToPath(new URL(`./${key}.js`, import.meta.url));
  const started = performance.now();
  process.stderr.write(`bench: ${key}\n`);
  const child = spawn(process.execPath, [program, ...rest, ...(isQuick ? ['--quick'] : [])], { stdio: ['ignore', 'inherit', 'inherit'] });
  // SIGTERM first: the laboratory then takes its namespaces along.
  const timers = [
    setTimeout(() => child.kill('SIGTERM'), minutes * 60_000),
    setTimeout(() => child.kill('SIGKILL'), minutes * 60_000 + 10_000),
  ];
  const forward = (signal: NodeJS.Signals): void => {
    interrupted = signal;
    child.kill(signal);
  };
  process.on('SIGINT', forward).on('SIGTERM', forward);
  const how = await new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(code === 0 ? '' : `ended with ${signal ?? code}`));
  });
  for (const timer of timers) clearTimeout(timer);
  process.off('SIGINT', forward).off('SIGTERM', forward);
  const tookS = Math.round((performance.now() - started) / 1000);
  process.stderr.write(`bench: ${key} ${how === '' ? 'done' : `DID NOT RUN: ${how}`}, ${tookS} s\n`);
  return how;
}

function parse(argv: readonly string[]) {
  const alone = PARTS.find(({ key, takesWords }) => key === argv[0] && takesWords);
  if (alone !== undefined) return { parts: [alone], rest: argv.slice(1), isQuick: false, isReport: false };
  try {
    const options = {
      quick: { type: 'boolean', default: false },
      report: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    } as const;
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true });
    if (values.help === true) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    const found = positionals.map((word) => PARTS.find(({ key }) => key === word) ?? fail(`no part is called ${JSON.stringify(word)}`));
    return { parts: found, rest: [], isQuick: values.quick, isReport: values.report };
  } catch (error) {
    return fail(error instanceof Error ? error.message : String(error));
  }
}

function fail(why: string): never {
  process.stderr.write(`bench: ${why}\n${USAGE}`);
  process.exit(2);
}
