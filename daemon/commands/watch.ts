// `posternd status --watch`: looks at the daemon each second and shows what it sees, until somebody has seen enough.
import { setTimeout as delay } from 'node:timers/promises';
import { CommandError } from '../command-error.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon } from '../control/ask.ts';
import { MOST_WATCHED, WatchReport } from '../control/messages.ts';
import { type Key, openScreen } from '../watch/screen.ts';
import { type Look, mostScroll, view } from '../watch/view.ts';
import type { CommonOptions } from './options.ts';
import { requireConfig } from './require.ts';

/** Tunable */
const EVERY_MS = 1000;
const PAGE = 10;
const ENDING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Ends normally by q. By Ctrl-C or a signal it gives the terminal back and ends as that signal ends a process. */
export async function watchCommand(options: CommonOptions): Promise<void> {
  if (options.json) throw new CommandError(2, '--watch and --json do not go together: "posternd status --json" prints one object');
  const { stdin, stdout } = process;
  if (!stdout.isTTY || !stdin.isTTY) throw new CommandError(2, '--watch needs a terminal: "posternd status" prints the same once');
  const config = requireConfig(await loadConfig(options.config));
  // Who may not ask, and a daemon of another version, get their line before the screen changes.
  let look = await lookAt(config.control);
  let before: Look | undefined;
  let scroll = 0;
  const color = (process.env['NO_COLOR'] ?? '') === '';
  const over = new AbortController();
  let signal: NodeJS.Signals | undefined;
  const end = (by?: NodeJS.Signals): void => {
    signal ??= by;
    over.abort();
  };
  const onSignal = (by: NodeJS.Signals): void => end(by);
  for (const each of ENDING) process.on(each, onSignal);
  const draw = (): void => screen.show(view({ look, before, size: screen.size(), color, scroll }));
  const onKey = (key: Key): void => {
    if (key === 'quit') end();
    else if (key === 'interrupt') end('SIGINT');
    else {
      scroll = Math.max(0, Math.min(mostScroll(look), scrolled(scroll, key)));
      draw();
    }
  };
  const screen = openScreen(stdin, stdout, onKey);
  try {
    while (!over.signal.aborted) {
      draw();
      await delay(EVERY_MS, undefined, { signal: over.signal }).catch(() => undefined);
      if (over.signal.aborted) break;
      const next = await Promise.race([lookAt(config.control, over.signal), ended(over.signal)]);
      if (next === undefined) break;
      before = look;
      look = next;
      scroll = Math.min(scroll, mostScroll(look));
    }
  } finally {
    screen.close();
    for (const each of ENDING) process.off(each, onSignal);
  }
  if (signal !== undefined) process.kill(process.pid, signal);
}

function scrolled(scroll: number, key: Exclude<Key, 'quit' | 'interrupt'>): number {
  switch (key) {
    case 'up':
      return scroll - 1;
    case 'down':
      return scroll + 1;
    case 'page-up':
      return scroll - PAGE;
    case 'page-down':
      return scroll + PAGE;
    case 'top':
      return 0;
    default:
      return scroll;
  }
}

/** A daemon that is being restarted is waited for. */
async function lookAt(path: string, signal?: AbortSignal): Promise<Look> {
  try {
    const report = await askDaemon(path, { command: 'watch', grants: MOST_WATCHED }, WatchReport, signal);
    return { kind: 'seen', report, atMs: Date.now() };
  } catch (error) {
    if (signal === undefined || !(error instanceof CommandError)) throw error;
    return { kind: 'unseen', why: error.message, atMs: Date.now() };
  }
}

function ended(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined);
    else signal.addEventListener('abort', () => resolve(undefined), { once: true });
  });
}
