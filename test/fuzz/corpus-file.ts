// Where inputs are kept: test/fuzz/corpus/TARGET/kept.txt (what reaches every edge that was ever reached, made small) and found.txt (what once
// broke something, for good). One input a line, in base64; text behind it says what it was.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { PROJECT } from './project.ts';

const TARGETS = join(PROJECT, 'test', 'fuzz', 'targets');

export function targetNames(): readonly string[] {
  return readdirSync(TARGETS)
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.slice(0, -3))
    .sort();
}

export function readCorpus(target: string): readonly Uint8Array[] {
  return [...readInputs(fileOf(target, 'found')), ...readInputs(fileOf(target, 'kept'))];
}

export function readKept(target: string): readonly Uint8Array[] {
  return readInputs(fileOf(target, 'kept'));
}

/** The shortest first; equal ones in the order of their bytes, so that a diff is small. */
export function writeKept(target: string, inputs: readonly Uint8Array[]): string {
  const file = fileOf(target, 'kept');
  const sorted = inputs.toSorted((a, b) => a.length - b.length || Buffer.compare(a, b));
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, sorted.map((input) => `${Buffer.from(input).toString('base64')}\n`).join(''));
  return file;
}

function fileOf(target: string, which: 'kept' | 'found'): string {
  return join(PROJECT, 'test', 'fuzz', 'corpus', target, `${which}.txt`);
}

function readInputs(file: string): readonly Uint8Array[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.filter((line) => !line.startsWith('#')).map((line) => new Uint8Array(Buffer.from(line.split(' ', 1)[0] ?? '', 'base64')));
}
