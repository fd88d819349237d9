// Finds and reads the rule files: every *.yaml below the folder, in the order of their names. It must not look into them.
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { folderCure, readsAsDaemon, readTrustedFile, trustedOwners } from '../config/trusted-file.ts';
import { readYaml, type YamlSource } from '../config/yaml-source.ts';
import { type Problem, problemAt } from '../problem.ts';
import { safeText } from '../safe-text.ts';

// Tunable. 10,000 clients in one file are 1.5 MiB.
export const MAX_FILE_BYTES = 8 * 1024 * 1024;
const MAX_FILES = 10_000;
const MAX_DEPTH = 4;

export type RuleFile = { readonly path: string; readonly source: YamlSource };

/** Files below the folder with other bytes than the disk has: how the rules would be after a change. */
export type Instead = ReadonlyMap<string, Uint8Array>;

/** The files in deciding order. An unreadable one is an error, never left out silently: its rules would be missing. */
export async function readRuleFiles(folder: string, problems: Problem[], instead: Instead = new Map()): Promise<readonly RuleFile[]> {
  const found: string[] = [];
  await collect(folder, 0, found, problems);
  const paths = [...new Set([...found, ...instead.keys()])];
  paths.sort((a, b) => (a < b ? -1 : 1));
  if (paths.length > MAX_FILES) {
    problems.push(problemAt(undefined, `more than ${MAX_FILES} rule files below ${safeText(folder)}`, 'put several clients into one file'));
    return [];
  }
  const files: RuleFile[] = [];
  for (const path of paths) {
    const bytes = instead.get(path);
    const read = bytes === undefined ? await readTrustedFile(path, 'config', MAX_FILE_BYTES) : ({ ok: true, bytes } as const);
    if (read.ok) files.push({ path, source: readYaml(path, read.bytes) });
    else problems.push(problemAt({ file: path, line: 1, column: 1 }, read.why, read.cure));
  }
  return files;
}

/** What all rule files hold together, in bytes. What cannot be read counts nothing here: reading them names it. */
export async function sizeOfRules(folder: string): Promise<number> {
  const paths: string[] = [];
  await collect(folder, 0, paths, []);
  let bytes = 0;
  for (const path of paths)
    bytes += await stat(path).then(
      ({ size }) => size,
      () => 0,
    );
  return bytes;
}

async function collect(folder: string, depth: number, paths: string[], problems: Problem[]): Promise<void> {
  const name = safeText(folder, 300);
  try {
    const { uid, mode } = await stat(folder);
    if (!(await trustedOwners()).has(uid)) {
      problems.push(problemAt(undefined, `the folder ${name} belongs to user ${uid}`, `run: chown root ${name}`));
    }
    if ((mode & 0o022) !== 0) problems.push(problemAt(undefined, `others can put rule files into ${name}`, `run: chmod go-w ${name}`));
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.name.startsWith('.')) continue; // editors' own files
      if (entry.isDirectory() && depth < MAX_DEPTH) await collect(path, depth + 1, paths, problems);
      else if (entry.name.endsWith('.yaml')) paths.push(path);
      else if (entry.name.endsWith('.yml')) {
        const place = { file: path, line: 1, column: 1 };
        problems.push(problemAt(place, 'this file is not read', 'rename it: rule files end in .yaml', 'warning'));
      }
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    const cure =
      code === 'ENOENT'
        ? 'make it, or correct rules: in the configuration'
        : (await readsAsDaemon())
          ? folderCure(folder)
          : 'give the daemon access to it';
    problems.push(problemAt(undefined, `cannot read the folder of rules ${name} (${code})`, cure));
  }
}
