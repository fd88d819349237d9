// Runs the command after `--` and becomes it, as far as exit codes and signals go. The one place in the client that starts a process.
import { spawn } from 'node:child_process';
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
  process.removeAllListeners('SIGINT');
  process.on('SIGINT', () => undefined);
  return await new Promise((resolve) => {
    const child = spawn(file, args, { stdio: 'inherit' });
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
    child.once('error', (error: NodeJS.ErrnoException) => {
      world.err(`knock: cannot run ${quote(file)} (${error.code ?? error.message})\n`);
      resolve(error.code === 'ENOENT' ? NOT_FOUND : NOT_EXECUTABLE);
    });
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
}
