#!/usr/bin/env node
// posternd: turns a command line into one call of a command, and its end into an exit code. Nothing else exits the process.
import { CommanderError } from 'commander';
import { CommandError } from './command-error.ts';
import { processOutput } from './commands/options.ts';
import { NativeMissingError } from './netlink/libc.ts';
import { posterndProgram } from './program/program.ts';

async function main(argv: readonly string[]): Promise<void> {
  try {
    // What the completion scripts ask. It is in no help.
    if (argv[2] === '__complete') {
      const { completePosternd } = await import('./commands/completing.ts');
      await completePosternd(argv.slice(3), processOutput);
      return;
    }
    await posterndProgram().parseAsync([...argv]);
  } catch (error) {
    process.exitCode = report(error);
  }
}

function report(error: unknown): number {
  if (error instanceof CommanderError) {
    // Commander has printed its line already; help and version end with 0.
    return error.exitCode === 0 ? 0 : 2;
  }
  if (error instanceof CommandError) {
    for (const line of error.message.split('\n')) processOutput.err(`posternd: ${line}`);
    return error.exitCode;
  }
  if (error instanceof NativeMissingError) {
    processOutput.err(`posternd: ${error.message}: ${error.cure}`);
    return 2;
  }
  processOutput.err(`posternd: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  return 1;
}

await main(process.argv);
