// Writes the metrics again and again, and once more at the end. That it fails hurts nobody: a line in the journal, and the next turn tries again.
import { setTimeout as delay } from 'node:timers/promises';
import { rarely } from '../capture/rarely.ts';
import { periodically } from '../periodically.ts';
import { collect, type Measured } from './collect.ts';
import { exposition } from './exposition.ts';
import { replaceTextFile } from './text-file.ts';

// Tunable
const EVERY_MS = 15_000;
const PATIENCE_AT_END_MS = 1000;

/** Begins at once. Returns what ends it. */
export function keepMetrics(path: string, parts: Measured, report: (trouble: string) => void): () => Promise<void> {
  const tell = rarely(report);
  let turn: Promise<void> = Promise.resolve();
  // One at a time, so that the last one is the last.
  const write = (running: boolean): Promise<void> => {
    turn = turn.then(async () => replaceTextFile(path, exposition(await collect(parts, running)))).catch(failed);
    return turn;
  };
  const failed = (error: unknown): void => {
    const { code, message } = error as NodeJS.ErrnoException;
    tell(`the metrics cannot be written to ${path} (${code ?? message}): the folder must be writable by the daemon's user`);
  };
  void write(true);
  const stop = periodically(EVERY_MS, () => write(true), failed);
  return async () => {
    stop();
    await Promise.race([write(false), delay(PATIENCE_AT_END_MS, undefined, { ref: false })]);
  };
}
