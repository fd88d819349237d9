// `posternd explain` says what the policy decides, by which line, and what to change. Rules as an administrator writes them; no kernel is asked.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPrivateKey, formatPublicLine } from '../../protocol/openssh.ts';
import { type RunResult, run } from '../lab/process.ts';
import { removeScratch, scratchFolder } from '../lab/scratch.ts';

const POSTERND = fileURLToPath(new URL('../../daemon/main.js', import.meta.url));
const key = (n: number): string => formatPublicLine(secretFromSeed(new Uint8Array(32).fill(n)).publicKey, `key${n}`);

const CONFIG = `server_key: host
protect: [ssh, admin-panel, tcp/9000-9003]
services: { admin-panel: tcp/8443 }
trusted: [192.0.2.0/24]
state: state
control: c.sock
`;
const OPS = `clients:
  - { name: alice, key: ${key(1)} }
  - { name: bob, key: ${key(2)}, enabled: false }
  - { name: carol, key: ${key(3)}, expires: 2026-11-01 }
allow:
  - services: [ssh]
    from: [10.0.0.0/8, "fd00::/8"]
    when: "* 8-17 * * mon-fri"
    timezone: Europe/Berlin
  - services: [ssh, admin-panel]
    default: false
    once: true
`;
const OTHER = `clients:
  - ref: alice
  - { name: dora, keys_file: ../dora }
allow:
  - services: [tcp/9000-9003]
    default: false
    ttl: 5m
`;
const MONDAY = '2026-11-23T09:00:00Z';

let root = '';
const explain = (args: string, at: string | undefined = MONDAY): Promise<RunResult> =>
  run(
    [
      process.execPath,
      POSTERND,
      'explain',
      '-c',
      join(root, 'postern.yaml'),
      ...args.split(' ').filter(Boolean),
      ...(at === undefined ? [] : ['--at', at]),
    ],
    { mayFail: true },
  );

before(() => {
  root = scratchFolder('explain');
  mkdirSync(join(root, 'rules.d'));
  writeFileSync(join(root, 'host'), formatPrivateKey(secretFromSeed(new Uint8Array(32).fill(200)), 'host'), { mode: 0o600 });
  writeFileSync(join(root, 'postern.yaml'), CONFIG, { mode: 0o644 });
  writeFileSync(join(root, 'rules.d', 'ops.yaml'), OPS, { mode: 0o644 });
  writeFileSync(join(root, 'rules.d', 'other.yaml'), OTHER, { mode: 0o644 });
  writeFileSync(join(root, 'dora'), `from="10.9.0.0/16" ${key(4)}\n`, { mode: 0o644 });
});
after(() => removeScratch(root));

type Case = readonly [what: string, args: string, code: 0 | 1, lines: readonly RegExp[], at?: string];
const CASES: readonly Case[] = [
  [
    'in the window, from the network',
    'alice ssh --from 10.1.2.3',
    0,
    [/^yes: alice may open ssh for 30s, from 10\.1\.2\.3, at 2026-11-23T09:00Z$/m, /^decided by .*ops\.yaml:6: ssh/m],
  ],
  ['by its port', 'alice tcp/22 --from fd00::7', 0, [/^yes: alice may open ssh for 30s/]],
  ['from wherever: where it makes a difference', 'alice ssh', 0, [/from 10\.0\.0\.0\/8, fd00::\/8 only/]],
  [
    'from elsewhere: the first entry decides, though another would let it in',
    'alice ssh --from 203.0.113.7',
    1,
    [
      /^no: .*203\.0\.113\.7 is in none of the networks of the entry \(10\.0\.0\.0\/8, fd00::\/8\)$/m,
      /^to change {2}knock from there, or add 203\.0\.113\.7 to from:$/m,
      /^never asked .*ops\.yaml:10: .* alone it would let it in$/m,
    ],
  ],
  [
    'at night: when it holds again',
    'alice ssh --from 10.1.2.3',
    1,
    [/time window does not hold/, /holds again from 2026-11-24 08:00 \(Europe\/Berlin\)/],
    '2026-11-23T20:00:00Z',
  ],
  ['at night, from wherever: the time is the reason, not the place', 'alice ssh', 1, [/time window does not hold/], '2026-11-23T20:00:00Z'],
  ['when only asked for', 'alice admin-panel --from 203.0.113.7', 0, [/admin-panel for 30s, one connection/, /decided by .*ops\.yaml:10/]],
  ['nothing named: what is given by default', 'alice --from 10.1.2.3', 0, [/^yes: alice may open ssh/]],
  ['nothing by default', 'dora --from 10.9.0.1', 1, [/nothing is given to "dora" by default/, /name a service/]],
  ['the range of another file', 'alice tcp/9001-9002', 0, [/from anywhere/, /other\.yaml:5/]],
  [
    'a port more than it gives',
    'alice tcp/9000-9004',
    1,
    [/no allow entry of "alice" gives tcp\/9000-9004/, /never asked .*other\.yaml:5: .*does not give all of it/],
  ],
  ['the keys_file’s own from=', 'dora tcp/9000 --from 203.0.113.7', 1, [/the from= of the client's key does not hold 203\.0\.113\.7/]],
  ['disabled', 'bob ssh', 1, [/client "bob" is disabled$/m, /posternd client enable bob/]],
  ['expired', 'carol ssh', 1, [/client "carol" expired on 2026-11-01/]],
  ['expired, before it did', 'carol ssh --from 10.1.2.3', 0, [/^yes/], '2026-10-30T10:00:00Z'],
  ['a name that is none', 'alice admin-pannel', 1, [/no service is called "admin-pannel"/, /did you mean "admin-panel"\?/]],
  ['an address that nobody has', 'alice ssh --from 127.0.0.1', 1, [/nobody knocks from 127\.0\.0\.1 \(loopback\)/]],
  ['P21: a mapped address', 'alice ssh --from ::ffff:10.1.2.3', 0, [/from 10\.1\.2\.3, at/]],
  [
    'a trusted address: noted',
    'alice admin-panel --from 192.0.2.7',
    0,
    [/^note: 192\.0\.2\.7 is in the trusted network 192\.0\.2\.0\/24: nothing is closed/m],
  ],
  ['a port that is not protected: noted', 'alice tcp/80', 1, [/^note: tcp\/80 is not protected: no knock is needed for it$/m]],
];

describe('posternd explain', { timeout: 120_000 }, () => {
  for (const [what, args, code, lines, at] of CASES) {
    test(what, async () => {
      const result = await explain(args, at ?? MONDAY);
      for (const line of lines) assert.match(result.stdout, line);
      assert.equal(result.code, code, result.stderr);
      const json = JSON.parse((await explain(`${args} --json`, at ?? MONDAY)).stdout) as { allowed: boolean; reason: string | null };
      assert.deepEqual([json.allowed, json.reason === null], [code === 0, code === 0]);
      if (code === 1) assert.equal(result.stderr, `posternd: such a knock is refused (${json.reason})\n`);
    });
  }

  test('a gate that stands on some interfaces only: noted', async () => {
    const file = join(root, 'some.yaml');
    writeFileSync(file, `${CONFIG}interfaces: ["eth9?", "wg0?"]\n`, { mode: 0o644 });
    const { stdout } = await run([process.execPath, POSTERND, 'explain', '-c', file, 'alice', 'ssh', '--at', MONDAY]);
    assert.match(stdout, /^note: the gate stands on eth9, wg0 only \(interfaces:\): what comes by another needs no knock$/m);
    assert.doesNotMatch((await explain('alice ssh')).stdout, /interfaces:/);
  });

  const WRONG: readonly (readonly [args: string, message: RegExp, at?: string])[] = [
    ['', /missing required argument 'client'/],
    ['alcie ssh', /no client is called "alcie": did you mean "alice"\?/],
    ['alice 22', /"22" does not say which protocol: write tcp\/22 or udp\/22/],
    ['alice tcp/0', /not a port: "tcp\/0"/],
    ['alice SSH', /not a port: "SSH".*: write a service/],
    ['alice ssh http', /too many arguments/],
    ['alice ssh --from here', /--from: not an IP address: "here"/],
    ['alice ssh --from 10.0.0.0/8', /--from: not an IP address/],
    ['alice ssh', /--at: not a time: "noon": write "09:30"/, 'noon'],
    ['alice ssh', /--at: no such time: "25:00"/, '25:00'],
    ['alice ssh', /--at: no such date: "2026-02-30 10:00"/, '2026-02-30 10:00'],
  ];
  for (const [args, message, at] of WRONG) {
    test(`wrong usage ends with 2: ${args} ${at ?? ''}`, async () => {
      const { code, stdout, stderr } = await explain(args, at ?? MONDAY);
      assert.match(stderr, message);
      assert.deepEqual([code, stdout, stderr.trim().split('\n').length], [2, '', 1]);
    });
  }
});
