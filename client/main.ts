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
  monotonicMs: () => performance.now(),
  random: (length) => new Uint8Array(randomBytes(length)),
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  color: process.stderr.isTTY === true && (process.env['NO_COLOR'] ?? '') === '',
  colorOut: process.stdout.isTTY === true && (process.env['NO_COLOR'] ?? '') === '',
};

// A reader that has seen enough (`knock … | head -1`) is no error.
process.stdout.on('error', () => undefined);
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

/** Lookups that nobody waits for any more must not hold the process: it ends as soon as the output is out. */
function finish(code: number): void {
  process.stdout.write('', () => process.exit(code));
}
