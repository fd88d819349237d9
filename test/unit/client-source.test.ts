// Which address a knock is bound to: the rules of SPEC "Client rules that belong to security", as tables.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  chooseSource,
  embedsOneOf,
  isBehindDiscovered,
  isGlobal,
  needsTranslation,
  notGlobal,
  parseSource,
  type SettledMode,
  senseless,
  type Translation,
} from '../../client/source.ts';
import { type IpAddress, parseAddress, parseNetwork } from '../../protocol/address.ts';

function ip(text: string): IpAddress {
  const address = parseAddress(text);
  assert.ok(address.ok, text);
  return address.value;
}

describe('a global address', () => {
  const cases: readonly (readonly [string, boolean])[] = [
    ['8.8.8.8', true],
    ['9.9.9.2', true],
    ['172.32.0.1', true],
    ['100.128.0.1', true],
    ['2600::1', true],
    ['2a00:1450::1', true],
    ['10.1.2.3', false],
    ['172.31.255.255', false],
    ['192.168.1.1', false],
    ['100.64.0.1', false],
    ['169.254.1.1', false],
    ['127.0.0.1', false],
    ['192.0.0.1', false],
    ['192.0.2.1', false],
    ['198.51.100.1', false],
    ['203.0.113.9', false],
    ['224.0.0.1', false],
    ['255.255.255.255', false],
    ['::1', false],
    ['fe80::1', false],
    ['fd00::1', false],
    ['ff02::1', false],
    ['2001::1', false],
    ['2001:db8::1', false],
    ['2002:808:808::1', false],
    ['64:ff9b::808:808', false],
    ['::ffff:10.0.0.1', false],
    ['::ffff:8.8.8.8', true],
  ];
  for (const [text, expected] of cases)
    test(`${text} is ${expected ? '' : 'not '}one (P21 folds mapped addresses)`, () => assert.equal(isGlobal(ip(text)), expected));

  test('the tables hold the networks that they name', () => {
    for (const network of [...notGlobal(), ...senseless()]) {
      const parsed = parseNetwork(network.text);
      assert.ok(parsed.ok, network.text);
      assert.deepEqual(network, parsed.value);
    }
  });
});

describe('the source of a knock', () => {
  const auto: SettledMode = { kind: 'auto' };
  const bound: SettledMode = { kind: 'bound' };
  const cases: readonly {
    readonly text: string;
    readonly mode: SettledMode;
    readonly local: string;
    readonly target: string;
    readonly translation?: Translation;
    readonly gives: string | null | RegExp;
  }[] = [
    { text: 'auto binds a global IPv4 address', mode: auto, local: '9.9.9.2', target: '8.8.8.8', gives: '9.9.9.2' },
    { text: 'auto binds a global IPv6 address', mode: auto, local: '2600::2', target: '2a00::1', gives: '2600::2' },
    { text: 'auto leaves a private address', mode: auto, local: '192.168.1.5', target: '8.8.8.8', gives: null },
    { text: 'auto leaves a private address towards another', mode: auto, local: '10.0.0.5', target: '10.0.0.1', gives: null },
    { text: 'auto leaves a unique local address', mode: auto, local: 'fd00::5', target: '2a00::1', gives: null },
    { text: 'auto leaves 464XLAT’s own side', mode: auto, local: '192.0.0.4', target: '8.8.8.8', gives: null },
    { text: 'auto never binds towards 64:ff9b::/96', mode: auto, local: '2600::2', target: '64:ff9b::808:808', gives: null },
    {
      text: 'auto never binds towards a discovered prefix',
      mode: auto,
      local: '2600::2',
      target: '2600:64::1',
      translation: 'translated',
      gives: null,
    },
    {
      text: 'auto does not bind when nobody said in time',
      mode: auto,
      local: '2600::2',
      target: '2600:64::1',
      translation: 'unknown',
      gives: null,
    },
    { text: 'auto never binds across families', mode: auto, local: '9.9.9.2', target: '2600::1', gives: null },
    { text: 'none stays unbound', mode: { kind: 'none' }, local: '9.9.9.2', target: '8.8.8.8', gives: null },
    { text: 'bound binds a private address too', mode: bound, local: '10.0.0.5', target: '10.0.0.1', gives: '10.0.0.5' },
    {
      text: 'bound binds when nobody said in time',
      mode: bound,
      local: '2600::2',
      target: '2600:64::1',
      translation: 'unknown',
      gives: '2600::2',
    },
    {
      text: 'bound fails from loopback',
      mode: bound,
      local: '127.0.0.1',
      target: '127.0.0.1',
      gives: /cannot be bound: this machine reaches 127\.0\.0\.1 as/,
    },
    { text: 'bound fails from a link-local address', mode: bound, local: 'fe80::1', target: 'fd00::1', gives: /cannot be bound/ },
    { text: 'bound fails towards 64:ff9b::/96', mode: bound, local: '2600::2', target: '64:ff9b::1', gives: /NAT64/ },
    {
      text: 'bound fails towards a discovered prefix',
      mode: bound,
      local: '2600::2',
      target: '2600:64::1',
      translation: 'translated',
      gives: /NAT64/,
    },
    { text: 'bound fails from 192.0.0.0/29', mode: bound, local: '192.0.0.1', target: '8.8.8.8', gives: /NAT64/ },
    {
      text: 'an address is bound, own or not',
      mode: { kind: 'address', address: ip('203.0.113.7') },
      local: '10.0.0.5',
      target: '8.8.8.8',
      gives: '203.0.113.7',
    },
    {
      text: 'an address of the other family fails',
      mode: { kind: 'address', address: ip('2600::7') },
      local: '10.0.0.5',
      target: '8.8.8.8',
      gives: /not of the family/,
    },
  ];
  for (const { text, mode, local, target, translation = 'none', gives } of cases) {
    test(text, () => {
      const source = chooseSource(mode, ip(local), ip(target), translation);
      if (gives instanceof RegExp) assert.match(source.ok ? 'bound' : source.why, gives);
      else assert.equal(source.ok && source.value.kind === 'bound' ? source.value.address.text : source.ok ? null : source.why, gives);
    });
  }

  test('the question of RFC 7050 is asked only where its answer counts', () => {
    const ask = (mode: SettledMode, local: string, target: string) => needsTranslation(mode, ip(local), ip(target));
    assert.deepEqual(
      [
        ask(auto, '2600::2', '2600:64::1'),
        ask(bound, 'fd00::2', '2600:64::1'),
        ask(auto, 'fd00::2', '2600:64::1'),
        ask(auto, '9.9.9.2', '8.8.8.8'),
        ask({ kind: 'none' }, '2600::2', '2600:64::1'),
        ask(auto, '2600::2', '64:ff9b::1'),
      ],
      [true, true, false, false, false, false],
    );
  });
});

describe('NAT64', () => {
  // RFC 6052 section 2.4: 192.0.2.33 under each length of prefix.
  const forms: readonly (readonly [string, number])[] = [
    ['2001:db8:c000:221::', 32],
    ['2001:db8:1c0:2:21::', 40],
    ['2001:db8:122:c000:2:2100::', 48],
    ['2001:db8:122:3c0:0:221::', 56],
    ['2001:db8:122:344:c0:2:2100::', 64],
    ['2001:db8:122:344::c000:221', 96],
  ];
  for (const [text, prefix] of forms) {
    test(`RFC 6052: finds 192.0.2.33 in ${text} (/${prefix})`, () => {
      assert.equal(embedsOneOf(ip(text), [ip('198.51.100.1'), ip('192.0.2.33')]), true);
      assert.equal(embedsOneOf(ip(text), [ip('192.0.2.34')]), false);
    });
  }
  test('RFC 7050: finds the prefix by the answers for ipv4only.arpa', () => {
    const answers = [ip('2600:64::c000:aa'), ip('2600:64::c000:ab')];
    assert.equal(isBehindDiscovered(ip('2600:64::808:808'), answers), true);
    assert.equal(isBehindDiscovered(ip('2600:65::808:808'), answers), false);
    assert.equal(isBehindDiscovered(ip('2600:64::808:808'), []), false);
    assert.equal(isBehindDiscovered(ip('2600:64::808:808'), [ip('2600:64::1')]), false);
    assert.equal(isBehindDiscovered(ip('2001:db8:1c0:9::1'), [ip('2001:db8:1c0:0:aa::')]), true);
  });
});

test('--source reads auto, none, bound and addresses', () => {
  for (const text of ['auto', 'none', 'bound', 'stun', 'stun:stun.example.org', 'stun:[2600::1]:3479', '9.8.7.6', '2600::1'])
    assert.ok(parseSource(text).ok);
  for (const text of ['', 'AUTO', 'stun:', 'stun:a b', 'stun:x:0', 'stun:x:65536', '9.8.7', '9.8.7.6/24', 'fe80::1%eth0', '169.254.0.1'])
    assert.ok(!parseSource(text).ok, text);
});
