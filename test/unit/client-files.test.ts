// Profiles, services and slots of `knock`: strict reading, and no slot twice.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseProfiles } from '../../client/profile.ts';
import { quote } from '../../client/quote.ts';
import { parseRequests, planProbes } from '../../client/services.ts';
import { SlotDrawer } from '../../client/slots.ts';
import { secretFromSeed } from '../../protocol/identity.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';

const SERVER = secretFromSeed(new Uint8Array(32).fill(1)).publicKey;
const LINE = formatPublicLine(SERVER, '');

describe('profiles', () => {
  test('reads every key', () => {
    const { profiles, problems } = parseProfiles(
      `profiles:\n  web1:\n    host: web1.example.org\n    server_key: ${LINE}\n    identity: ~/.ssh/id_ed25519\n    port: 4242\n    services: [ssh, tcp/8443]\n    ttl: 5m\n    source: bound\n    stun_server: 192.0.2.7\n    time: sntp:192.0.2.8\n    psk_file: ~/x.psk\n    slots: 64\n  bare: {}\n`,
      'c',
    );
    assert.deepEqual(problems, []);
    assert.deepEqual(profiles.get('web1'), {
      host: 'web1.example.org',
      serverKey: SERVER,
      identity: '~/.ssh/id_ed25519',
      port: 4242,
      services: ['ssh', 'tcp/8443'],
      ttlSeconds: 300,
      source: { kind: 'bound' },
      stunServer: { host: '192.0.2.7', port: 3478 },
      time: { kind: 'sntp', server: { host: '192.0.2.8', port: 123 } },
      pskFile: '~/x.psk',
      slots: 64,
    });
    assert.deepEqual(profiles.get('bare'), {});
  });

  test('an empty file holds no profiles', () => {
    for (const text of ['', '# nothing\n', 'profiles:\n', '---\n']) assert.deepEqual(parseProfiles(text, 'c').problems, []);
  });

  const refused: readonly { readonly text: string; readonly yaml: string; readonly says: RegExp }[] = [
    {
      text: 'an unknown key of a profile',
      yaml: 'profiles:\n  a:\n    hots: b\n',
      says: /^c:3:5: unknown key "hots": did you mean "host"\?$/,
    },
    {
      text: 'an unknown key without a likely meaning',
      yaml: 'profiles:\n  a:\n    zzzzzz: b\n',
      says: /^c:3:5: unknown key "zzzzzz" \(known: host, server_key/,
    },
    { text: 'an unknown key at the top', yaml: 'profile:\n  a: {}\n', says: /^c:1:1: unknown key "profile": did you mean "profiles"\?$/ },
    { text: 'a key of JavaScript', yaml: 'profiles:\n  a:\n    __proto__: b\n', says: /^c:3:5: unknown key "__proto__"/ },
    { text: 'a duplicate key', yaml: 'profiles:\n  a:\n    host: b\n    host: c\n', says: /^c:4:5: .*unique/i },
    { text: 'a duplicate profile', yaml: 'profiles:\n  a: {}\n  a: {}\n', says: /^c:3:3: .*unique/i },
    {
      text: 'a port out of range',
      yaml: 'profiles:\n  a:\n    port: 0\n',
      says: /^c:3:11: port: expected a whole number from 1 to 65535$/,
    },
    { text: 'a port as text', yaml: 'profiles:\n  a:\n    port: "22"\n', says: /^c:3:11: port: / },
    { text: 'a bare number as lifetime', yaml: 'profiles:\n  a:\n    ttl: 30\n', says: /^c:3:10: ttl: a duration has a unit/ },
    { text: 'too many slots', yaml: 'profiles:\n  a:\n    slots: 65\n', says: /^c:3:12: slots: expected a whole number from 1 to 64$/ },
    { text: 'another key type', yaml: 'profiles:\n  a:\n    server_key: ssh-rsa AAAA\n', says: /^c:3:17: server_key: this is an RSA key/ },
    {
      text: 'a nonsense service',
      yaml: 'profiles:\n  a:\n    services: [ssh, TCP/1]\n',
      says: /^c:3:15: services: not a service: "TCP\/1"/,
    },
    { text: 'services that are no list', yaml: 'profiles:\n  a:\n    services: ssh\n', says: /^c:3:15: services: expected a list/ },
    { text: 'a nonsense source', yaml: 'profiles:\n  a:\n    source: nat\n', says: /^c:3:13: source: not a source: "nat"/ },
    { text: 'a clock over http', yaml: 'profiles:\n  a:\n    time: http://b\n', says: /^c:3:11: time: a clock over http: can be forged/ },
    {
      text: 'a STUN server that is none',
      yaml: 'profiles:\n  a:\n    stun_server: a b\n',
      says: /^c:3:18: stun_server: not a STUN server/,
    },
    { text: 'an offer of no port', yaml: 'profiles:\n  a:\n    offers: { x: { ports: [8443] } }\n', says: /^c:3:13: offers: / },
    {
      text: 'an offer with an unknown key',
      yaml: 'profiles:\n  a:\n    offers: { x: { port: [tcp/1] } }\n',
      says: /^c:3:13: offers: "x" holds ports, once and default only$/,
    },
    { text: 'offers that are a list', yaml: 'profiles:\n  a:\n    offers: [ssh]\n', says: /^c:3:13: offers: expected an entry such as/ },
    { text: 'a list at the top', yaml: '- a\n', says: /^c:1:1: expected "profiles:"/ },
    { text: 'a profile without keys', yaml: 'profiles:\n  a: b\n', says: /^c:2:6: the profile "a" must hold keys/ },
    { text: 'a name that looks like an option', yaml: 'profiles:\n  -a: {}\n', says: /^c:2:3: not a profile name: "-a"/ },
    { text: 'broken YAML', yaml: 'profiles: [\n', says: /^c:\d+:\d+: / },
    { text: 'a tab as indentation', yaml: 'profiles:\n\ta: {}\n', says: /^c:\d+:\d+: / },
    { text: 'an alias', yaml: 'profiles:\n  a: &x\n    host: &h b\n  b:\n    host: *h\n', says: /^c:5:11: host: expected a text$/ },
    { text: 'control characters', yaml: 'profiles:\n  a:\n    host: "b\\u001b[31m"\n', says: /^c:3:11: host: control characters/ },
  ];
  for (const { text, yaml, says } of refused) {
    test(`refuses ${text}, with its place`, () => {
      const { problems } = parseProfiles(yaml, 'c');
      assert.equal(problems.length, 1, problems.join('\n'));
      assert.match(problems[0] ?? '', says);
      assert.doesNotMatch(problems[0] ?? '', /\p{Cc}/u);
    });
  }

  test('reports all mistakes of a file together', () => {
    assert.equal(parseProfiles('profiles:\n  a:\n    port: 0\n    ttl: x\n  b:\n    nope: 1\nother: 2\n', 'c').problems.length, 4);
  });
});

describe('services', () => {
  const cases: readonly {
    readonly asked: readonly string[];
    readonly ports: readonly number[];
    readonly unprobed: number;
    readonly problems: number;
  }[] = [
    { asked: [], ports: [22], unprobed: 0, problems: 0 },
    { asked: ['ssh'], ports: [22], unprobed: 0, problems: 0 },
    { asked: ['tcp/8443', 'https'], ports: [8443, 443], unprobed: 0, problems: 0 },
    { asked: ['tcp/9000-9010'], ports: [9000], unprobed: 0, problems: 0 },
    { asked: ['udp/51820'], ports: [], unprobed: 1, problems: 0 },
    { asked: ['admin-panel'], ports: [], unprobed: 1, problems: 0 },
    { asked: ['ssh', 'ssh', 'tcp/22'], ports: [22], unprobed: 0, problems: 0 },
    { asked: ['constructor'], ports: [], unprobed: 1, problems: 0 },
    { asked: ['22'], ports: [22], unprobed: 0, problems: 1 },
    { asked: ['tcp/0', 'tcp/65536', 'tcp/2-1', 'tcp/022', 'sctp/1', 'SSH', 'a b', 'a'.repeat(33)], ports: [22], unprobed: 0, problems: 8 },
    {
      asked: Array.from({ length: 17 }, (_, at) => `tcp/${at + 1}`),
      ports: Array.from({ length: 17 }, (_, at) => at + 1),
      unprobed: 0,
      problems: 1,
    },
  ];
  for (const { asked, ports, unprobed, problems } of cases) {
    test(asked.join(' ') || 'nothing', () => {
      const read = parseRequests(asked);
      assert.equal(read.problems.length, problems, read.problems.join('\n'));
      const plan = planProbes(read.requests, 22, []);
      assert.deepEqual(
        plan.ports.map((probe) => probe.port),
        ports,
      );
      assert.equal(plan.unprobed.length, unprobed);
    });
  }
  test('what an invitation said of the services: which port to try, what not to try, what opens by default', () => {
    const yaml =
      'profiles:\n  a:\n    offers:\n      admin: { ports: [udp/1, tcp/8443], once: true }\n      web: { ports: [tcp/8080-8090], default: true }\n      tcp/9000-9010: { once: true }\n      vpn: { ports: [udp/51820] }\n';
    const { profiles, problems } = parseProfiles(yaml, 'c');
    assert.deepEqual(problems, []);
    const offers = profiles.get('a')?.offers ?? [];
    const plan = (...asked: readonly string[]) => planProbes(parseRequests(asked).requests, 22, offers);
    assert.deepEqual([plan('admin').ports[0]?.port, plan('admin').once], [8443, true]);
    assert.deepEqual([plan('web').ports[0]?.port, plan('web').once], [8080, false]);
    assert.deepEqual([plan('tcp/9005').once, plan('tcp/9011').once], [true, false]);
    assert.deepEqual([plan('vpn').ports, plan('vpn').unprobed], [[], ['vpn: UDP does not answer']]);
    assert.deepEqual(plan().ports, [{ port: 8080, service: 'web', guessed: false }]);
    assert.deepEqual(plan('wbe').unprobed, ['wbe: only the server knows its port (the invitation offers admin, web, tcp/9000-9010, vpn)']);
    const both = offers.map((offer) => ({ ...offer, byDefault: true }));
    assert.deepEqual(planProbes([], 22, both).ports, [{ port: 8443, service: 'tcp/8443', guessed: true }]);
  });

  test('only a port that nobody named counts as guessed', () => {
    assert.deepEqual(
      [planProbes([], 22, []).ports[0]?.guessed, planProbes(parseRequests(['ssh']).requests, 22, []).ports[0]?.guessed],
      [true, false],
    );
  });
});

describe('slots', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'postern-slots-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  function drawer(stateDir: string, seed: number, slots = 16, troubles: string[] = []): SlotDrawer {
    const client = secretFromSeed(new Uint8Array(32).fill(seed)).publicKey;
    return new SlotDrawer({
      stateDir,
      client,
      server: SERVER,
      slots,
      random: (length) => randomBytes(length),
      onTrouble: (why) => troubles.push(why),
    });
  }

  function drawAll(slots: SlotDrawer, window: number, count: number): readonly number[] {
    return Array.from({ length: count }, () => slots.claim(window)).flatMap((claim) => (claim.kind === 'slot' ? [claim.slot] : []));
  }

  test('gives each slot of a window once, then says that all are used', () => {
    const slots = drawer(folder, 10);
    assert.deepEqual(
      [...drawAll(slots, 5, 16)].sort((a, b) => a - b),
      Array.from({ length: 16 }, (_, at) => at),
    );
    assert.equal(slots.claim(5).kind, 'exhausted');
    assert.equal(slots.claim(6).kind, 'slot');
  });

  test('shares what is used between drawers of one pair of keys, and not with others', () => {
    const [one, two, other] = [drawer(folder, 11), drawer(folder, 11), drawer(folder, 12)];
    assert.equal(new Set([...drawAll(one, 5, 8), ...drawAll(two, 5, 8)]).size, 16);
    assert.deepEqual([one.claim(5).kind, drawAll(other, 5, 16).length], ['exhausted', 16]);
  });

  test('P13: windows of a clock that was set back keep their marks', () => {
    const slots = drawer(folder, 13);
    const first = drawAll(slots, 100, 8);
    drawAll(slots, 40, 16);
    assert.equal(new Set([...first, ...drawAll(drawer(folder, 13), 100, 16)]).size, 16);
  });

  test('draws at random: two devices with one key (P13) rarely begin alike', () => {
    const beginnings = Array.from({ length: 64 }, (_, at) => drawAll(drawer(join(folder, `device${at}`), 14), 5, 1)[0]);
    assert.ok(new Set(beginnings).size > 8);
  });

  test('goes on without memory where the folder cannot be written, says so once, and still gives no slot twice itself', () => {
    const troubles: string[] = [];
    const slots = drawer('/dev/null', 15, 64, troubles);
    assert.equal(new Set(drawAll(slots, 5, 64)).size, 64);
    assert.equal(slots.claim(5).kind, 'exhausted');
    assert.equal(troubles.length, 1);
  });

  test('prunes marks of more than a day, in both directions of the clock', () => {
    const state = join(folder, 'prune');
    const slots = drawer(state, 16);
    drawAll(slots, 5, 3);
    const [pair = ''] = readdirSync(join(state, 'slots'));
    for (const [name, mtime] of [
      ['old', 1],
      ['future', 4e9],
    ] as const) {
      writeFileSync(join(state, 'slots', pair, name), '');
      utimesSync(join(state, 'slots', pair, name), mtime, mtime);
    }
    slots.prune(Date.now());
    const left = readdirSync(join(state, 'slots', pair));
    assert.equal(left.length, 3);
    assert.ok(left.every((name) => name.startsWith('5.')));
  });
});

test('P34: what others wrote is shown without control bytes, direction marks or length', () => {
  const shown = quote(`a\x1b[31m\u202eb\u0085\n${'x'.repeat(100_000)}`);
  assert.doesNotMatch(shown, /\p{Cc}|\p{Cf}/u);
  assert.ok(shown.length < 200);
  // Tag characters, musical and Kaithi format marks lie beyond 16 bits; U+061C is a direction mark of its own.
  const strange = '\u{e0041}\u{1d173}\u{110bd}\u061c\u180e\u0602\u00ad\ud800';
  assert.match(quote(strange), /^[\x20-\x7e]*$/);
  assert.equal(JSON.parse(quote(strange)), strange);
});

test('a profile that is nested too deep is refused, and neither overflows the stack nor takes the process with it', () => {
  const ladder = Array.from({ length: 3000 }, (_, at) => `${' '.repeat(at)}a:`).join('\n');
  for (const text of [
    '['.repeat(50_000),
    '{a: '.repeat(20_000),
    '- '.repeat(20_000),
    '? '.repeat(20_000),
    'a: '.repeat(5000),
    `profiles:\n${ladder}`,
  ]) {
    const { problems } = parseProfiles(text, 'c');
    assert.equal(problems.length, 1);
    assert.match(problems[0] ?? '', /^c:\d+:1: brackets or lists are nested too deep/);
  }
});
