// The commands' end of the control socket: asks the running daemon one thing and checks the shape of what it says.
import { createConnection } from 'node:net';
import type { z } from 'zod';
import { CommandError } from '../command-error.ts';
import { safeText } from '../safe-text.ts';
import { Reply, type Request } from './messages.ts';

/** Tunable: a daemon that does not answer a question in this time is hung. */
const PATIENCE_MS = 10_000;

/** Most texts hold nothing that has to be looked at closely: there may be a million. */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
/** Tunable */
const LONGEST_LINE = 4000;

/** Nobody listens there. */
export class NotRunning extends CommandError {}

/** Asks and gives back the checked answer; every failure is a CommandError that says what to do. */
export async function askDaemon<T>(path: string, request: Request, shape: z.ZodType<T>, signal?: AbortSignal): Promise<T> {
  const reply = Reply.safeParse(parsed(await exchange(path, request, signal)));
  if (!reply.success) throw new CommandError(1, `the daemon at ${path} is of another version than this command: restart it`);
  if (!reply.data.ok) throw new CommandError(reply.data.exit, reply.data.message);
  const value = shape.safeParse(reply.data.value);
  if (!value.success) throw new CommandError(1, `the daemon at ${path} is of another version than this command: restart it`);
  return value.data;
}

/** Root reads what the daemon's user says: nothing of it may be a word for the terminal. Undefined: no JSON. */
function parsed(line: string): unknown {
  try {
    return JSON.parse(line, (_key, value: unknown) => (typeof value === 'string' && UNSHOWN.test(value) ? shown(value) : value));
  } catch {
    return undefined;
  }
}

function shown(text: string): string {
  return text
    .split('\n')
    .map((line) => safeText(line, LONGEST_LINE))
    .join('\n');
}

function exchange(path: string, request: Request, signal: AbortSignal | undefined): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const parts: string[] = [];
    // Who has stopped asking must not wait for the answer.
    signal?.addEventListener('abort', () => socket.destroy(), { once: true });
    socket.setEncoding('utf8');
    socket.setTimeout(PATIENCE_MS, () => {
      socket.destroy();
      reject(new CommandError(1, `posternd does not answer at ${path}: see "systemctl status posternd" and "journalctl -u posternd"`));
    });
    socket.once('connect', () => socket.write(`${JSON.stringify(request)}\n`));
    socket.on('data', (chunk: string) => {
      // Empty lines before the answer only say that it will come.
      const text = parts.length === 0 ? chunk.replace(/^\n+/, '') : chunk;
      if (text !== '') parts.push(text);
      if (!text.includes('\n')) return;
      socket.destroy();
      resolve(parts.join('').split('\n')[0] ?? '');
    });
    socket.once('end', () => reject(new CommandError(1, `posternd closed the connection at ${path} without an answer`)));
    socket.once('error', (error: NodeJS.ErrnoException) => reject(explain(path, error)));
  });
}

function explain(path: string, error: NodeJS.ErrnoException): CommandError {
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
    return new NotRunning(
      1,
      `posternd is not running (nobody answers at ${path}): start it with "systemctl start posternd" ("posternd gate show" tells without it what is open)`,
    );
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new CommandError(
      3,
      `not permitted to talk to posternd at ${path}: use sudo, or join the group that owns the socket ("postern")`,
    );
  }
  return new CommandError(1, `cannot talk to posternd at ${path}: ${error.message}`);
}
