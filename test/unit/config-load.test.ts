// What postern.yaml may say, and what one is told about everything else: all at once, each with line, column and cure (P35).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { jsonSchemas } from '../../daemon/config/json-schema.ts';
import { interpretConfig } from '../../daemon/config/load.ts';
import { parseServices } from '../../daemon/config/service-names.ts';
import { readYaml } from '../../daemon/config/yaml-source.ts';
import { formatProblem, problemAt } from '../../daemon/problem.ts';
import { formatPortRange } from '../../protocol/ports.ts';

const SYSTEM = parseServices('ssh 22/tcp # SSH\nhttps 443/tcp\nhttps 443/udp\ndomain\t53/tcp\ndomain 53/udp dns\nX11 6000/tcp\n');

function interpret(text: string | Uint8Array) {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  const { draft, problems } = interpretConfig(readYaml('/etc/postern/c.yaml', bytes), '/etc/postern/c.yaml', SYSTEM);
  return { draft, lines: problems.map((problem) => formatProblem(problem).replaceAll('/etc/postern/c.yaml:', '')) };
}

/** `protect` stands in line 1, so that it is not warned about. */
const told = (text: string) => interpret(`protect: [ssh]\n${text}`).lines;

type Case = readonly [text: string, file: string, expected: string | RegExp];

const ONE_PROBLEM: readonly Case[] = [
  ['an unknown key, with the nearest name', 'service: {}', '2:1: unknown key "service": did you mean "services"?'],
  ['an unknown key that is near to nothing', 'qqqqqq: 1', /^2:1: unknown key "qqqqqq": the configuration knows server_key, port,/],
  ['an unknown key inside log', 'log: { levl: info }', '2:8: unknown key "levl": did you mean "level"?'],
  ['a key twice, with both places', 'port: 1\nport: 2', '3:1: the key "port" stands twice (first in line 2): keep one of them'],
  ['a tab as indentation', 'log:\n\tlevel: info', /^3:1: a tab stands in the indentation: indent with spaces$/],
  ['no where a word is meant', 'refuse: no', '2:9: refuse must be drop or reject, but "no" stands here: write drop or reject'],
  ['a typing slip in a word', 'refuse: rejct', '2:9: refuse must be drop or reject, but "rejct" stands here: did you mean "reject"?'],
  ['022', 'max_grants: 022', '2:13: 022 is the number 22 in YAML 1.2: write 22, or quotes around it if it is text'],
  [
    '22:30 as a number',
    'port: 22:30',
    /^2:7: port must be a whole number, but "22:30" stands here: in YAML 1.2 this is text, not a time: write a number$/,
  ],
  ['22:30 as a port', 'services: { a: 22:30 }', /^2:16: not a port: "22:30"/],
  ['a number in quotes', 'port: "62201"', '2:7: port must be a whole number, but "62201" stands here: remove the quotes'],
  ['port 0', 'port: 0', '2:7: port must be at least 1: correct the number'],
  ['port 65536', 'port: 65536', '2:7: port must be at most 65535: correct the number'],
  ['a port and a half', 'port: 1.5', /^2:7: port must be a whole number/],
  ['infinity', 'port: .inf', /^2:7: port must be a whole number/],
  ['nothing where a port is meant', 'port:', '2:6: port must be a whole number, but nothing stands here: write a whole number'],
  ['a port range that runs backwards', 'services: { a: tcp/10-5 }', '2:16: the range tcp/10-5 runs backwards: did you mean tcp/5-10?'],
  ['a port without a protocol', 'services: { a: "22" }', /^2:16: not a port: "22"/],
  ['a port above 65535', 'services: { a: tcp/70000 }', '2:16: port out of range in "tcp/70000" (1 to 65535)'],
  ['sctp', 'services: { a: sctp/22 }', /^2:16: not a port: "sctp\/22"/],
  ['a service name in capitals', 'services: { A: tcp/1 }', '2:13: not a name: "A": a service name is 1 to 32 of a-z, 0-9 and -'],
  ['a service name of 33 characters', `services: { ${'a'.repeat(33)}: tcp/1 }`, /^2:13: not a name/],
  ['host bits in a network', 'trusted: [10.1.2.3/8]', '2:11: 10.1.2.3/8 has host bits set: did you mean 10.0.0.0/8?'],
  ['a mapped network (P21)', 'trusted: ["::ffff:10.0.0.0/104"]', /^2:11: write the IPv4 network itself/],
  ['a prefix of 33', 'networks: [10.0.0.0/33]', '2:12: not a network: "10.0.0.0/33" (prefix 0 to 32)'],
  ['a name as a network', 'trusted: [example.org]', /^2:11: not a network: "example.org"/],
  ['one network without its list', 'trusted: 10.0.0.0/8', '2:10: trusted must be a list, but "10.0.0.0/8" stands here: write [10.0.0.0/8]'],
  [
    'a list whose dash has no space',
    'trusted:\n  -10.0.0.0/8',
    '3:3: trusted must be a list, but "-10.0.0.0/8" stands here: put a space behind the dash: - 10.0.0.0/8',
  ],
  [
    'a list whose dashes stand in several columns',
    'services:\n  web:\n    - tcp/80\n     - tcp/443',
    '4:7: several lines were read as one entry: "tcp/80 - tcp/443": let all - of a list stand in one column',
  ],
  [
    'a duration without its unit',
    'default_ttl: 30',
    '2:14: default_ttl must be text, but the number 30 stands here: write 30s, or use m, h or d',
  ],
  ['a duration of nothing', 'default_ttl: 0s', '2:14: "0s" is not between 1s and 365d: correct the duration'],
  ['a duration of words', 'default_ttl: 1 hour', '2:14: not a duration: "1 hour" (write 30s, 10m, 2h or 7d)'],
  ['a tolerance of six minutes', 'clock_tolerance: 6m', '2:18: "6m" is not between 0s and 5m: correct the duration'],
  ['lo as an interface', 'interfaces: [lo]', '2:14: lo is never gated: leave it out'],
  [
    'an interface with a shell in its name (P33)',
    "interfaces: ['a;reboot']",
    '2:14: not the name of a network interface: "a;reboot": see: ip link',
  ],
  ['an interface of 16 characters', `interfaces: [${'e'.repeat(16)}]`, /^2:14: not the name of a network interface/],
  ['no interface at all', 'interfaces: []', '2:13: interfaces must have at least 1 entry: add or remove some'],
  ['a table name with nft in it (P33)', "table: 'a; flush ruleset'", /^2:8: not a table name: "a; flush ruleset"/],
  ['a home folder', 'rules: ~/rules', '2:8: "~/rules" is not expanded here: write the whole path'],
  ['an empty path', "state: ''", '2:8: not a path: write the path of a file or folder'],
  [
    'a control socket that no socket address holds',
    `control: /${'a'.repeat(120)}`,
    /^2:10: the path of the control socket is longer than 107 bytes/,
  ],
  ['an alias', 'trusted: &a [10.0.0.0/8]', '2:13: an anchor (&) stands here: remove it: aliases are not used in these files'],
  ['a tag', 'port: !!int "5"', '2:13: a YAML tag (!) stands here: remove it'],
  ['a second document', '---\nport: 5', /^2:1: a second YAML document begins here: keep one document in a file/],
  ['an open bracket', 'trusted: [', /^2:11: not valid YAML: /],
  ['the knock port protected', 'services: { k: udp/62201 }\nport: 62201', /^$/],
  [
    'a size without its unit',
    'log: { audit: { max_size: 10 } }',
    '2:27: max_size must be text, but the number 10 stands here: write 10M, or use K or G',
  ],
  ['a size that is none', 'log: { audit: { max_size: 10Q } }', '2:27: not a size: "10Q": write a number with K, M or G: 64M'],
  ['an unknown key of the audit log', 'log: { audit: { path: /x } }', '2:17: unknown key "path": remove it'],
  ['metrics that nobody would read', 'metrics: { textfile: /x }', '2:22: node_exporter does not read "/x": let its name end in .prom'],
];

describe('postern.yaml: each mistake is named with its place and its cure', () => {
  for (const [text, file, expected] of ONE_PROBLEM) {
    it(text, () => {
      const lines = told(file);
      if (expected instanceof RegExp && expected.source === '^$') assert.deepEqual(lines, []);
      else {
        assert.equal(lines.length, 1, lines.join('\n'));
        if (typeof expected === 'string') assert.equal(lines[0], expected);
        else assert.match(lines[0] ?? '', expected);
      }
    });
  }

  it('the knock port cannot be protected as UDP, by number, range or name', () => {
    for (const protect of ['udp/62201', 'udp/62000-63000', 'k']) {
      const { lines } = interpret(`protect: [${protect}]\nservices: { k: udp/62201 }`);
      assert.match(lines.join('\n'), /^1:11: .* holds the knock port udp\/62201/);
    }
    assert.deepEqual(interpret('protect: [tcp/62201]').lines, []);
  });

  it('says everything that is wrong in one run, in reading order', () => {
    const { lines } = interpret('port: 0\nprotect: [sshh]\nrefuse: maybe\ntrusted: [1.2.3.4/8]\nlog: { level: loud, x: 1 }\nzzz: 1\n');
    assert.deepEqual(
      lines.map((line) => line.split(': ')[0]),
      ['1:7', '2:11', '3:9', '4:11', '5:15', '5:21', '6:1'],
    );
    assert.match(lines[1] ?? '', /no service is called "sshh": did you mean "ssh"\?/);
  });

  it('an alias bomb is refused without being expanded', () => {
    const levels = Array.from({ length: 30 }, (_, at) => `a${at}: &a${at} [${at === 0 ? 'x' : `*a${at - 1}, *a${at - 1}`}]`);
    assert.ok(interpret(levels.join('\n')).lines.some((line) => line.includes('an alias (*) stands here: write the value out')));
  });

  it('nesting that overflows the stack, or kills the process, of the YAML library is refused before it sees it', () => {
    for (const text of [
      '['.repeat(100_000),
      '{a: '.repeat(50_000),
      '- '.repeat(50_000),
      `a:\n${'[\n'.repeat(50_000)}`,
      '? '.repeat(20_000),
      'a: '.repeat(5000),
      `a: [${'a: '.repeat(5000)}`,
      `a: &x ${'b: '.repeat(5000)}`,
    ]) {
      assert.match(interpret(text).lines[0] ?? '', /nested too deep/);
    }
    assert.match(interpret(Array.from({ length: 5000 }, (_, at) => `${' '.repeat(at)}a:`).join('\n')).lines[0] ?? '', /nested too deep/);
  });

  it('control bytes are refused where they stand, and never repeated raw (P34)', () => {
    const { lines } = interpret('port: 1\nrefuse: "a\u001b[31m"');
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /^2:11: a control character/);
    for (const line of [...lines, ...told(`"\u202e${'x'.repeat(5000)}": 1`)]) {
      assert.doesNotMatch(line, /[\p{Cc}\p{Cf}]/u);
      assert.ok(line.length < 1000);
    }
  });

  it('a key that stands where it does not belong is in no message', () => {
    const psk = 'ZnV6emluZyBpcyBub3QgYSBzZWNyZXQsIHRoaXMga2U=';
    const inside = 'b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQ';
    for (const secret of [psk, inside])
      for (const text of [secret, `port: ${secret}`, `"${secret}": 1`, `port: 1\n[] ${secret}`, `[}]${secret}`, `table: ${secret}`]) {
        const shown = interpret(text).lines;
        assert.ok(shown.length > 0);
        for (const each of shown) assert.ok(!each.includes(secret.slice(-20)), each);
      }
    // A fingerprint and a path are no keys.
    const { message } = problemAt(undefined, `SHA256:${'aB3'.repeat(14)}x in /var/lib/postern/${'long/'.repeat(20)}`, '');
    assert.match(message, /^SHA256:(aB3){14}x in \/var\/lib\/postern\/(long\/){20}$/);
  });

  it('what is not UTF-8 is refused', () => {
    assert.match(interpret(Buffer.from([0xff, 0xfe, 0x41, 0x00])).lines[0] ?? '', /not UTF-8 text/);
  });

  it('an empty file is no configuration', () => {
    for (const text of ['', '# nothing\n']) assert.match(interpret(text).lines[0] ?? '', /the configuration is empty/);
    assert.match(interpret('- a\n').lines[0] ?? '', /must be a map of keys and values, but a list stands here/);
  });
});

describe('postern.yaml: what it means', () => {
  it('a byte order mark and CRLF change nothing', () => {
    const { draft, lines } = interpret('\ufeffport: 5\r\nprotect: [ssh]\r\nrefuse: reject\r\n');
    assert.deepEqual(lines, []);
    assert.equal(draft?.port, 5);
    assert.equal(draft?.refuse, 'reject');
  });

  it('the defaults', () => {
    const { draft } = interpret('protect: [ssh]');
    assert.ok(draft !== undefined);
    const { services, protect, ...rest } = draft;
    assert.deepEqual(protect.map(formatPortRange), ['tcp/22']);
    assert.equal(services.get('ssh')?.length, 1);
    assert.deepEqual(rest, {
      file: '/etc/postern/c.yaml',
      serverKeys: ['/etc/postern/host_ed25519'],
      port: 62201,
      interfaces: [],
      firewall: 'auto',
      capture: 'auto',
      trusted: [],
      refuse: 'drop',
      unmatched: 'drop',
      networks: [],
      defaultTtlSeconds: 30,
      maxGrants: 32,
      clockToleranceMs: 60_000,
      rules: '/etc/postern/rules.d',
      state: '/var/lib/postern',
      control: '/run/postern/control.sock',
      table: 'postern',
      nflogGroup: 5,
      log: { level: 'info' },
      audit: { file: '/var/log/postern/audit.jsonl', maxBytes: 64 * 2 ** 20, keep: 16 },
      metricsFile: undefined,
    });
  });

  it('relative paths stand beside the file', () => {
    const { draft } = interpret('protect: [ssh]\nserver_key: [a, ../b, /c]\nrules: r\nstate: s\ncontrol: run/c.sock');
    assert.deepEqual(draft?.serverKeys, ['/etc/postern/a', '/etc/b', '/c']);
    assert.deepEqual([draft?.rules, draft?.state, draft?.control], ['/etc/postern/r', '/etc/postern/s', '/etc/postern/run/c.sock']);
  });

  it("own service names come first, then the host's; a name with both protocols means both", () => {
    const { draft } = interpret('protect: [ssh, https, vpn]\nservices: { ssh: tcp/2222, vpn: [udp/51820, tcp/51821] }');
    assert.deepEqual(draft?.protect.map(formatPortRange), ['tcp/443', 'tcp/2222', 'tcp/51821', 'udp/443', 'udp/51820']);
  });

  it('protected ranges are sorted and merged, and an overlap is mentioned', () => {
    const { draft, lines } = interpret('protect: [tcp/9005-9020, tcp/80, tcp/9000-9010, udp/80, tcp/81]');
    assert.deepEqual(draft?.protect.map(formatPortRange), ['tcp/80-81', 'tcp/9000-9020', 'udp/80']);
    assert.deepEqual(lines, ['1:34: warning: tcp/9000-9010 overlaps with tcp/9005-9020 at 1:11: remove one of them']);
  });

  it('a network within another is left out, as ranges in a ruleset must not overlap', () => {
    const { draft, lines } = interpret('protect: [ssh]\ntrusted: [10.1.0.0/16, 10.0.0.0/8, 10.0.0.0/8, "fd00::/8"]');
    assert.deepEqual(
      draft?.trusted.map(({ text }) => text),
      ['10.0.0.0/8', 'fd00::/8'],
    );
    assert.deepEqual(lines, [
      '2:11: warning: 10.1.0.0/16 is part of 10.0.0.0/8 at 2:24: remove it',
      '2:36: warning: 10.0.0.0/8 is part of 10.0.0.0/8 at 2:24: remove it',
    ]);
    assert.match(interpret('protect: [ssh]\ntrusted: [0.0.0.0/0]').lines[0] ?? '', /^2:11: warning: 0\.0\.0\.0\/0 trusts everybody/);
  });

  it('trusted networks that are everybody together are mentioned, as one /0 is', () => {
    for (const [family, networks] of [
      ['IPv4', '0.0.0.0/1, 128.0.0.0/1'],
      ['IPv4', '0.0.0.0/2, 64.0.0.0/2, 128.0.0.0/1, 10.0.0.0/8, fd00::/8'],
      ['IPv6', '"::/1", "8000::/1", 10.0.0.0/8'],
    ] as const) {
      const { lines } = interpret(`protect: [ssh]\ntrusted: [${networks}]`);
      const [everybody] = lines.filter((each) => each.includes('trust everybody'));
      assert.match(everybody ?? '', new RegExp(`^2:10: warning: these networks together trust everybody over ${family}`), lines.join('\n'));
    }
    assert.deepEqual(interpret('protect: [ssh]\ntrusted: [0.0.0.0/1, 128.0.0.0/2, "fd00::/8"]').lines, []);
  });

  it('an interface that stands twice is mentioned, and taken once', () => {
    const { draft, lines } = interpret('protect: [ssh]\ninterfaces: [eth0, wg0?, eth0]');
    assert.deepEqual(
      draft?.interfaces.map(({ name, optional }) => [name, optional]),
      [
        ['eth0', false],
        ['wg0', true],
      ],
    );
    assert.deepEqual(lines, ['2:26: warning: eth0 stands at 2:14 already: remove one of them']);
  });

  it('iptables with raw sockets cannot be silent: the knock port answers as any closed one, unless somebody insists', () => {
    const both = 'protect: [ssh]\nfirewall: iptables\ncapture: raw\n';
    const { draft, lines } = interpret(both);
    assert.equal(draft?.unmatched, 'pass');
    assert.match(lines.join(), /^3:10: warning: with iptables and capture: raw the knock port answers as any closed port does/);
    assert.deepEqual(interpret(`${both}unmatched: pass`).lines, []);
    assert.match(
      interpret(`${both}unmatched: drop`).lines.join(),
      /^3:10: capture: raw with unmatched: drop needs nftables .*: set capture: nflog/,
    );
    for (const other of ['firewall: iptables', 'capture: raw', 'firewall: iptables\ncapture: udp'])
      assert.equal(interpret(`protect: [ssh]\n${other}`).draft?.unmatched, 'drop');
  });

  it('nothing protected is a warning', () => {
    for (const text of ['port: 5', 'protect:\nport: 5', 'protect: []']) {
      const { draft, lines } = interpret(text);
      assert.deepEqual(draft?.protect, []);
      assert.match(lines.join(), /warning: nothing is protected/);
    }
  });

  it('firewall: none is allowed', () => {
    assert.equal(interpret('protect: [ssh]\nfirewall: none').draft?.firewall, 'none');
  });
});

describe('the JSON Schemas', () => {
  for (const [name, text] of Object.entries(jsonSchemas())) {
    it(`docs/schema/${name} is what the definitions say now (else run: node dist/scripts/schemas.js)`, () => {
      assert.equal(readFileSync(fileURLToPath(new URL(`../../../docs/schema/${name}`, import.meta.url)), 'utf8'), text);
    });
  }
});
