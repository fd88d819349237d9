// The client's own files and words: profiles.yaml, and (first line "argv") a command line, a word in each line.
import { isDeepStrictEqual } from 'node:util';
import { CommandError } from '../../../client/command-error.ts';
import { checkOptions } from '../../../client/options.ts';
import { parseProfiles } from '../../../client/profile.ts';
import { readQuickly } from '../../../client/quick-line.ts';
import { readProfilesQuickly, withKey } from '../../../client/quick-profile.ts';
import { hold, holdPlain } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const FILE = '/home/somebody/.config/postern/profiles.yaml';
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFHf55FXmrvvT/aZrAM/WeIlCJuWb5n792ZCg49UXI4w';

function run(input: Uint8Array): string {
  const text = Buffer.from(input).toString('utf8');
  return text.startsWith('argv\n') ? commandLine(text.split('\n').slice(1)) : profiles(text);
}

function profiles(text: string): string {
  const read = parseProfiles(text, FILE);
  for (const problem of read.problems) {
    holdPlain(problem, 'a problem');
    hold(/^\/home\/somebody\/\.config\/postern\/profiles\.yaml:\d+:\d+: ./.test(problem), () => `no place: ${problem}`);
    hold(problem.length < 1000, 'a problem without end');
  }
  for (const [name, { port, ttlSeconds, slots, offers }] of read.profiles) {
    if (read.problems.length > 0) break;
    hold(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(name), () => `a profile called ${JSON.stringify(name)}`);
    hold(port === undefined || (port >= 1 && port <= 65_535), `port ${port}`);
    hold(ttlSeconds === undefined || (ttlSeconds >= 1 && ttlSeconds < 2 ** 32), `lifetime ${ttlSeconds}`);
    hold(slots === undefined || (slots >= 1 && slots <= 64), `slots ${slots}`);
    for (const offer of offers ?? [])
      hold(
        offer.ports.every(({ first, last }) => first >= 1 && first <= last && last <= 65_535),
        'an offer out of range',
      );
  }
  const found = readProfilesQuickly(text);
  const quick = new Map([...(found ?? [])].map(([name, profile]) => [name, withKey(profile)]));
  if (found !== undefined && ![...quick.values()].includes(undefined)) {
    hold(read.problems.length === 0, () => `read quickly, and refused: ${read.problems[0]}`);
    hold(
      isDeepStrictEqual(quick, read.profiles),
      () => `read quickly as ${JSON.stringify([...quick])}, else as ${JSON.stringify([...read.profiles])}`,
    );
    return 'plain';
  }
  return read.problems.length > 0 ? 'refused' : read.profiles.size > 0 ? 'profiles' : 'nothing';
}

function commandLine(words: readonly string[]): string {
  const line = readQuickly(words);
  if (line === undefined) return 'not a quick line';
  if (line.kind === 'proxy') return 'proxy';
  try {
    const { port, ttlSeconds, timeoutMs } = checkOptions(line.host, line.services, [], line.raw);
    hold((port ?? 1) >= 1 && (port ?? 1) <= 65_535 && (ttlSeconds ?? 1) >= 0 && timeoutMs >= 0 && timeoutMs <= 3_600_000, 'out of range');
    return 'a knock';
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    hold(error.exitCode === 2, `exit code ${error.exitCode}`);
    for (const each of error.message.split('\n')) holdPlain(each, 'a message');
    return 'wrong usage';
  }
}

const SOUND: Readonly<Record<string, string>> = {
  host: 'web1.example.org',
  server_key: KEY,
  identity: '~/.ssh/id_a',
  port: '62201',
  services: '[ssh, tcp/8443]',
  ttl: '10m',
  source: 'bound',
  stun_server: 'stun.example.org:3478',
  time: 'https://example.org',
  psk_file: '~/psk',
  slots: '16',
};

/** Profiles that are plain or nearly so: whatever the quick reader takes, the parser must take as the same. */
function generate(random: Random): Uint8Array {
  const pieces = [
    'a',
    'web1',
    '.',
    '-',
    '_',
    '/',
    '~/',
    ' ',
    '0',
    '1',
    '22',
    'e',
    'x',
    '+',
    ':',
    '=',
    '@',
    'true',
    'null',
    'no',
    'inf',
    '#',
    "'",
    '"',
    '!',
    '&',
    '*',
    ',',
  ] as const;
  const word = (most: number) => Array.from({ length: 1 + random.below(most) }, () => random.pick(pieces)).join('');
  const scalar = () =>
    random.oneIn(3)
      ? word(5)
      : random.pick([
          'web1.example.org',
          '62201',
          '10m',
          '[ssh, tcp/8443]',
          '[]',
          KEY,
          'bound',
          'auto',
          '30s',
          '16',
          '007',
          '1e3',
          '0x10',
          '1.',
          '~',
          '~/k',
          'a: b',
          'a #b',
          'a  ',
        ]);
  const keys = [
    'host',
    'server_key',
    'identity',
    'port',
    'services',
    'ttl',
    'source',
    'stun_server',
    'time',
    'psk_file',
    'slots',
    'offers',
  ] as const;
  const offer = () =>
    random.pick([
      '{ ports: [tcp/8443], once: true }',
      '{}',
      '',
      '{ once: false, default: true }',
      '{ports: [tcp/1,udp/2]}',
      `{ ports: [${word(2)}] }`,
      word(3),
    ]);
  const lines = ['profiles:'];
  for (let profile = random.below(3); profile >= 0; profile -= 1) {
    lines.push(`  ${random.oneIn(8) ? word(3) : `p${profile}`}:${random.oneIn(12) ? ' ' : ''}`);
    for (let field = random.below(4); field >= 0; field -= 1) {
      const key = random.oneIn(12) ? word(2) : random.pick(keys);
      const indent = ' '.repeat(random.oneIn(12) ? random.below(8) : 4);
      if (key !== 'offers') lines.push(`${indent}${key}: ${random.oneIn(5) ? scalar() : (SOUND[key] ?? 'x')}`);
      else
        lines.push(
          `${indent}offers:`,
          ...Array.from(
            { length: 1 + random.below(3) },
            () => `${indent}  ${random.oneIn(3) ? word(2) : random.pick(['admin', 'tcp/9000', 'b'])}: ${offer()}`,
          ),
        );
      if (random.oneIn(12)) lines.push(random.pick(['', '# x', '      # y', '  ', '---', '...']));
    }
  }
  return new TextEncoder().encode(lines.join('\n') + (random.oneIn(2) ? '\n' : ''));
}

export const target: FuzzTarget = {
  about: "the client's profiles and command line",
  covers: [
    'client/profile.ts',
    'client/profile-fields.ts',
    'client/quick-profile.ts',
    'client/quick-line.ts',
    'client/options.ts',
    'client/services.ts',
    'client/source.ts',
    'client/time-source.ts',
  ],
  kind: 'text',
  maxBytes: 1500,
  seeds: [
    `profiles:\n  web1:\n    host: web1.example.org\n    server_key: ${KEY}\n    identity: ~/.ssh/id\n    port: 62201\n    services: [ssh, tcp/8443]\n    ttl: 10m\n    source: bound\n    slots: 16\n    offers: { admin: { ports: [tcp/8443], once: true, default: true }, tcp/9000: {} }\n`,
    'profiles:\n  "a": {host: b, stun_server: "stun.example.org:3478", time: "https://example.org", psk_file: p}\n  b: &x 3\n  c: *x\n',
    'profiles:\n  web1:\n    host: web1.example.org\n    port: 62201\n    services: [ssh, tcp/8443]\n    ttl: 10m\n    offers:\n      admin: { ports: [tcp/8443], once: true, default: false }\n      tcp/9000:\n  b:\n    host: 192.0.2.7\n',
    'argv\nweb1\nssh\ntcp/8443\n-p\n62201\n--ttl\n30s\n--source\nauto\n-4\n--timeout\n5s',
    'argv\nproxy\nweb1\n22\n--once',
    'argv\nroot@web1\n--time\nsntp:ntp.example.org\n--once\n--source-port\n40000\n-q\n-v',
  ],
  dictionary: [
    'argv\n',
    '\n--',
    'profiles:',
    ': ',
    '&a ',
    '*a',
    '!!',
    '[',
    '{',
    '"',
    '? ',
    '<<',
    '__proto__',
    'constructor',
    '1e3',
    '0x1f',
    '.inf',
    'null',
    '~',
    ' #',
    ': ',
    'true',
  ],
  generate,
  run,
  mustReach: ['plain', 'refused', 'profiles', 'nothing', 'a knock', 'wrong usage', 'proxy', 'not a quick line'],
};
