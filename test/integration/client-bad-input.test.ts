// Every option and argument of every command of `knock` with bad input: one line that says what is wrong, the right exit code, nothing on
// standard output. The options come from the program's own definition: one that is added without a bad value here fails the last test.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Command, Option } from 'commander';
import { knockProgram } from '../../client/program.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatInvitation } from '../../protocol/invitation.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import { run } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';
import { KNOCK } from './client-doorway.ts';

type Bad = { readonly value: readonly string[]; readonly says: RegExp; readonly code?: 1 | 2 | 3 };

const SERVER_LINE = formatPublicLine(secretFromSeed(new Uint8Array(32).fill(1)).publicKey, '');

const INVITATION = formatInvitation({
  host: 'web9.example.org',
  port: 62201,
  serverKey: secretFromSeed(new Uint8Array(32).fill(1)).publicKey,
  slots: 16,
  source: 'auto',
  needsPsk: false,
  services: [],
  seed: undefined,
});

/** Wrong values of options that take one; for all commands that have the option. `@` is the home folder. */
const VALUES: Readonly<Record<string, readonly Bad[]>> = {
  '--identity': [
    { value: ['@/none'], says: /^knock: there is no key file ".*none": make one with "knock keygen/ },
    { value: ['@/exposed'], says: /^knock: the key file ".*exposed" can be read by others \(mode 0644\): run chmod 600/ },
    { value: ['@'], says: /^knock: the key file ".*" is not a regular file$/ },
    { value: ['@/junk'], says: /^knock: ".*junk": / },
  ],
  '--server-key': [
    { value: ['nothing'], says: /^knock: --server-key "nothing" is neither a line .* nor a file/ },
    { value: ['ssh-rsa AAAA'], says: /^knock: --server-key: this is an RSA key/ },
    { value: ['ssh-ed25519 AAAA'], says: /^knock: --server-key: / },
  ],
  '--port': ['0', '65536', '022', 'x', '1.5'].map((value) => ({
    value: [value],
    says: /^knock: --port: expected a whole number from 1 to 65535, not "/,
  })),
  '--ttl': ['10', '0s', '1y', '99999d'].map((value) => ({ value: [value], says: /^knock: --ttl: / })),
  '--timeout': ['0s', '2h', '5'].map((value) => ({ value: [value], says: /^knock: --timeout: / })),
  '--retries': ['64', 'x'].map((value) => ({ value: [value], says: /^knock: --retries: expected a whole number from 0 to 63/ })),
  '--source': ['mine', '0.0.0.0', 'ff02::1', 'stun', 'stun:'].map((value) => ({ value: [value], says: /^knock: (--source|.*STUN)/ })),
  '--source-port': ['0', 'x'].map((value) => ({ value: [value], says: /^knock: --source-port: expected a whole number from 1 to 65535/ })),
  '--on-behalf': ['me', '127.0.0.1'].map((value) => ({ value: [value], says: /^knock: --on-behalf: / })),
  '--via': ['no-such-interface', '192.0.2.99'].map((value) => ({ value: [value], says: /^knock: --via: / })),
  '--time': ['http://a.test', 'noon', 'sntp:'].map((value) => ({ value: [value], says: /^knock: --time: / })),
  '--config': [
    { value: ['@/none'], says: /^knock: cannot read the configuration ".*none" \(ENOENT\)$/ },
    { value: ['@/broken.yaml'], says: /^knock: .*broken\.yaml:3:5: unknown key "hots": did you mean "host"\?$/ },
  ],
  '--name': [
    { value: ['-x'], says: /^knock: / },
    { value: ['a b'], says: /^knock: --name: not a profile name: "a b"/ },
  ],
  '--comment': [{ value: ['two\nlines'], says: /^knock: --comment: one line/ }],
  '--file': [{ value: ['@/exposed'], says: /^knock: ".*exposed" exists and is not overwritten/, code: 1 }],
};

/** Where a file that does not exist is a beginning, not a mistake. */
const MAY_BE_NEW = ['add', 'profiles', 'show', 'remove'];

/** The plainest line of each command, which is complete but for the option in question. */
const OPERANDS: Readonly<Record<string, readonly string[]>> = {
  knock: ['127.0.0.1', 'tcp/9'],
  close: ['127.0.0.1', 'tcp/9'],
  proxy: ['127.0.0.1', '9'],
  hold: ['127.0.0.1', 'tcp/9'],
  doctor: ['127.0.0.1'],
  keygen: ['--no-passphrase'],
  add: ['-'],
  show: ['web1'],
  remove: ['web1'],
};

const LINES: readonly { readonly args: readonly string[]; readonly says: RegExp; readonly code?: 1 | 2; readonly stdin?: string }[] = [
  { args: ['user@web1'], says: /^knock: not a host: "user@web1": leave out the user name \(did you mean "web1"\?\)$/ },
  { args: ['a b'], says: /^knock: not a host: "a b"/ },
  { args: ['fe80::1%eth0', 'ssh'], says: /^knock: cannot knock at "fe80::1%eth0": link-local/ },
  { args: ['nosuch.invalid', 'ssh', '--server-key', SERVER_LINE], says: /^knock: the name "nosuch\.invalid" /, code: 1 },
  { args: ['127.0.0.1', '22'], says: /^knock: not a service: "22": write tcp\/22 or udp\/22$/ },
  { args: ['127.0.0.1', 'tcp/2-1'], says: /^knock: the range tcp\/2-1 runs backwards: did you mean tcp\/1-2\?$/ },
  { args: ['127.0.0.1', 'SSH'], says: /^knock: not a service: "SSH"/ },
  { args: ['127.0.0.1', ...Array.from({ length: 17 }, (_, at) => `tcp/${at + 1}`)], says: /^knock: at most 16 services/ },
  { args: ['127.0.0.1', '-4', '-6'], says: /^knock: -4 and -6 exclude each other/ },
  { args: ['127.0.0.1', '-q', '-v'], says: /^knock: -q and -v exclude each other$/ },
  { args: ['127.0.0.1', '--once', '--source-port', '9'], says: /^knock: --once and --source-port exclude each other/ },
  { args: ['127.0.0.1', '--dry-run', '--', 'ls'], says: /^knock: --dry-run sends nothing/ },
  { args: ['127.0.0.1', '--'], says: /^knock: nothing stands after --/ },
  { args: ['-6', '127.0.0.1'], says: /^knock: -6 was given, but 127\.0\.0\.1 is an IPv4 address$/ },
  { args: ['proxy', '127.0.0.1', 'ssh'], says: /^knock: not a port: "ssh"/ },
  { args: ['proxy', '127.0.0.1', '65536'], says: /^knock: not a port: "65536"/ },
  { args: ['proxy', '127.0.0.1'], says: /^knock: missing required argument 'PORT'/ },
  { args: ['proxy', '127.0.0.1', '22', '23'], says: /^knock: too many arguments/ },
  { args: ['hold'], says: /^knock: missing required argument 'HOST'/ },
  { args: ['close'], says: /^knock: missing required argument 'HOST'/ },
  { args: ['hold', '127.0.0.1', 'tcp/9', '-t', '3s'], says: /^knock: a lifetime of 3 s cannot be held with 16 knocks a minute/ },
  { args: ['--once', 'hold', '127.0.0.1'], says: /^knock: --once does not go with knock hold/ },
  {
    args: ['web1', 'ssh', 'ssh', 'root@web1'],
    says: /^knock: not a service: "root@web1": a command to run .* stands behind --, as in: knock web1 ssh -- ssh root@web1$/,
    code: 2,
  },
  { args: ['hodl', '127.0.0.1'], says: /^knock: (not a service|the name "hodl"|.*server key of "hodl")/, code: 2 },
  { args: ['add', 'postern1:AAAA'], says: /^knock: the invitation / },
  { args: ['add', 'postern2:AAAA'], says: /^knock: this invitation is of version 2/ },
  { args: ['add', 'postern1:A b'], says: /^knock: the invitation has a space/ },
  { args: ['add', '/no/such/file'], says: /^knock: neither an invitation \(postern1:…\) nor a file: "\/no\/such\/file"$/ },
  { args: ['add', '-'], says: /^knock: standard input holds no invitation/ },
  { args: ['add', '-'], says: /^knock: not an invitation: it begins with "postern1:"/, stdin: 'hello\n' },
  { args: ['add', 'a', 'b'], says: /^knock: too many arguments/ },
  { args: ['profiles', 'shwo', 'web1'], says: /^knock: / },
  { args: ['profiles', 'show'], says: /^knock: missing required argument 'NAME'/ },
  { args: ['profiles', 'show', 'web2'], says: /^knock: no profile "web2" in ".*": did you mean "web1"\?$/ },
  { args: ['profiles', 'remove', 'other'], says: /^knock: no profile "other" in ".*": there are: web1$/ },
  { args: ['completion', 'tcsh'], says: /^knock: .*'tcsh' is invalid/ },
];

describe('bad input to knock', { timeout: 300_000 }, () => {
  let home: string;
  before(() => {
    home = scratchFolder('bad');
    const key = formatPrivateKey(secretFromSeed(new Uint8Array(32).fill(2)), 'alice');
    mkdirSync(join(home, '.config', 'knock'), { recursive: true });
    writeFileSync(join(home, '.config', 'knock', 'id_ed25519'), key, { mode: 0o600 });
    writeFileSync(
      join(home, '.config', 'knock', 'config.yaml'),
      `profiles:\n  web1:\n    host: 127.0.0.1\n    server_key: ${SERVER_LINE}\n`,
    );
    writeFileSync(join(home, 'exposed'), key, { mode: 0o644 });
    writeFileSync(join(home, 'junk'), 'junk\n', { mode: 0o600 });
    writeFileSync(join(home, 'broken.yaml'), 'profiles:\n  a:\n    hots: b\n');
  });
  after(() => removeScratch(home));

  async function refuses(
    args: readonly string[],
    { says, code = 2, stdin = '' }: { readonly says: RegExp; readonly code?: number; readonly stdin?: string },
  ) {
    const env = { HOME: home, XDG_CONFIG_HOME: '', XDG_STATE_HOME: '', KNOCK_PASSPHRASE_FILE: '', NO_COLOR: '1' };
    const words = args.map((word) => word.replace(/^@/, home));
    const result = await run([process.execPath, KNOCK, ...words], { mayFail: true, stdin, env });
    // What a file says is a finding of doctor's, not a mistake in the command line.
    if (args[0] === 'doctor' && result.stderr === '') {
      assert.match(result.stdout, new RegExp(says.source.replace('^knock: ', '').replace(/\$$/, '')));
      assert.equal(result.code, 1);
      return;
    }
    const [line = '', ...rest] = result.stderr.split('\n');
    assert.match(line, says);
    assert.deepEqual(
      [result.code, rest, args[0] === 'doctor' ? '' : result.stdout],
      [code, [''], ''],
      `knock ${args.join(' ')}: one line and ${code}\n${result.stderr}`,
    );
  }

  for (const { args, ...expected } of LINES) test(`knock ${args.join(' ').slice(0, 60)}`, () => refuses(args, expected));

  const commands = allCommands(knockProgram());
  const tried = new Set<string>();
  for (const { words, command } of commands) {
    const operands = OPERANDS[command.name()] ?? [];
    for (const option of command.options.filter((each) => each.required)) {
      const name = option.long ?? '';
      const bad = (VALUES[name] ?? []).filter(
        ({ value }) => !(name === '--config' && MAY_BE_NEW.includes(command.name()) && value[0] === '@/none'),
      );
      for (const { value, says, code } of bad) {
        tried.add(name);
        const shown = value.join(' ').replaceAll('\n', '\\n');
        const stdin = command.name() === 'add' ? INVITATION : '';
        test(`knock ${[...words, name, shown].join(' ')}`, () =>
          refuses([...words, ...operands, name, ...value], { says, code: code ?? 2, stdin }));
      }
      test(`knock ${[...words, name].join(' ')} without its value`, () =>
        refuses([...words, ...operands, name], {
          says: new RegExp(`^knock: option '.*' argument missing \\(see ${['knock', ...words].join(' ')} --help\\)$`),
        }));
    }
    test(`knock ${[...words, '--nonsense'].join(' ')}`, () =>
      refuses([...words, ...operands, '--nonsense'], { says: /^knock: unknown option '--nonsense'/ }));
  }

  test('every option that takes a value stands in this table', () => {
    const withValue = (option: Option) => option.required && option.long !== undefined && option.long !== null;
    const all = commands.flatMap(({ command }) => command.options.filter(withValue).map((option) => option.long ?? ''));
    assert.deepEqual(
      [...new Set(all)].filter((name) => !tried.has(name)),
      [],
    );
  });
});

function allCommands(root: Command): readonly { readonly words: readonly string[]; readonly command: Command }[] {
  const below = (words: readonly string[], command: Command): ReturnType<typeof allCommands> => [
    { words, command },
    ...command.commands.flatMap((sub) => below([...words, sub.name()], sub)),
  ];
  return below([], root);
}
