// The import boundaries of biome.json really bite: a file that breaks one is refused, one that keeps to it is not.
// Works in a copy: the project's own folder never holds a file that breaks a rule.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROJECT = fileURLToPath(new URL('../../../', import.meta.url));
const BIOME = join(PROJECT, 'node_modules/@biomejs/biome/bin/biome');

type Case = { readonly text: string; readonly file: string; readonly code: string; readonly rule: string | undefined };

const IMPORTS = 'lint/style/noRestrictedImports';
const GLOBALS = 'lint/style/noRestrictedGlobals';
const use = (from: string) => `import * as it from '${from}';\nexport const used = it;\n`;

const CASES: readonly Case[] = [
  { text: 'protocol/ reads a file', file: 'protocol/bad.ts', code: use('node:fs'), rule: IMPORTS },
  { text: 'protocol/ opens a socket', file: 'protocol/bad.ts', code: use('node:dgram'), rule: IMPORTS },
  {
    text: 'protocol/ connects',
    file: 'protocol/bad.ts',
    code: "import { connect } from 'node:net';\nexport const c = connect;\n",
    rule: IMPORTS,
  },
  { text: 'protocol/ imports daemon/', file: 'protocol/bad.ts', code: use('../daemon/other.ts'), rule: IMPORTS },
  { text: 'protocol/ imports client/', file: 'protocol/bad.ts', code: use('../client/other.ts'), rule: IMPORTS },
  { text: 'protocol/ logs by pino', file: 'protocol/bad.ts', code: use('pino'), rule: IMPORTS },
  { text: 'protocol/ reads the clock', file: 'protocol/bad.ts', code: 'export const now = () => Date.now();\n', rule: GLOBALS },
  { text: 'protocol/ reads the environment', file: 'protocol/bad.ts', code: 'export const home = () => process.env;\n', rule: GLOBALS },
  { text: 'shell/ reads a file', file: 'shell/bad.ts', code: use('node:fs'), rule: IMPORTS },
  { text: 'shell/ imports daemon/', file: 'shell/bad.ts', code: use('../daemon/other.ts'), rule: IMPORTS },
  { text: 'client/ imports daemon/', file: 'client/bad.ts', code: use('../daemon/other.ts'), rule: IMPORTS },
  { text: 'client/ imports daemon/ from deeper down', file: 'client/a/bad.ts', code: use('../../daemon/other.ts'), rule: IMPORTS },
  { text: 'client/ loads native code', file: 'client/bad.ts', code: use('koffi'), rule: IMPORTS },
  { text: 'client/ imports the laboratory', file: 'client/bad.ts', code: use('../test/lab/lab.ts'), rule: IMPORTS },
  { text: 'daemon/ imports client/', file: 'daemon/a/b/bad.ts', code: use('../../../client/other.ts'), rule: IMPORTS },
  { text: 'daemon/ starts a child outside spawn.ts', file: 'daemon/bad.ts', code: use('node:child_process'), rule: IMPORTS },
  { text: 'daemon/netlink/ starts a child', file: 'daemon/netlink/bad.ts', code: use('node:child_process'), rule: IMPORTS },
  { text: 'daemon/ calls libc outside netlink/', file: 'daemon/bad.ts', code: use('koffi'), rule: IMPORTS },
  { text: 'daemon/spawn.ts calls libc', file: 'daemon/spawn.ts', code: use('koffi'), rule: IMPORTS },
  { text: 'daemon/policy/ reads a file', file: 'daemon/policy/bad.ts', code: use('node:fs'), rule: IMPORTS },
  { text: 'daemon/policy/ reads the clock', file: 'daemon/policy/bad.ts', code: 'export const now = () => Date.now();\n', rule: GLOBALS },
  {
    text: 'daemon/policy/ sets a timer',
    file: 'daemon/policy/bad.ts',
    code: 'export const t = () => setTimeout(() => 1, 1);\n',
    rule: GLOBALS,
  },
  {
    text: 'the structure of the gate reads the clock',
    file: 'daemon/firewall/nftables/structure.ts',
    code: 'export const now = () => new Date();\n',
    rule: GLOBALS,
  },
  {
    text: 'a promise that nobody awaits',
    file: 'daemon/bad.ts',
    code: 'async function f(): Promise<number> {\n  return 1;\n}\nexport function g(): void {\n  f();\n}\n',
    rule: 'lint/nursery/noFloatingPromises',
  },
  { text: 'any', file: 'daemon/bad.ts', code: 'export const x = (y: any) => y;\n', rule: 'lint/suspicious/noExplicitAny' },
  {
    text: 'a non-null assertion',
    file: 'client/bad.ts',
    code: 'export const x = (y?: { a: 1 }) => y!.a;\n',
    rule: 'lint/style/noNonNullAssertion',
  },
  {
    text: 'files that import each other',
    file: 'daemon/bad.ts',
    code: "import { other } from './other.ts';\nexport const back = () => other;\n",
    rule: 'lint/suspicious/noImportCycles',
  },
  { text: 'protocol/ uses node:crypto', file: 'protocol/good.ts', code: use('node:crypto'), rule: undefined },
  {
    text: 'protocol/ tells address families',
    file: 'protocol/good.ts',
    code: "import { isIPv4 } from 'node:net';\nexport const v4 = isIPv4;\n",
    rule: undefined,
  },
  { text: 'protocol/ imports itself', file: 'protocol/good.ts', code: use('./other.ts'), rule: undefined },
  { text: 'daemon/ imports protocol/', file: 'daemon/a/good.ts', code: use('../../protocol/other.ts'), rule: undefined },
  { text: 'shell/ reads definitions of commander', file: 'shell/good.ts', code: use('commander'), rule: undefined },
  { text: 'client/ imports protocol/', file: 'client/good.ts', code: use('../protocol/other.ts'), rule: undefined },
  { text: 'daemon/netlink/ calls libc', file: 'daemon/netlink/good.ts', code: use('koffi'), rule: undefined },
  { text: 'daemon/spawn.ts starts a child', file: 'daemon/spawn.ts', code: use('node:child_process'), rule: undefined },
];

describe('import boundaries', () => {
  let copy: string;
  before(() => {
    copy = mkdtempSync(join(tmpdir(), 'postern-boundaries-'));
    cpSync(join(PROJECT, 'biome.json'), join(copy, 'biome.json'));
    symlinkSync(join(PROJECT, 'node_modules'), join(copy, 'node_modules'));
    for (const [file, code] of [
      ['protocol/other.ts', 'export const other = 1;\n'],
      ['client/other.ts', 'export const other = 1;\n'],
      ['daemon/other.ts', "import { back } from './bad.ts';\nexport const other = 1;\nexport const there = back;\n"],
    ] as const) {
      mkdirSync(dirname(join(copy, file)), { recursive: true });
      writeFileSync(join(copy, file), code);
    }
  });
  after(() => rmSync(copy, { recursive: true, force: true }));

  for (const { text, file, code, rule } of CASES) {
    test(`${rule === undefined ? 'lets through' : 'refuses'}: ${text}`, () => {
      const place = join(copy, file);
      mkdirSync(dirname(place), { recursive: true });
      writeFileSync(place, code);
      const linted = spawnSync(process.execPath, [BIOME, 'lint', '--reporter=json', file], { cwd: copy, encoding: 'utf8' });
      rmSync(place);
      const found = (JSON.parse(linted.stdout) as { diagnostics: { category: string; severity: string }[] }).diagnostics;
      const errors = found.filter((one) => one.severity === 'error').map((one) => one.category);
      assert.deepEqual(errors, rule === undefined ? [] : [rule], linted.stdout + linted.stderr);
      assert.equal(linted.status === 0, rule === undefined);
    });
  }
});
