// Which files of the rules folder count as rules at all: none that somebody else could have put there (P35).
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { readYaml } from '../../daemon/config/yaml-source.ts';
import { formatProblem } from '../../daemon/problem.ts';
import { loadRuleBook } from '../../daemon/rules/load.ts';
import { line, NOW } from './rules-ground.ts';

const GOOD = `clients:\n  - name: alice\n    key: ${line(1)}\nallow:\n  - services: [tcp/22]\n`;
const isRoot = process.geteuid?.() === 0;

type Case = { readonly text: string; readonly make: (folder: string) => void; readonly expected: RegExp; readonly needsRoot?: true };

const CASES: readonly Case[] = [
  {
    text: 'a file that everybody can write',
    make: (folder) => chmodSync(join(folder, 'a.yaml'), 0o666),
    expected: /a.yaml:1:1: others can write .*chmod go-w/,
  },
  {
    text: 'a file that the group can write',
    make: (folder) => chmodSync(join(folder, 'a.yaml'), 0o664),
    expected: /a.yaml:1:1: others can write/,
  },
  {
    text: 'a file of somebody else',
    make: (folder) => chownSync(join(folder, 'a.yaml'), 54_321, 0),
    expected: /a.yaml:1:1: .* belongs to user 54321/,
    needsRoot: true,
  },
  {
    text: 'a FIFO',
    make: (folder) => void execFileSync('mkfifo', [join(folder, 'b.yaml')]),
    expected: /b.yaml:1:1: .* is not a regular file/,
  },
  {
    text: 'a symbolic link',
    make: (folder) => symlinkSync(join(folder, 'a.yaml'), join(folder, 'b.yaml')),
    expected: /b.yaml:1:1: .* is a symbolic link/,
  },
  {
    text: 'a folder with the name of a file, deep down',
    make: (folder) => mkdirSync(join(folder, '1/2/3/4/5.yaml'), { recursive: true }),
    expected: /5.yaml:1:1: .* is not a regular file/,
  },
  {
    text: 'a file of 9 MiB',
    make: (folder) => writeFileSync(join(folder, 'b.yaml'), '#'.repeat(9 * 1024 * 1024)),
    expected: /b.yaml:1:1: .* is larger than 8192 KiB/,
  },
  { text: 'a folder that everybody can write', make: (folder) => chmodSync(folder, 0o777), expected: /others can put rule files into/ },
  {
    text: 'a folder of somebody else',
    make: (folder) => chownSync(folder, 54_321, 0),
    expected: /the folder .* belongs to user 54321/,
    needsRoot: true,
  },
  { text: 'no folder', make: (folder) => rmSync(folder, { recursive: true }), expected: /cannot read the folder of rules .*ENOENT/ },
  {
    text: 'bytes that are no text',
    make: (folder) => writeFileSync(join(folder, 'b.yaml'), Buffer.from([0xc3, 0x28])),
    expected: /b.yaml:1:1: the file is not UTF-8 text/,
  },
  {
    text: 'a name with a line break (P34)',
    make: (folder) => writeFileSync(join(folder, 'b\n.yaml'), 'x'),
    expected: /b\\x0a\.yaml:1:1: a rule file must be a map/,
  },
];

describe('the folder of rules', () => {
  let folder = '';
  beforeEach(() => {
    folder = join(mkdtempSync(join(tmpdir(), 'postern-files-')), 'rules.d');
    mkdirSync(folder);
    writeFileSync(join(folder, 'a.yaml'), GOOD, { mode: 0o644 });
  });
  afterEach(() => rmSync(join(folder, '..'), { recursive: true }));

  const load = () =>
    loadRuleBook({ rules: folder, services: new Map(), defaultTtlSeconds: 30, protect: [], trusted: [], maxGrants: 32 }, NOW);

  it('as it should be', async () => {
    assert.equal((await load()).book?.clients.length, 1);
  });

  for (const { text, make, expected, needsRoot } of CASES) {
    it(`${text}: an error, and no rule holds`, { skip: needsRoot === true && !isRoot }, async () => {
      make(folder);
      const { book, problems } = await load();
      assert.equal(book, undefined);
      assert.match(problems.map(formatProblem).join('\n'), expected);
    });
  }
});

describe('the YAML reader', () => {
  it('gives problems with a place for whatever text there is, and never an exception', () => {
    const piece = fc.constantFrom(
      'a',
      ':',
      ' ',
      '\n',
      '  ',
      '- ',
      '? ',
      '[',
      ']',
      '{',
      '}',
      ',',
      '"',
      "'",
      '|',
      '>',
      '&a',
      '*a',
      '!!str ',
      '#',
      '%YAML 1.1',
      '---',
      '...',
      '\t',
      '\r\n',
      '022',
      'é',
      '\u0000',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        const { problems } = readYaml('x', Buffer.from(pieces.join('')));
        for (const { place, message } of problems) {
          assert.ok(place !== undefined && place.line >= 1 && place.column >= 1);
          assert.notEqual(message, '');
        }
      }),
      { numRuns: 3000 },
    );
  });
});
