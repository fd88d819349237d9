// In which SSH connection does this command run? From the environment and the processes that this one descends from; decides nothing.
import { readFile } from 'node:fs/promises';
import type { Connection } from '../control/messages.ts';

/** Kernel ticks of proc(5): 100 a second on every architecture that Node runs on. */
const TICK_MS = 10;
const MOST_ANCESTORS = 24;
const VARIABLE = 'SSH_CONNECTION';

/**
 * `text` is sshd's `client port server port`; `sinceBootMs` is when its sshd, or the oldest process in it, was started. sudo takes the variable
 * away, so the ancestors are asked too; tmux and screen keep the one of the connection in which they were started, which is told as it is.
 */
export async function callersConnection(environment: NodeJS.ProcessEnv): Promise<Connection | undefined> {
  const own = environment[VARIABLE];
  if (own === '') return undefined;
  let text = own;
  let sinceBootMs = (await look(process.pid))?.startBootMs ?? 0;
  let pid = process.ppid;
  for (let depth = 0; depth < MOST_ANCESTORS && pid > 1; depth += 1) {
    const ancestor = await look(pid);
    if (ancestor === undefined) break;
    if (ancestor.connection === undefined || (text !== undefined && ancestor.connection !== text)) {
      // sshd itself does not have the variable; with it the connection began.
      if (text !== undefined && /^sshd/.test(ancestor.name)) sinceBootMs = ancestor.startBootMs;
      if (text !== undefined) break;
    } else {
      text = ancestor.connection;
      sinceBootMs = ancestor.startBootMs;
    }
    pid = ancestor.parent;
  }
  return text === undefined ? undefined : { text: text.slice(0, 256), sinceBootMs };
}

type Ancestor = { readonly name: string; readonly parent: number; readonly startBootMs: number; readonly connection: string | undefined };

async function look(pid: number): Promise<Ancestor | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'latin1').catch(() => '');
  const match = /^\d+ \((.*)\) (.*)$/s.exec(stat);
  if (match === null) return undefined;
  const fields = (match[2] ?? '').split(' ');
  const variables = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
  const found = variables
    .split('\0')
    .find((each) => each.startsWith(`${VARIABLE}=`))
    ?.slice(VARIABLE.length + 1);
  return {
    name: match[1] ?? '',
    parent: Number(fields[1]),
    startBootMs: Number(fields[19]) * TICK_MS,
    connection: found === '' ? undefined : found,
  };
}
