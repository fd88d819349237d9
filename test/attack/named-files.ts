// Prints what scripts/attack runs, one compiled file a line: the tests of this folder, and those that docs/attacks.md names elsewhere.
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readRows } from './attack-table.ts';

const TESTS = fileURLToPath(new URL('..', import.meta.url));
const ELSEWHERE = ['unit', 'integration'];

const own = readdirSync(join(TESTS, 'attack')).filter((name) => name.endsWith('.test.js'));
const named = new Set(readRows().flatMap(({ tests }) => tests.map(({ file }) => `${file}.test.js`)));
const others = ELSEWHERE.flatMap((folder) => [...named].map((name) => join(TESTS, folder, name))).filter((file) => existsSync(file));
for (const file of [...own.map((name) => join(TESTS, 'attack', name)), ...others])
  process.stdout.write(`${relative(process.cwd(), file)}\n`);
