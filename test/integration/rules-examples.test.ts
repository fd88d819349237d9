// The example rule files of rules/: all of them load together without a complaint, and each decides as its text says.
import assert from 'node:assert/strict';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../daemon/config/config.ts';
import { loadConfig } from '../../daemon/config/load.ts';
import { authorize } from '../../daemon/policy/authorize.ts';
import { formatProblem } from '../../daemon/problem.ts';
import { loadRuleBook } from '../../daemon/rules/load.ts';
import type { RuleBook } from '../../daemon/rules/rulebook.ts';
import { parseAddress } from '../../protocol/address.ts';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import type { Request } from '../../protocol/knock.ts';
import { parsePortRange } from '../../protocol/ports.ts';

const EXAMPLES = fileURLToPath(new URL('../../../rules/', import.meta.url));
const NOW = unixMs(Date.UTC(2026, 10, 21, 12));

type Knock = {
  readonly from?: string;
  readonly ask?: readonly string[];
  readonly ttl?: number;
  readonly bound?: true;
  readonly at?: UnixMs;
};
type Case = readonly [file: string, text: string, client: string, knock: Knock, expected: string];

const CASES: readonly Case[] = [
  ['ssh-team', 'ssh without asking', 'alice', {}, 'ssh grant 30'],
  ['ssh-team', 'ssh for an hour', 'carol', { ask: ['ssh'], ttl: 7200 }, 'ssh grant 3600'],
  ['ssh-team', 'nothing else', 'alice', { ask: ['database'] }, 'not-allowed'],
  ['ssh-team', 'over IPv6', 'alice', { from: 'fd00::7' }, 'ssh grant 30'],
  ['on-call', 'the monitoring for whoever is on call', 'carol', { ask: ['monitoring'], ttl: 43_200 }, 'monitoring grant 43200'],
  ['on-call', 'not for the rest of the team', 'bob', { ask: ['monitoring'] }, 'not-allowed'],
  ['database-admin', 'one connection from the office', 'dana', { from: '192.168.20.7', ask: ['database'] }, 'database once 20'],
  ['database-admin', 'the same over IPv6', 'backup', { from: 'fd12:3456:789a:20::7', ask: ['database'], ttl: 300 }, 'database once 60'],
  ['database-admin', 'not from home', 'dana', { ask: ['database'] }, 'from-network'],
  ['database-admin', 'not without asking', 'dana', { from: '192.168.20.7' }, 'nothing-by-default'],
  ['contractors', 'connections that end', 'erik', { bound: true }, 'ssh ending 600'],
  ['contractors', 'not unbound', 'erik', {}, 'source-required'],
  [
    'contractors',
    'on the last day, no longer than it lasts',
    'erik',
    { bound: true, at: unixMs(Date.UTC(2031, 2, 31, 23, 59)) },
    'ssh ending 60',
  ],
  ['contractors', 'not on the day after', 'erik', { bound: true, at: unixMs(Date.UTC(2031, 3, 1)) }, 'client-expired'],
  ['contractors', 'not before it begins', 'frank', { bound: true }, 'client-disabled'],
  ['ci-robot', 'from its network', 'ci', { from: '10.20.3.4', bound: true }, 'ssh grant 15, https grant 15'],
  ['ci-robot', 'from nowhere else', 'ci', { bound: true }, 'from-network'],
  ['ci-robot', 'never longer', 'ci', { from: 'fd00:20::5', bound: true, ask: ['ssh'], ttl: 60 }, 'ssh grant 15'],
  ['vpn', 'UDP', 'heidi', {}, 'vpn grant 3600'],
  ['vpn', 'by port', 'heidi', { ask: ['udp/51820'], ttl: 100_000 }, 'vpn grant 86400'],
  ['vpn', 'not the same port by TCP', 'heidi', { ask: ['tcp/51820'] }, 'not-allowed'],
  ['staging-web', "the agency's network", 'reviewers', { from: '192.168.30.200' }, 'staging grant 3600'],
  ['staging-web', 'one port of the range', 'reviewers', { from: '10.40.0.1', ask: ['tcp/8085'] }, 'tcp/8085 grant 3600'],
  ['staging-web', 'nowhere else', 'reviewers', {}, 'from-network'],
  ['office-hours', 'not on a Saturday in the middle of the month', 'ines', {}, 'not-now'],
  ['office-hours', 'on a working day', 'ines', { at: unixMs(Date.UTC(2026, 10, 23, 9)) }, 'accounting ending 3600'],
  [
    'office-hours',
    'no longer than the office is open',
    'ines',
    { at: unixMs(Date.UTC(2026, 10, 23, 16)), ttl: 36_000 },
    'accounting ending 3600',
  ],
  [
    'office-hours',
    'in summer the office opens an hour earlier by UTC',
    'ines',
    { at: unixMs(Date.UTC(2026, 6, 6, 6)) },
    'accounting ending 3600',
  ],
  ['office-hours', 'in winter not yet', 'ines', { at: unixMs(Date.UTC(2026, 10, 23, 6)) }, 'not-now'],
  ['office-hours', 'the last Saturday of the month', 'ines', { at: unixMs(Date.UTC(2026, 10, 28, 10, 30)) }, 'accounting ending 1800'],
  ['laptop-and-phone', 'the laptop', 'grace-laptop', { ttl: 3600 }, 'ssh grant 1800'],
  ['laptop-and-phone', 'the phone', 'grace-phone', { ask: ['ssh', 'monitoring'] }, 'ssh grant 30, monitoring grant 300'],
];

describe('the example rules', () => {
  let folder = '';
  let config: Config | undefined;
  let book: RuleBook | undefined;
  let problems: readonly string[] = [];

  before(async () => {
    // As an administrator lays them out: rules.d and psk beside the configuration.
    folder = mkdtempSync(join(tmpdir(), 'postern-examples-'));
    cpSync(EXAMPLES, join(folder, 'rules.d'), { recursive: true });
    cpSync(join(EXAMPLES, 'postern.yaml.example'), join(folder, 'postern.yaml'));
    mkdirSync(join(folder, 'psk'));
    writeFileSync(join(folder, 'psk', 'ci'), `${Buffer.from(Array.from({ length: 32 }, (_, at) => at)).toString('base64')}\n`);
    for (const path of [join(folder, 'rules.d'), ...readdirSync(join(folder, 'rules.d')).map((name) => join(folder, 'rules.d', name))])
      chmodSync(path, 0o700);
    chmodSync(join(folder, 'postern.yaml'), 0o600);
    chmodSync(join(folder, 'psk', 'ci'), 0o600);
    const loaded = await loadConfig(join(folder, 'postern.yaml'));
    config = loaded.config;
    assert.ok(config !== undefined, loaded.problems.map(formatProblem).join('\n'));
    const rules = await loadRuleBook(config, NOW);
    book = rules.book;
    problems = [...loaded.problems, ...rules.problems].map(formatProblem);
  });
  after(() => rmSync(folder, { recursive: true }));

  it('load together; the one warning is about a home folder that this host does not have', () => {
    assert.ok(book !== undefined, problems.join('\n'));
    assert.deepEqual(
      problems.map((problem) => problem.replace(folder, '')),
      [
        '/rules.d/ssh-team.yaml:8:16: warning: client "bob" has no keys from its keys_file: there is no file /home/bob/.ssh/authorized_keys: make it, or correct the path',
      ],
    );
  });

  it('are named in the README, each of them exercised here', () => {
    const files = readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'));
    const readme = readFileSync(join(EXAMPLES, 'README.md'), 'utf8');
    assert.ok(files.length >= 5);
    assert.deepEqual(
      files.filter((name) => !readme.includes(`\`${name}\``)),
      [],
    );
    assert.deepEqual(
      files.filter((name) => !CASES.some(([file]) => `${file}.yaml` === name)),
      [],
    );
  });

  it('the robot has its pre-shared key and its slots', () => {
    const robot = book?.clients.find(({ name }) => name === 'ci');
    assert.deepEqual([robot?.presharedKeys.length, robot?.slots], [1, 64]);
  });

  for (const [file, text, name, knock, expected] of CASES) {
    it(`${file}: ${text}: ${expected}`, () => {
      const client = book?.clients.find((each) => each.name === name);
      const source = parseAddress(knock.from ?? '10.9.0.1');
      assert.ok(client !== undefined && config !== undefined && source.ok);
      assert.ok(client.allow.some(({ place }) => place.file.endsWith(`/${file}.yaml`)) || expected === 'not-allowed');
      const step = authorize({
        body: {
          action: { kind: 'open', lifetimeSeconds: knock.ttl ?? 0, once: false },
          source: knock.bound === true ? { kind: 'bound', address: source.value } : { kind: 'unbound' },
          sourcePort: 0,
          requests: (knock.ask ?? []).map(asRequest),
        },
        client,
        key: client.keys[0] ?? { expiresAtMs: undefined, from: undefined },
        datagramSource: source.value,
        services: config.services,
        maxGrants: config.maxGrants,
        now: knock.at ?? NOW,
        liveGrants: 0,
        isLive: () => false,
      });
      const shown = step.pass
        ? step.value.services.map(({ label, kind, lifetimeSeconds }) => `${label} ${kind} ${lifetimeSeconds}`).join(', ')
        : step.reason;
      assert.equal(shown, expected);
    });
  }
});

function asRequest(text: string): Request {
  const range = parsePortRange(text);
  return range.ok ? { kind: 'ports', ports: range.value } : { kind: 'service', name: text };
}
