// Runs the command after `--` and becomes it, as far as exit codes and signals go. The one place in the client that starts a process.
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { quote } from './quote.ts';
import type { World } from './world.ts';

// As shells do.
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

/** The command's exit code; 128 + n when signal n ended it; 126 or 127 when it could not be started. */
export async function runCommand(argv: readonly string[], world: Pick<World, 'err'>): Promise<number> {
  const [file = '', ...args] = argv;
  // Ctrl-C reaches the command from the terminal too; what becomes of it is the command's decision. Other signals are handed on.
  // All of this before the command starts: a signal in between would end this process and leave the command behind.
  let child: ChildProcess | undefined;
  process.removeAllListeners('SIGINT');
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child?.kill(signal));
  const running = spawn(file, args, { stdio: 'inherit' });
  child = running;
  return await new Promise((resolve) => {
    running.once('error', (error: NodeJS.ErrnoException) => {
      world.err(`knock: cannot run ${quote(file)} (${error.code ?? error.message})\n`);
      resolve(error.code === 'ENOENT' ? NOT_FOUND : NOT_EXECUTABLE);
    });
    running.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}
