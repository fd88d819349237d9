// The frame of a part: its options, where its result is kept, what it prints.
import { chownSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { machineFacts } from './machine.ts';
import { sectionMarkdown } from './markdown.ts';
import type { Result, Section } from './section.ts';

/** Kept between runs and never committed: docs/benchmarks.md is made of it. */
export const RESULTS = fileURLToPath(new URL('../../../bench-results/', import.meta.url));

export type PartOptions = {
  /** A smoke run: does everything once, with few samples. Its figures mean little. */
  readonly isQuick: boolean;
};

/** Runs a part as a program of its own: the result goes to the results folder as JSON and to stdout as Markdown. */
export async function runPart(measure: (options: PartOptions) => Promise<Section>): Promise<never> {
  const isQuick = process.argv.includes('--quick');
  const section = await measure({ isQuick });
  const facts = await machineFacts();
  const command = isQuick ? `${section.command} --quick` : section.command;
  const result: Result = { ...section, ...facts, command, isQuick };
  mkdirSync(RESULTS, { recursive: true });
  // A quick run never takes the place of a real one.
  const file = join(RESULTS, `${section.key}${isQuick ? '.quick' : ''}.json`);
  writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`);
  giveToOwner(RESULTS, file);
  process.stdout.write(`${sectionMarkdown(result, 'alone')}\n`);
  process.exit(0);
}

/** With sudo, what is made in the project's folder belongs to the folder's owner, not to root. */
export function giveToOwner(...files: readonly string[]): void {
  const { uid, gid } = statSync(fileURLToPath(new URL('../../../package.json', import.meta.url)));
  for (const file of files) chownSync(file, uid, gid);
}

/** A line of progress. */
export function progress(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)} ${text}\n`);
}
