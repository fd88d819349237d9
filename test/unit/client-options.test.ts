// What the command line of `knock` accepts, and that all of its mistakes are reported together.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { runCli } from '../../client/cli.ts';
import { CommandError } from '../../client/command-error.ts';
import { KNOCK_FLAGS } from '../../client/knock-flags.ts';
import { checkOptions, type RawOptions } from '../../client/options.ts';
import { clientPaths, expandHome } from '../../client/paths.ts';
import { budgetAttempts } from '../../client/plan.ts';
import { readFully } from '../../client/program.ts';
import { readQuickly } from '../../client/quick-line.ts';
import { formatMs } from '../../client/report.ts';
import { VERSION } from '../../client/version.ts';
import type { World } from '../../client/world.ts';
import { unixMs } from '../../protocol/brand.ts';

function problemsOf(attempt: () => unknown): readonly string[] {
  try {
    attempt();
  } catch (cause) {
    assert.ok(cause instanceof CommandError);
    assert.equal(cause.exitCode, 2);
    return [cause.message, ...cause.hints];
  }
  return [];
}

describe('options', () => {
  test('a command whose -- was forgotten: says in one line where it belongs', () => {
    const says = /^not a service: "root@web1": a command to run once the door is open stands behind --, as in: /;
    const problems = problemsOf(() => checkOptions('web1', ['ssh', 'scp', 'root@web1'], [], {}));
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', says);
    assert.doesNotMatch(problemsOf(() => checkOptions('web1', ['s_h'], [], {}))[0] ?? '', says);
    assert.doesNotMatch(problemsOf(() => checkOptions('web1', ['root@web1'], ['true'], {}))[0] ?? '', says);
  });

  const accepted: readonly { readonly text: string; readonly raw: RawOptions; readonly gives: object }[] = [
    { text: 'nothing', raw: {}, gives: { timeoutMs: 5000, verify: true, output: 'text', family: undefined, retries: undefined } },
    { text: 'a port', raw: { port: '65535' }, gives: { port: 65535 } },
    { text: 'a lifetime', raw: { ttl: '10m' }, gives: { ttlSeconds: 600 } },
    { text: 'no retry', raw: { retries: '0' }, gives: { retries: 0 } },
    { text: 'a timeout', raw: { timeout: '1m' }, gives: { timeoutMs: 60_000 } },
    { text: 'a family', raw: { ipv6: true }, gives: { family: 6 } },
    { text: 'a source port', raw: { sourcePort: '65535' }, gives: { sourcePort: 65535 } },
    { text: 'an interface', raw: { via: 'wlan0' }, gives: { via: 'wlan0', sourcePort: 0 } },
    { text: '--json wins over -v', raw: { json: true, verbose: true }, gives: { output: 'json' } },
  ];
  for (const { text, raw, gives } of accepted) {
    test(`accepts ${text}`, () => {
      const options: Readonly<Record<string, unknown>> = checkOptions('web1', [], [], raw);
      for (const [name, value] of Object.entries(gives)) assert.deepEqual(options[name], value);
    });
  }

  const refused: readonly { readonly text: string; readonly raw: RawOptions; readonly says: RegExp }[] = [
    { text: 'port 0', raw: { port: '0' }, says: /^--port: expected a whole number from 1 to 65535, not "0"$/ },
    { text: 'port 65536', raw: { port: '65536' }, says: /^--port:/ },
    { text: 'port 022', raw: { port: '022' }, says: /^--port:/ },
    { text: 'port -1', raw: { port: '-1' }, says: /^--port:/ },
    { text: 'port 1e3', raw: { port: '1e3' }, says: /^--port:/ },
    { text: 'a lifetime without a unit', raw: { ttl: '10' }, says: /^--ttl: not a duration: "10" \(write 30s/ },
    { text: 'a lifetime of nothing', raw: { ttl: '0s' }, says: /^--ttl: "0s" is out of range/ },
    { text: 'a lifetime over 32 bits', raw: { ttl: '99999d' }, says: /^--ttl: "99999d" is out of range/ },
    { text: 'a timeout over an hour', raw: { timeout: '2h' }, says: /^--timeout: "2h" is out of range/ },
    { text: 'retries beyond reason', raw: { retries: '64' }, says: /^--retries: expected a whole number from 0 to 63/ },
    { text: 'both families', raw: { ipv4: true, ipv6: true }, says: /^-4 and -6 exclude each other/ },
    { text: '-q and -v', raw: { quiet: true, verbose: true }, says: /^-q and -v exclude each other/ },
    { text: 'a nonsense source', raw: { source: 'mine' }, says: /^--source: not a source: "mine"/ },
    {
      text: 'P32 an unspecified source',
      raw: { source: '0.0.0.0' },
      says: /^--source: 0\.0\.0\.0 is not an address that a server could see/,
    },
    { text: 'P32 a loopback source', raw: { source: '::1' }, says: /^--source: ::1 is not/ },
    { text: 'P21, P32 a mapped loopback source', raw: { source: '::ffff:127.0.0.1' }, says: /^--source: 127\.0\.0\.1 is not/ },
    { text: 'P32 a multicast source', raw: { source: 'ff02::1' }, says: /^--source: ff02::1 is not/ },
    {
      text: 'a STUN server that is none',
      raw: { source: 'stun:a/b' },
      says: /^--source: not a STUN server: "a\/b" \(write HOST, HOST:PORT or/,
    },
    { text: 'a STUN port that is none', raw: { source: 'stun:a:99999' }, says: /^--source: not a STUN server: "a:99999"/ },
    { text: 'a clock over http', raw: { time: 'http://a.example/' }, says: /^--time: a clock over http: can be forged by anybody/ },
    { text: 'a clock without a server', raw: { time: 'sntp:' }, says: /^--time: not a time server: ""/ },
    { text: 'a clock without a host', raw: { time: 'https://' }, says: /^--time: not a clock: "https:\/\/"/ },
    { text: 'a clock with a password', raw: { time: 'https://a:b@c/' }, says: /^--time: the URL of a clock holds no user/ },
    { text: 'source port 0', raw: { sourcePort: '0' }, says: /^--source-port: expected a whole number from 1 to 65535, not "0"$/ },
    { text: 'a source port that is a name', raw: { sourcePort: 'ssh' }, says: /^--source-port: expected/ },
    {
      text: 'a source port for one connection',
      raw: { sourcePort: '5', once: true },
      says: /^--once and --source-port exclude each other/,
    },
    { text: 'on behalf of a name', raw: { onBehalf: 'web1' }, says: /^--on-behalf: not an IP address: "web1"$/ },
    {
      text: 'P32 on behalf of loopback',
      raw: { onBehalf: '127.0.0.1' },
      says: /^--on-behalf: 127\.0\.0\.1 is not an address that a server/,
    },
    { text: 'P32 on behalf of a documentation address', raw: { onBehalf: '2001:db8::1' }, says: /^--on-behalf: 2001:db8::1 is not/ },
    { text: 'on behalf with a source', raw: { onBehalf: '9.9.9.9', source: 'auto' }, says: /^--source and --on-behalf exclude each other/ },
    {
      text: 'a source of the other family',
      raw: { source: '192.0.2.1', ipv6: true },
      says: /^--source 192\.0\.2\.1 is not an IPv6 address/,
    },
  ];
  for (const { text, raw, says } of refused) {
    test(`refuses ${text}`, () => {
      const problems = problemsOf(() => checkOptions('web1', [], [], raw));
      assert.equal(problems.length, 1);
      assert.match(problems[0] ?? '', says);
    });
  }

  test('refuses hosts that are none, and shows no control byte of them (P34)', () => {
    for (const host of ['', '-x', 'a b', 'a/b', 'a\nb', 'a\x1b[31mb', 'user@web1', 'x'.repeat(254)]) {
      const [problem = ''] = problemsOf(() => checkOptions(host, [], [], {}));
      assert.match(problem, /^not a host: "/);
      assert.doesNotMatch(problem, /\p{Cc}/u);
      assert.ok(problem.length < 300);
    }
    assert.match(problemsOf(() => checkOptions('user@web1', [], [], {}))[0] ?? '', /did you mean "web1"\?/);
  });

  test('reports every mistake of a line at once', () => {
    const raw = { port: '0', ttl: 'x', retries: 'many', timeout: '5', source: 'y', ipv4: true, ipv6: true };
    assert.equal(problemsOf(() => checkOptions('a b', ['22', 'UPPER'], [], raw)).length, 9);
  });
});

describe('the command line', () => {
  async function outcome(...argv: readonly string[]): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
    let [out, err] = ['', ''];
    const world: World = {
      env: {},
      platform: 'linux',
      home: '/nonexistent',
      now: () => unixMs(0),
      monotonicMs: () => 0,
      random: (length) => new Uint8Array(length),
      out: (text) => {
        out += text;
      },
      err: (text) => {
        err += text;
      },
      color: false,
      colorOut: false,
    };
    try {
      return { code: await runCli(argv, world), out, err };
    } catch (cause) {
      assert.ok(cause instanceof CommandError, String(cause));
      return { code: cause.exitCode, out, err: [cause.message, ...cause.hints].join('\n') };
    }
  }

  for (const command of [[], ['close'], ['proxy'], ['hold'], ['doctor'], ['add'], ['profiles'], ['keygen']]) {
    test(`"${['knock', ...command, '--help'].join(' ')}" has examples`, async () => {
      const { code, out } = await outcome(...command, '--help');
      assert.equal(code, 0);
      assert.match(out, /^Usage: knock/);
      assert.match(out, /Examples:\n {2}knock/);
    });
  }

  test('prints its version, which is the package’s', async () => {
    assert.deepEqual(await outcome('--version'), { code: 0, out: `${VERSION}\n`, err: '' });
    const packageText = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
    assert.equal(VERSION, (JSON.parse(packageText) as { readonly version: string }).version);
  });

  const refused = [
    { argv: [], says: /^Usage: knock/ },
    { argv: ['proxy', 'web1', '22', '--', 'ls'], says: /^knock proxy takes no command/ },
    { argv: ['--once', 'close', 'web1'], says: /^--once does not go with knock close/ },
    { argv: ['hold', 'web1', '--once'], says: /^unknown option '--once'/ },
    { argv: ['hold', 'web1', '--', 'ls'], says: /^knock hold takes no command/ },
    { argv: ['web1', '--time', 'x'], says: /^--time: not a clock: "x" \(write system, https:\/\/HOST or sntp:SERVER\)$/ },
    { argv: ['web1', '--nonsense'], says: /^unknown option '--nonsense' \(see knock --help\)$/ },
    { argv: ['web1', '--retires', '3'], says: /unknown option '--retires'.*did you mean.*--retries/i },
    { argv: ['web1', '--'], says: /^nothing stands after --/ },
    { argv: ['close', 'web1', '--', 'ls'], says: /^knock close takes no command/ },
    { argv: ['web1', '--dry-run', '--', 'ls'], says: /^--dry-run sends nothing/ },
    { argv: ['close'], says: /missing required argument 'HOST'/ },
    { argv: ['web1', '--for', '10m'], says: /^unknown option '--for' \(Did you mean --ttl\?\) \(see knock --help\)$/ },
    { argv: ['hold', 'web1', '--for', '10m'], says: /^unknown option '--for' \(Did you mean --ttl\?\) \(see knock hold --help\)$/ },
    { argv: ['web1', '--key', 'x'], says: /Did you mean --identity\?/ },
    { argv: ['add', '--force', 'x'], says: /Did you mean --replace\?\) \(see knock add --help\)$/ },
    { argv: ['keygen', '--force'], says: /^unknown option '--force' \(see knock keygen --help\)$/ },
    { argv: ['profiles', 'delete', 'x'], says: /^knock profiles delete: write show NAME or remove NAME/ },
    { argv: ['close', 'web1', '--once'], says: /unknown option '--once'/ },
    { argv: ['web1', '--via'], says: /^option '--via <INTERFACE\|ADDRESS>' argument missing/ },
    { argv: ['web1', '--time'], says: /^option '--time <WHICH>' argument missing/ },
    { argv: ['web1', '--source'], says: /^option '--source <WHICH>' argument missing/ },
    { argv: ['web1', '--source-port'], says: /^option '--source-port <N>' argument missing/ },
    { argv: ['web1', '--on-behalf'], says: /^option '--on-behalf <ADDRESS>' argument missing/ },
    { argv: ['web1', '--on-behalf', '-4'], says: /^--on-behalf: not an IP address: "-4"$/ },
    { argv: ['close', 'web1', '--source-port', '5'], says: /unknown option '--source-port'/ },
    { argv: ['--source-port', '5', 'close', 'web1'], says: /^--source-port does not go with knock close/ },
    { argv: ['doctor'], says: /missing required argument 'HOST'/ },
    { argv: ['doctor', 'a b'], says: /^not a host: "a b"/ },
    { argv: ['doctor', 'web1', '--on-behalf', '9.9.9.9'], says: /unknown option '--on-behalf'/ },
    { argv: ['doctor', 'web1', '--', 'ls'], says: /^knock doctor takes no command after --$/ },
    { argv: ['web1', '-p'], says: /option '-p, --port <N>' argument missing/ },
  ] as const;
  for (const { argv, says } of refused) {
    test(`refuses "${['knock', ...argv].join(' ')}" with one line`, async () => {
      const { code, err } = await outcome(...argv);
      assert.match(err, says);
      assert.equal(code, 2);
    });
  }
});

describe('P16b: the budget of slots', () => {
  const cases = [
    { text: 'one address', addresses: 1, slots: 16, retries: undefined, gives: { addresses: 1, perAddress: 4 } },
    { text: 'A and AAAA, twice in a minute', addresses: 2, slots: 16, retries: undefined, gives: { addresses: 2, perAddress: 4 } },
    { text: 'three addresses', addresses: 3, slots: 16, retries: undefined, gives: { addresses: 3, perAddress: 2 } },
    { text: 'twenty addresses', addresses: 20, slots: 16, retries: undefined, gives: { addresses: 8, perAddress: 1 } },
    { text: 'more slots', addresses: 4, slots: 64, retries: undefined, gives: { addresses: 4, perAddress: 4 } },
    { text: 'a single slot', addresses: 2, slots: 1, retries: undefined, gives: { addresses: 1, perAddress: 1 } },
    { text: 'no retries', addresses: 2, slots: 16, retries: 0, gives: { addresses: 2, perAddress: 1 } },
    { text: 'many retries, asked for', addresses: 1, slots: 16, retries: 30, gives: { addresses: 1, perAddress: 16 } },
  ] as const;
  for (const { text, addresses, slots, retries, gives } of cases) {
    test(text, () => assert.deepEqual(budgetAttempts(addresses, slots, retries), gives));
  }
});

describe('paths', () => {
  const cases = [
    { text: 'Linux', platform: 'linux', env: {}, config: '/home/a/.config/knock/config.yaml', state: '/home/a/.local/state/knock' },
    { text: 'macOS', platform: 'darwin', env: {}, config: '/home/a/.config/knock/config.yaml', state: '/home/a/.local/state/knock' },
    {
      text: 'XDG',
      platform: 'linux',
      env: { XDG_CONFIG_HOME: '/c', XDG_STATE_HOME: '/s' },
      config: '/c/knock/config.yaml',
      state: '/s/knock',
    },
    {
      text: 'relative XDG',
      platform: 'linux',
      env: { XDG_CONFIG_HOME: 'c', XDG_STATE_HOME: '' },
      config: '/home/a/.config/knock/config.yaml',
      state: '/home/a/.local/state/knock',
    },
    {
      text: 'Windows',
      platform: 'win32',
      env: { APPDATA: 'C:\\R', LOCALAPPDATA: 'C:\\L' },
      config: 'C:\\R\\knock\\config.yaml',
      state: 'C:\\L\\knock\\state',
    },
  ] as const;
  for (const { text, platform, env, config, state } of cases) {
    test(text, () => {
      const paths = clientPaths({ platform, env, home: '/home/a' });
      assert.deepEqual([paths.configFile, paths.stateDir], [config, state]);
    });
  }
  test('~ is the home folder at the beginning only', () => {
    assert.deepEqual(
      ['~/x', '~', '/a/~', '~b/x'].map((path) => expandHome(path, '/h')),
      ['/h/x', '/h', '/a/~', '~b/x'],
    );
  });
});

test('times are short: a decimal below 10 ms only', () => {
  assert.deepEqual([0.04, 0.84, 3, 9.96, 10.4, 312].map(formatMs), ['0 ms', '0.8 ms', '3 ms', '10 ms', '10 ms', '312 ms']);
});

describe('the quick reader of command lines', () => {
  const word = fc.oneof(
    fc.constantFrom(...KNOCK_FLAGS.flatMap(({ flags }) => (flags.split(' <')[0] ?? '').split(', '))),
    fc.constantFrom(
      'web1',
      'ssh',
      'tcp/22',
      '10m',
      '1',
      'close',
      'keygen',
      'proxy',
      '',
      '-',
      '--',
      '--nonsense',
      '--port=1',
      '-p1',
      '-46',
      '-h',
      '--help',
      '--version',
    ),
  );
  const silent = { out: () => undefined, err: () => undefined };

  test('never differs from the full parser, and is silent where that one speaks', () => {
    let read = 0;
    fc.assert(
      fc.property(fc.constantFrom([], ['proxy']), fc.array(word, { maxLength: 7 }), (before, words) => {
        const argv = [...before, ...words];
        const quick = readQuickly(argv);
        if (quick === undefined) return;
        read += 1;
        const full = readFully(argv, silent);
        assert.deepEqual({ ...quick, raw: { ...quick.raw } }, 'raw' in full ? { ...full, raw: { ...full.raw } } : full);
      }),
      { numRuns: 8000 },
    );
    assert.ok(read > 100, 'the property must not be empty');
  });

  test('reads what people type', () => {
    for (const line of [
      'web1',
      'web1 ssh',
      '-t 10m web1 ssh -4',
      'web1 tcp/8443 --retries 5 --no-verify -v',
      'web1 --server-key x --json',
      'proxy web1 22',
      'proxy -v web1 22',
    ])
      assert.notEqual(readQuickly(line.split(' ')), undefined, line);
  });
});
