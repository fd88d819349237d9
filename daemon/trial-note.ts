// What a trial leaves for the daemon that is started next, and which connection may confirm it. It survives the process, not the boot.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Connection } from './control/messages.ts';
import { replaceFile } from './fresh-file.ts';

const FILE = 'trial.json';
const Note = z.strictObject({
  boot: z.string(),
  beganBootMs: z.number(),
  endsBootMs: z.number(),
  connection: z.strictObject({ text: z.string(), sinceBootMs: z.number() }).nullable(),
  /** The daemon was stopped in order: what starts it after the trial's time is an administrator. */
  stopped: z.boolean(),
});
export type TrialNote = z.infer<typeof Note>;

/** Of this boot; undefined when there is none, or half of one. */
export function readNote(folder: string, bootId: string): TrialNote | undefined {
  try {
    const note = Note.safeParse(JSON.parse(readFileSync(join(folder, FILE), 'utf8')));
    return note.success && note.data.boot === bootId ? note.data : undefined;
  } catch {
    return undefined;
  }
}

export function writeNote(folder: string, note: TrialNote): void {
  replaceFile(join(folder, FILE), JSON.stringify(note));
}

export function dropNote(folder: string): void {
  rmSync(join(folder, FILE), { force: true });
}

/** Why this connection proves nothing about getting in through the gate, or undefined. On a console nobody is locked out. */
export function notNew(note: Pick<TrialNote, 'beganBootMs' | 'connection'>, connection: Connection | null): string | undefined {
  if (connection === null) return undefined;
  if (connection.text === note.connection?.text)
    return 'this is the connection from which the trial was begun: open a new one, and confirm there';
  if (connection.sinceBootMs < note.beganBootMs)
    return 'this connection is older than the trial, and says nothing about getting in: open a new one, and confirm there';
  return undefined;
}
