#!/usr/bin/env node
// The entry of `knock`: builds its world, and is the one place that ends the process.
import { randomBytes } from 'node:crypto';
import { homedir } from 'node:os';
import { unixMs } from '../protocol/brand.ts';
import { runCli } from './cli.ts';
import { isCommandError } from './command-error.ts';
import { jsonError, printError } from './report.ts';
import type { World } from './world.ts';

const INTERRUPTED = 130;

const world: World = {
  env: process.env,
  platform: process.platform,
  home: homedir(),
  now: () => unixMs(Date.now()),
  // Not `performance`, whose first use loads 1 ms of code.
  monotonicMs: () => {
    const [seconds, nanoseconds] = process.hrtime();
    return seconds * 1e3 + nanoseconds / 1e6;
  },
  random: (length) => new Uint8Array(randomBytes(length)),
  out: (text) => standardOutput().write(text),
  err: (text) => process.stderr.write(text),
  get color() {
    return process.stderr.isTTY === true && (process.env['NO_COLOR'] ?? '') === '';
  },
  get colorOut() {
    return process.stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === '';
  },
};

process.on('SIGINT', () => process.exit(INTERRUPTED));

run(process.argv.slice(2)).then(finish, (cause: unknown) => {
  world.err(`knock: internal error, please report it: ${cause instanceof Error ? cause.stack : String(cause)}\n`);
  finish(1);
});

async function run(argv: readonly string[]): Promise<number> {
  try {
    return await runCli(argv, world);
  } catch (cause) {
    if (!isCommandError(cause)) throw cause;
    const end = argv.indexOf('--');
    if (argv.slice(0, end < 0 ? argv.length : end).includes('--json'))
      world.out(`${JSON.stringify({ ok: false, error: jsonError(cause) })}\n`);
    printError(cause, world);
    return cause.exitCode;
  }
}

/** Made when something is to be said: making it takes as long as a knock is on its way. */
function standardOutput(): NodeJS.WriteStream {
  // A reader that has seen enough (`knock … | head -1`) is no error.
  if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', () => undefined);
  return process.stdout;
}

/** Lookups that nobody waits for any more must not hold the process: it ends as soon as the output is out. */
function finish(code: number): void {
  standardOutput().write('', () => process.exit(code));
}
