// The client's own files and words: profiles.yaml, and (first line "argv") a command line, a word in each line.
import { CommandError } from '../../../client/command-error.ts';
import { checkOptions } from '../../../client/options.ts';
import { parseProfiles } from '../../../client/profile.ts';
import { readQuickly } from '../../../client/quick-line.ts';
import { hold, holdPlain } from '../hold.ts';
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

export const target: FuzzTarget = {
  about: "the client's profiles and command line",
  covers: [
    'client/profile.ts',
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
    'argv\nweb1\nssh\ntcp/8443\n-p\n62201\n--ttl\n30s\n--source\nauto\n-4\n--timeout\n5s',
    'argv\nproxy\nweb1\n22\n--once',
    'argv\nroot@web1\n--time\nsntp:ntp.example.org\n--once\n--source-port\n40000\n-q\n-v',
  ],
  dictionary: ['argv\n', '\n--', 'profiles:', ': ', '&a ', '*a', '!!', '[', '{', '"', '? ', '<<', '__proto__', 'constructor'],
  run,
  mustReach: ['refused', 'profiles', 'nothing', 'a knock', 'wrong usage', 'proxy', 'not a quick line'],
};
