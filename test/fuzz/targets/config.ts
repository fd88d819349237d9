// postern.yaml, from its bytes to a configuration. The oracle of problems stands in yaml-oracle.ts; what is accepted must be in range.
import { readFileSync } from 'node:fs';
import { interpretConfig } from '../../../daemon/config/load.ts';
import { readYaml } from '../../../daemon/config/yaml-source.ts';
import { parsePortRange } from '../../../protocol/ports.ts';
import { hold } from '../hold.ts';
import { PROJECT } from '../project.ts';
import type { FuzzTarget } from '../target.ts';
import { holdProblems, PSK, SECRET } from '../yaml-oracle.ts';

const FILE = '/etc/postern/postern.yaml';
const SYSTEM = new Map(['ssh', 'https'].map((name, at) => [name, [range(`tcp/${[22, 443][at]}`)]]));

function range(text: string) {
  const parsed = parsePortRange(text);
  if (!parsed.ok) throw new TypeError(parsed.why);
  return parsed.value;
}

function run(input: Uint8Array): string {
  const source = readYaml(FILE, input);
  const text = Buffer.from(input).toString('utf8');
  holdProblems(source.problems, FILE, text);
  if (source.problems.some(({ severity }) => severity === 'error')) return 'not YAML';
  const { draft, problems } = interpretConfig(source, FILE, SYSTEM);
  holdProblems(problems, FILE, text);
  if (draft === undefined) return 'empty';
  // Also a draft, which `check` goes on with, is in range.
  for (const { first, last } of draft.protect) hold(first >= 1 && first <= last && last <= 65_535, `ports ${first}-${last}`);
  hold(draft.port >= 1 && draft.port <= 65_535 && draft.clockToleranceMs >= 0 && draft.clockToleranceMs <= 300_000, 'out of range');
  hold(draft.maxGrants >= 1 && draft.defaultTtlSeconds >= 1, 'nothing could ever be granted');
  hold(
    draft.serverKeys.every((path) => path.startsWith('/')) && draft.rules.startsWith('/') && draft.control.startsWith('/'),
    'a path that is not absolute',
  );
  hold(draft.serverKeys.length > 0, 'no server key');
  if (problems.some(({ severity }) => severity === 'error')) return 'refused';
  hold(/^[A-Za-z0-9_.-]{1,64}$/.test(draft.table), 'a table that nft would not take');
  hold(Buffer.byteLength(draft.control) <= 107, 'a socket that cannot be bound');
  return problems.length > 0 ? 'accepted with warnings' : 'accepted';
}

export const target: FuzzTarget = {
  about: 'the configuration of posternd',
  covers: [
    'daemon/config/yaml-source.ts',
    'daemon/config/load.ts',
    'daemon/config/read-fields.ts',
    'daemon/config/fields.ts',
    'daemon/config/ranges.ts',
    'daemon/config/observing.ts',
  ],
  kind: 'text',
  maxBytes: 3000,
  seeds: [
    readFileSync(`${PROJECT}rules/postern.yaml.example`),
    'protect: [ssh, tcp/8443, udp/1-5]\ntrusted: [10.0.0.0/8, 10.1.0.0/16, "::/0"]\ninterfaces: [eth0, "wg0?", eth0]\nservices: {a: [tcp/1, tcp/2-9], b: udp/53}\n',
    'port: 62201\nfirewall: iptables\ncapture: raw\ntable: x\nclock_tolerance: 90s\nmax_grants: 3\nlog: {level: debug, audit: {file: a, max_size: 10MB, keep: 3}}\nmetrics: {textfile: m.prom}\nprotect: []\n',
    `server_key: ${SECRET}\nprotected: &a [*a]\n"x": !!str y\nprotect: [${SECRET}]\n${SECRET}: 1\n`,
    'protect: [ssh]\n',
    `${PSK}\n`,
    `port: ${PSK}\n"${PSK}": 1\ntable: ${PSK}\ncontrol: ${PSK}\n`,
    'protect:\n  - ssh\n  - "tcp/0022"\nport: 022\n--- \na: |\n  text\n',
  ],
  dictionary: [
    ': ',
    '- ',
    '[',
    ']',
    '{',
    '}',
    '&a ',
    '*a',
    '!!',
    '<<: *a',
    '|\n',
    '>-\n',
    '"',
    "'",
    '# ',
    '---\n',
    '...\n',
    '%YAML 1.1\n',
    '~',
    '0x1f',
    '1e3',
    '.inf',
    '\t',
    '? ',
  ],
  run,
  mustReach: ['not YAML', 'empty', 'refused', 'accepted', 'accepted with warnings'],
};
