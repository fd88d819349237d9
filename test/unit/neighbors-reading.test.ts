// Reading other people's rules without a kernel: what check says of listings that are odd, and that nothing in one makes it fail or lie.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { adviceFor } from '../../daemon/neighbors/advice.ts';
import { readIptablesSave } from '../../daemon/neighbors/read-iptables.ts';
import { readNft, readTexts } from '../../daemon/neighbors/read-nft.ts';
import type { Ruleset } from '../../daemon/neighbors/ruleset.ts';
import { type Finding, findObstacles, type Surroundings } from '../../daemon/neighbors/verdicts.ts';
import { parseAddress, parseNetwork } from '../../protocol/address.ts';
import { formatPortRange, parsePortRange } from '../../protocol/ports.ts';

const AROUND: Surroundings = {
  interfaces: [
    { name: 'eth0', own: ['192.0.2.5', '192.0.2.6', '2001:db8::5'].map(address), networks: [network('192.0.2.0/24')], outside: true },
    { name: 'docker0', own: ['172.17.0.1'].map(address), networks: [network('172.17.0.0/16')], outside: false },
  ],
};

function address(text: string) {
  const parsed = parseAddress(text);
  assert.ok(parsed.ok);
  return parsed.value;
}
function network(text: string) {
  const parsed = parseNetwork(text);
  assert.ok(parsed.ok);
  return parsed.value;
}
function find(ruleset: Ruleset, ...protect: readonly string[]): readonly Finding[] {
  const ranges = protect.map((text) => {
    const parsed = parsePortRange(text);
    assert.ok(parsed.ok);
    return parsed.value;
  });
  return findObstacles(ruleset, ranges, [], AROUND);
}
/** The IPv4 input chain of an iptables-save, policy drop. */
const save = (...rules: readonly string[]) => readIptablesSave(`*filter\n:INPUT DROP [0:0]\n${rules.join('\n')}\nCOMMIT\n`, 4, 'nft');

/** `kind ports`, as `blocked tcp/22`. */
const inWords = (findings: readonly Finding[]) => findings.map(({ fate, ports }) => `${fate.kind} ${ports.map(formatPortRange).join()}`);

describe('iptables-save', () => {
  for (const [what, rules, expected] of [
    ['a port', ['-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT'], []],
    ['another protocol', ['-A INPUT -p udp -m udp --dport 22 -j ACCEPT'], ['blocked tcp/22']],
    ['one of our addresses', ['-A INPUT -d 192.0.2.5/32 -j ACCEPT'], ['only-some tcp/22']],
    ['all our addresses', ['-A INPUT -d 192.0.2.0/24 -j ACCEPT'], []],
    ['a time of day', ['-A INPUT -p tcp --dport 22 -m time --timestart 08:00 --timestop 17:00 -j ACCEPT'], ['only-some tcp/22']],
    ['a set of sources', ['-A INPUT -m set --match-set admins src -j ACCEPT'], ['only-some tcp/22']],
    ['a mark', ['-A INPUT -m mark --mark 0x1 -j ACCEPT'], ['cannot-tell tcp/22']],
    ['a match that nobody knows', ['-A INPUT -m novel --weird 7 -p tcp -j ACCEPT'], ['cannot-tell tcp/22']],
    ['a queue', ['-A INPUT -p tcp -j NFQUEUE --queue-num 1'], ['cannot-tell tcp/22']],
    ['a jump to nowhere', ['-A INPUT -j gone', '-A INPUT -p tcp -j ACCEPT'], []],
    ['a comment that looks like a rule', ['-A INPUT -p tcp -m comment --comment "-j DROP" -j ACCEPT'], []],
    ['a range that runs backwards', ['-A INPUT -p tcp --dport 30:20 -j ACCEPT'], ['blocked tcp/22']],
    ['our own chain', ['-A INPUT -j POSTERN', '-A INPUT -p tcp -j ACCEPT'], []],
    [
      'an address translation that hangs on the source',
      ['-A INPUT -s 10.0.0.0/8 -j ACCEPT', '-A INPUT -p tcp -j REJECT'],
      ['only-some tcp/22'],
    ],
    ['sources that no client has', ['-A INPUT -s 127.0.0.0/8 -j ACCEPT'], ['blocked tcp/22']],
    ['established connections only', ['-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT'], ['blocked tcp/22']],
    ['a reverse path filter', ['-A INPUT -m rpfilter --invert -j DROP', '-A INPUT -j ACCEPT'], []],
  ] as const) {
    test(`${what}: ${expected.length === 0 ? 'passes' : expected.join()}`, () => {
      assert.deepEqual(inWords(find(save(...rules), 'tcp/22')), expected);
    });
  }

  test('tells the ports of a range apart, and only where a rule does', () => {
    const rules = save('-A INPUT -p tcp -m multiport --dports 9002,9004:9005 -j ACCEPT');
    assert.deepEqual(inWords(find(rules, 'tcp/9000-9010')), ['blocked tcp/9000-9001,tcp/9003,tcp/9006-9010']);
  });

  test('follows a translation to the container and its forward chain', () => {
    const docker = (last: string) =>
      readIptablesSave(
        `*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT
*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n-A FORWARD -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport ${last} -j ACCEPT\nCOMMIT\n`,
        4,
        'legacy',
      );
    assert.deepEqual(inWords(find(docker('80'), 'tcp/8080')), []);
    const [finding, ...more] = find(docker('81'), 'tcp/8080', 'tcp/22');
    assert.ok(finding !== undefined);
    assert.match(
      adviceFor(finding).message,
      /^tcp\/8080 stays closed after a knock too: .*over IPv4 \(iptables-legacy ip filter FORWARD: policy drop\)$/,
    );
    assert.deepEqual(inWords(more), ['blocked tcp/22']);
  });
});

describe("nft's JSON", () => {
  const nothing = readTexts('');

  test('what is not a listing is no ruleset', () => {
    for (const text of ['', '{', '[]', '{"nftables":7}', '{"nftables":[{"chain":7}]}'])
      assert.equal(readNft(text, nothing, 'postern'), undefined);
  });

  test('our own table is left out, another of that name in another family is not', () => {
    const chain = (family: string) => ({
      chain: { family, table: 'postern', name: 'c', hook: 'input', type: 'filter', prio: 0, policy: 'drop' },
    });
    const reading = readNft(JSON.stringify({ nftables: [chain('inet'), chain('ip')] }), nothing, 'postern');
    assert.deepEqual(
      reading?.ruleset.map(({ family }) => family),
      ['ip'],
    );
  });

  test('a set that names itself, as a set of interfaces can when one is called @own, ends', () => {
    const left = { meta: { key: 'iifname' } };
    const listing = [
      { chain: { family: 'ip', table: 't', name: 'a', hook: 'input', type: 'filter', prio: 0, policy: 'drop' } },
      { set: { family: 'ip', table: 't', name: 'own', elem: ['@own', 'eth0'] } },
      { rule: { family: 'ip', table: 't', chain: 'a', handle: 1, expr: [{ match: { op: '==', left, right: '@own' } }, { accept: null }] } },
    ];
    assert.deepEqual(inWords(find(readNft(JSON.stringify({ nftables: listing }), nothing, 'postern')?.ruleset ?? [], 'tcp/22')), []);
  });

  test('chains that jump in a circle, which no kernel takes, end', () => {
    const jump = (chain: string, target: string, handle: number) => ({
      rule: { family: 'ip', table: 't', chain, handle, expr: [{ jump: { target } }] },
    });
    const listing = [
      { chain: { family: 'ip', table: 't', name: 'a', hook: 'input', type: 'filter', prio: 0, policy: 'drop' } },
      { chain: { family: 'ip', table: 't', name: 'b' } },
      jump('a', 'b', 1),
      jump('b', 'a', 2),
    ];
    assert.deepEqual(inWords(find(readNft(JSON.stringify({ nftables: listing }), nothing, 'postern')?.ruleset ?? [], 'tcp/22')), [
      'blocked tcp/22',
    ]);
  });

  test('whatever stands in a rule: no exception, and no claim that it passes or not without a reason', () => {
    const value = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom('tcp', 'dport', 'new', '@set', '*', 'ipv4', '10.0.0.0', 22, true, null),
        fc.dictionary(
          fc.constantFrom(
            'match',
            'left',
            'right',
            'op',
            'payload',
            'protocol',
            'field',
            'meta',
            'key',
            'ct',
            'set',
            'prefix',
            'addr',
            'len',
            'range',
            'concat',
            'vmap',
            'data',
            'elem',
            'val',
            '&',
            'fib',
          ),
          tie('node'),
        ),
        fc.array(tie('node'), { maxLength: 3 }),
      ),
    })).node;
    const base = { chain: { family: 'inet', table: 't', name: 'c', hook: 'input', type: 'filter', prio: 0, policy: 'drop' } };
    fc.assert(
      fc.property(fc.array(value, { maxLength: 3 }), (expr) => {
        const rule = { rule: { family: 'inet', table: 't', chain: 'c', handle: 1, expr: [...expr, { accept: null }] } };
        const reading = readNft(JSON.stringify({ nftables: [base, rule] }), nothing, 'postern');
        assert.ok(reading !== undefined);
        for (const finding of find(reading.ruleset, 'tcp/22'))
          assert.ok(adviceFor(finding).message.startsWith('tcp/22 ') || finding.fate.kind === 'cannot-tell');
      }),
      { numRuns: 2000 },
    );
  });
});
