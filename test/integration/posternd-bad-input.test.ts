// Every option of every command of posternd that takes a value, given a bad one (those of knock: client-bad-input.test.ts): one line that names it, exit code 2 (or 1 and 3 where it says so), nothing printed
// and nothing made. The lists of commands and options come from the definitions: what is new must be entered here.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { posterndProgram } from '../../daemon/program/program.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import { run } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';

const DIST = fileURLToPath(new URL('../../', import.meta.url));
const POSTERND = join(DIST, 'daemon/main.js');
// Nobody, not even root, can make a file there.
const MISSING = '/dev/null/file';

/** What each command needs to come as far as its options. `undefined`: it has no options of its own that take a value. */
const OPERANDS: Readonly<Record<string, readonly string[]>> = {
  posternd: ['status'],
  'posternd init': [],
  'posternd check': [],
  'posternd run': [],
  'posternd reload': [],
  'posternd try': [],
  'posternd completion': ['bash'],
  'posternd gate up': [],
  'posternd gate down': [],
  'posternd gate show': [],
  'posternd status': [],
  'posternd grants': [],
  'posternd grant': ['alice', 'ssh'],
  'posternd revoke': ['alice'],
  'posternd client add': ['bob', '--generate'],
  'posternd client list': [],
  'posternd client show': ['alice'],
  'posternd client enable': ['alice'],
  'posternd client disable': ['alice'],
  'posternd client remove': ['alice'],
  'posternd explain': ['alice', 'ssh'],
  'posternd ports': [],
  'posternd log': [],
  'posternd log verify': [],
};

type Bad = { readonly value: string; readonly says: RegExp; readonly code?: 1 | 3; readonly with?: readonly string[] };

/** A bad value of each option, by its long name; `command --option` where a command has an idea of its own. */
const BAD: Readonly<Record<string, Bad>> = {
  '--config': { value: MISSING, says: /\/dev\/null\/file/ },
  '--ttl': { value: '5 minutes', says: /--ttl/ },
  'posternd client add --key': { value: 'ssh-rsa AAAA', says: /--key/ },
  'posternd client add --keys-file': { value: MISSING, says: /--keys-file|exclude/ },
  'posternd client add --services': { value: 'no-such-service', says: /no-such-service/ },
  'posternd client add --file': { value: 'rules.txt', says: /--file/ },
  'posternd client add --max-ttl': { value: 'forever', says: /--max-ttl/ },
  'posternd client add --from': { value: '10.0.0.7/8', says: /10\.0\.0\.7/, with: ['--services', 'ssh'] },
  '--expires': { value: 'tomorrow', says: /--expires|date/ },
  '--slots': { value: '65', says: /--slots/ },
  '--host': { value: 'not a name', says: /--host/ },
  'posternd explain --from': { value: 'there', says: /--from/ },
  '--at': { value: 'noonish', says: /time|--at/ },
  '--for': { value: 'long', says: /--for/ },
  // The daemon reads it, and none runs here.
  'posternd grant --from': { value: 'there', says: /not running/, code: 1 },
  'posternd init --config': { value: MISSING, says: /\/dev\/null/, code: 1 },
  '--since': { value: 'yesterday-ish', says: /--since/ },
  '--until': { value: 'never', says: /--until/ },
  '--head': { value: 'beef', says: /--head/ },
  '--heads': { value: MISSING, says: /--heads/ },
};

/** Any name may have been a client once. */
const ANY_VALUE = new Set(['posternd log --client']);

let home: string;
let env: Readonly<Record<string, string>>;

before(() => {
  home = scratchFolder('options');
  mkdirSync(join(home, 'rules.d'));
  const secret = secretFromSeed(new Uint8Array(32).fill(7));
  writeFileSync(
    join(home, 'postern.yaml'),
    'server_key: host\nprotect: [ssh]\nrules: rules.d\nstate: state\ncontrol: run/control.sock\nlog: { audit: audit.jsonl }\n',
  );
  writeFileSync(
    join(home, 'rules.d/a.yaml'),
    `clients: [{ name: alice, key: ${formatPublicLine(secret.publicKey, 'alice')} }]\nallow: [{ services: [ssh] }]\n`,
  );
  writeFileSync(join(home, 'host'), formatPrivateKey(secretFromSeed(new Uint8Array(32).fill(8)), 'server'), { mode: 0o600 });
  writeFileSync(join(home, 'audit.jsonl'), '');
  env = { HOME: home, POSTERN_CONFIG: join(home, 'postern.yaml'), XDG_CONFIG_HOME: '', XDG_STATE_HOME: '' };
});
after(() => removeScratch(home));

type Case = { readonly words: readonly string[]; readonly command: Command };

function leaves(command: Command, words: readonly string[]): readonly Case[] {
  const below = command.commands.filter((one) => one.name() !== 'help').flatMap((one) => leaves(one, [...words, one.name()]));
  return command.options.length > 0 || below.length === 0 ? [{ words, command }, ...below] : below;
}

describe('a bad value', () => {
  for (const { words, command } of leaves(posterndProgram(), ['posternd'])) {
    const name = words.join(' ');
    it(`${name}: the command is in the table`, () => assert.ok(Object.hasOwn(OPERANDS, name), `enter ${name} in OPERANDS`));
    for (const option of command.options.filter((one) => (one.required || one.optional) && !one.hidden)) {
      const long = option.long ?? option.short ?? '';
      if (ANY_VALUE.has(`${name} ${long}`)) continue;
      it(`${name} ${long}`, async () => {
        const bad = BAD[`${name} ${long}`] ?? BAD[long];
        assert.ok(bad !== undefined, `enter a bad value of ${long} in BAD`);
        const [, ...rest] = words;
        const before = readdirSync(home, { recursive: true });
        const given = [long, bad.value];
        const argv = [POSTERND, ...rest, ...given, ...(bad.with ?? []), ...(OPERANDS[name] ?? [])];
        const { code, stdout, stderr } = await run(['unshare', '-n', process.execPath, ...argv], { env, mayFail: true });
        assert.match(stderr, /^(posternd|configuration): .*\n/, stderr);
        assert.match(stderr.split('\n', 1)[0] ?? '', bad.says);
        assert.equal(code, bad.code ?? 2, stderr);
        assert.equal(stdout, '');
        assert.deepEqual(readdirSync(home, { recursive: true }), before, 'nothing is made');
      });
    }
    for (const option of command.options.filter((one) => one.required && !one.hidden)) {
      const long = option.long ?? option.short ?? '';
      it(`${name} ${long} without its value`, async () => {
        const [, ...rest] = words;
        const argv = [POSTERND, ...rest, ...(OPERANDS[name] ?? []), long];
        const { code, stderr } = await run(['unshare', '-n', process.execPath, ...argv], { env, mayFail: true });
        assert.match(stderr, new RegExp(`^posternd: option .*${long}.* argument missing.*--help.*\\n$`));
        assert.equal(code, 2);
      });
    }
    it(`${name} --no-such-option`, async () => {
      const [, ...rest] = words;
      const argv = [POSTERND, ...rest, ...(OPERANDS[name] ?? []), '--no-such-option'];
      const { code, stderr } = await run(['unshare', '-n', process.execPath, ...argv], { env, mayFail: true });
      assert.match(stderr, /^posternd: unknown option '--no-such-option'.*\n$/);
      assert.equal(code, 2);
    });
  }
});
