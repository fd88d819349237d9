// The manual pages: man and mandoc find nothing to complain about, and every command and option of the program stands in its page.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { knockProgram } from '../../client/program.ts';
import { jsonSchemas } from '../../daemon/config/json-schema.ts';
import { posterndProgram } from '../../daemon/program/program.ts';
import { helpParts } from '../../shell/help-text.ts';
import { keysOf, type SchemaNode } from '../../shell/schema-page.ts';
import { run } from '../lab/process.ts';

const FOLDER = fileURLToPath(new URL('../../man/', import.meta.url));
const PAGES = ['knock.1', 'posternd.8', 'postern.yaml.5', 'postern-rules.5', 'postern.7'];

/** The page as a person reads it, on a wide terminal, without bold. */
async function rendered(page: string): Promise<string> {
  const { stdout } = await run(['man', '-E', 'UTF-8', '-P', 'cat', '-l', `${FOLDER}${page}`], {
    env: { MANWIDTH: '200', LC_ALL: 'C.UTF-8' },
  });
  return stdout.replace(/.\x08/g, '');
}

function everyCommand(command: Command, words = command.name()): readonly { readonly words: string; readonly command: Command }[] {
  const below = command.commands.filter((one) => one.name() !== 'help');
  return [{ words, command }, ...below.flatMap((one) => everyCommand(one, `${words} ${one.name()}`))];
}

describe('manual pages', () => {
  it('are these', () => assert.deepEqual(readdirSync(FOLDER).sort(), [...PAGES].sort()));

  for (const page of PAGES) {
    it(`${page}: mandoc's lint and man's warnings are silent`, async () => {
      const lint = await run(['mandoc', '-T', 'lint', `${FOLDER}${page}`], { mayFail: true });
      // A line of an example is as long as it is.
      const words = lint.stdout.split('\n').filter((line) => line !== '' && !line.includes('input text line longer than'));
      assert.deepEqual(words, []);
      const man = await run(['man', '--warnings', '-E', 'UTF-8', '-l', '-Tutf8', '-Z', `${FOLDER}${page}`], { env: { LC_ALL: 'C.UTF-8' } });
      assert.equal(man.stderr, '');
    });

    it(`${page}: whatis finds its name`, async () => {
      const { stdout } = await run(['lexgrog', `${FOLDER}${page}`]);
      assert.match(stdout, new RegExp(`"${page.replace(/\.\d$/, '')} - .+"`));
    });
  }

  for (const [page, root] of [
    ['knock.1', knockProgram()],
    ['posternd.8', posterndProgram()],
  ] as const) {
    it(`${page}: names every command, option and example of the program`, async () => {
      const text = (await rendered(page)).replace(/\s+/g, ' ');
      for (const { words, command } of everyCommand(root)) {
        if (command.commands.length === 0 || command === root) assert.ok(text.includes(words), `${words} is missing`);
        for (const option of command.options.filter((one) => !one.hidden))
          assert.ok(text.includes(option.flags), `${words} ${option.flags}`);
        for (const part of helpParts(command)) {
          const whole = part.kind === 'paragraph' ? [part.text.replace(/^Exit codes?: /, '')] : part.lines;
          for (const one of whole) assert.ok(text.includes(one.replace(/\s+/g, ' ').trim()), `${words}: ${one}`);
        }
      }
    });

    it(`${page.replace(/\.\d/, '')} --help has an example for every command`, () => {
      const without = everyCommand(root).filter(
        ({ command }) =>
          (command.commands.length === 0 || command === root) &&
          !helpParts(command).some((part) => part.kind === 'block' && /^Examples?$/.test(part.heading)),
      );
      assert.deepEqual(
        without.map(({ words }) => words),
        [],
      );
    });
  }

  for (const [page, schema] of [
    ['postern.yaml.5', 'postern.schema.json'],
    ['postern-rules.5', 'rules.schema.json'],
  ] as const) {
    it(`${page}: explains every key`, async () => {
      const text = await rendered(page);
      for (const { key, node } of keysOf(JSON.parse(jsonSchemas()[schema] ?? '') as SchemaNode)) {
        assert.ok(text.includes(`${key} (`), `${key} is missing`);
        assert.notEqual(node.description ?? '', '', `${key} is not explained`);
      }
    });
  }
});
