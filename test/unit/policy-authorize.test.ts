// What an authentic knock may open: tables of rules, knocks and outcomes. The decision is pure, so nothing here touches a kernel.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NO_HOOKS } from '../../daemon/hooks/hook.ts';
import { type AuthorizeInput, authorize, authorizeClose } from '../../daemon/policy/authorize.ts';
import type { AllowEntry, Client } from '../../daemon/rules/rulebook.ts';
import { type IpAddress, type Network, parseAddress, parseNetwork } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import type { KnockBody, Request } from '../../protocol/knock.ts';
import { type PortRange, parsePortRange } from '../../protocol/ports.ts';

const NOW = unixMs(1_800_000_000_000);
const PLACE = { file: 'rules.d/a.yaml', line: 1, column: 1 };

const SERVICES = new Map<string, readonly PortRange[]>([
  ['ssh', [ports('tcp/22')]],
  ['admin', [ports('tcp/8443')]],
  ['vpn', [ports('udp/51820'), ports('tcp/51821')]],
  ['telnet', [ports('tcp/23')]],
]);

type Entry = Partial<Omit<AllowEntry, 'services' | 'from'>> & { readonly services: readonly string[]; readonly from?: readonly string[] };

function allow({ services, from, ...rest }: Entry): AllowEntry {
  return {
    services: services.map((name) => ({ name, ports: SERVICES.get(name) ?? [ports(name)] })),
    byDefault: true,
    from: from?.map(network),
    when: undefined,
    ttlSeconds: 30,
    maxTtlSeconds: 3600,
    once: false,
    sessions: 'keep',
    requireSource: false,
    onBehalf: false,
    hooks: NO_HOOKS,
    place: PLACE,
    ...rest,
  };
}

function client(entries: readonly Entry[], more: Partial<Client> = {}): Client {
  return {
    name: 'alice',
    keys: [],
    presharedKeys: [],
    slots: 16,
    enabled: true,
    expiresAtMs: undefined,
    allow: entries.map(allow),
    place: PLACE,
    ...more,
  };
}

type Knock = {
  readonly ask?: readonly string[];
  readonly ttl?: number;
  readonly once?: boolean;
  readonly bound?: string;
  readonly from?: string;
  readonly sourcePort?: number;
};

function body({
  ask = [],
  ttl = 0,
  once = false,
  bound,
  sourcePort = 0,
}: Knock): Pick<KnockBody, 'action' | 'source' | 'sourcePort' | 'requests'> {
  return {
    action: { kind: 'open', lifetimeSeconds: ttl, once },
    source: bound === undefined ? { kind: 'unbound' } : { kind: 'bound', address: address(bound) },
    sourcePort,
    requests: ask.map((text): Request => (text.includes('/') ? { kind: 'ports', ports: ports(text) } : { kind: 'service', name: text })),
  };
}

/** `reason`, or each opening as `label kind seconds`. */
function outcome(who: Client, knock: Knock, more: Partial<AuthorizeInput> = {}): string {
  const step = authorize({
    body: body(knock),
    client: who,
    key: { expiresAtMs: undefined, from: undefined },
    datagramSource: address(knock.from ?? '10.9.0.1'),
    services: SERVICES,
    maxGrants: 32,
    now: NOW,
    liveGrants: 0,
    isLive: () => false,
    ...more,
  });
  if (!step.pass) return step.reason;
  return step.value.services.map(({ label, kind, lifetimeSeconds }) => `${label} ${kind} ${lifetimeSeconds}`).join(', ');
}

/** These minutes of the hour from 8 to 9, UTC. */
const eight = (minutes: string) => ({ cron: [`${minutes} 8 * * *`], timezone: 'UTC' });

type Case = readonly [text: string, rules: readonly Entry[], knock: Knock, expected: string];

const SSH: Entry = { services: ['ssh'] };
const ADMIN: Entry = { services: ['admin'], byDefault: false };

const DECISIONS: readonly Case[] = [
  ['nothing asked gives the defaults', [SSH, ADMIN], {}, 'ssh grant 30'],
  ['nothing asked, several entries', [SSH, { services: ['vpn'], ttlSeconds: 60 }], {}, 'ssh grant 30, vpn grant 60'],
  ['nothing asked, nothing by default', [ADMIN], {}, 'nothing-by-default'],
  ['nothing asked, no entry at all', [], {}, 'nothing-by-default'],
  ['nothing asked, the same service twice: the first entry', [SSH, { services: ['ssh'], ttlSeconds: 99 }], {}, 'ssh grant 30'],
  [
    'nothing asked: an entry for other networks gives nothing and spoils nothing',
    [{ services: ['admin'], from: ['192.168.0.0/16'] }, SSH],
    {},
    'ssh grant 30',
  ],
  ['nothing asked: every entry is for other networks', [{ services: ['ssh'], from: ['192.168.0.0/16'] }], {}, 'from-network'],
  ['by name', [SSH, ADMIN], { ask: ['admin'] }, 'admin grant 30'],
  ['by port what the rule names', [SSH], { ask: ['tcp/22'] }, 'ssh grant 30'],
  ['by name what the rule gives by port', [{ services: ['tcp/22'] }], { ask: ['ssh'] }, 'ssh grant 30'],
  ['all ports of a name', [{ services: ['vpn'] }], { ask: ['vpn'] }, 'vpn grant 30'],
  ['a name of which the rule gives only a part', [{ services: ['udp/51820'] }], { ask: ['vpn'] }, 'not-allowed'],
  ['a port out of a range', [{ services: ['tcp/9000-9010'] }], { ask: ['tcp/9003'] }, 'tcp/9003 grant 30'],
  ['a range within a range', [{ services: ['tcp/9000-9010'] }], { ask: ['tcp/9000-9005'] }, 'tcp/9000-9005 grant 30'],
  ['P40 a range that begins before', [{ services: ['tcp/9000-9010'] }], { ask: ['tcp/8999-9005'] }, 'not-allowed'],
  ['P40 a range that ends after', [{ services: ['tcp/9000-9010'] }], { ask: ['tcp/9005-9011'] }, 'not-allowed'],
  ['P40 a port outside the rule', [SSH], { ask: ['tcp/23'] }, 'not-allowed'],
  ['P40 the wrong protocol', [SSH], { ask: ['udp/22'] }, 'not-allowed'],
  ['P40 a lifetime over the maximum is shortened', [SSH], { ask: ['ssh'], ttl: 7200 }, 'ssh grant 3600'],
  ['the longest lifetime that a packet can hold', [SSH], { ttl: 0xffffffff }, 'ssh grant 3600'],
  ['a lifetime of one second', [SSH], { ttl: 1 }, 'ssh grant 1'],
  ['a wanted lifetime over the default and within the maximum', [SSH], { ttl: 600 }, 'ssh grant 600'],
  ['a service that the server has, and the rule does not give', [SSH], { ask: ['telnet'] }, 'not-allowed'],
  ['a service that nobody defined', [SSH], { ask: ['nosuch'] }, 'unknown-service'],
  ['all or nothing: one refused port', [SSH, ADMIN], { ask: ['ssh', 'tcp/1'] }, 'not-allowed'],
  ['all or nothing: one unknown name', [SSH], { ask: ['ssh', 'nosuch'] }, 'unknown-service'],
  [
    'all or nothing: one foreign network',
    [SSH, { services: ['admin'], from: ['192.168.0.0/16'] }],
    { ask: ['ssh', 'admin'] },
    'from-network',
  ],
  ['the same thing asked twice is given once', [SSH], { ask: ['ssh', 'tcp/22', 'ssh'] }, 'ssh grant 30'],
  [
    'the first entry decides, though a later one would allow',
    [{ services: ['ssh'], from: ['192.168.0.0/16'] }, SSH],
    { ask: ['ssh'] },
    'from-network',
  ],
  [
    'the first entry decides the lifetime',
    [{ services: ['tcp/1-1000'], maxTtlSeconds: 5, ttlSeconds: 5 }, SSH],
    { ask: ['ssh'], ttl: 60 },
    'ssh grant 5',
  ],
  ['from holds the address', [{ services: ['ssh'], from: ['10.9.0.0/24'] }], {}, 'ssh grant 30'],
  ['from, one past its end', [{ services: ['ssh'], from: ['10.9.0.0/24'] }], { from: '10.9.1.0' }, 'from-network'],
  ['P21 from for IPv4 and a mapped source', [{ services: ['ssh'], from: ['10.9.0.0/24'] }], { from: '::ffff:10.9.0.5' }, 'ssh grant 30'],
  ['from of the other family', [{ services: ['ssh'], from: ['fd00::/8'] }], {}, 'from-network'],
  ['one-shot by the rule', [{ services: ['ssh'], once: true }], {}, 'ssh once 30'],
  ['one-shot by the knock', [SSH], { once: true }, 'ssh once 30'],
  ['sessions that end', [{ services: ['ssh'], sessions: 'end' }], {}, 'ssh ending 30'],
  ['one-shot whose session ends', [{ services: ['ssh'], once: true, sessions: 'end' }], {}, 'ssh once-ending 30'],
  [
    'one-shot by the knock cannot get around sessions that end',
    [{ services: ['ssh'], sessions: 'end' }],
    { once: true },
    'ssh once-ending 30',
  ],
  ['a source port', [SSH], { sourcePort: 4711 }, 'ssh bound 30'],
  ['a source port and one-shot', [SSH], { sourcePort: 4711, once: true }, 'source-port'],
  ['a source port and sessions that end', [{ services: ['ssh'], sessions: 'end' }], { sourcePort: 4711 }, 'ssh bound-ending 30'],
  ['a bound source', [{ services: ['ssh'], requireSource: true }], { bound: '10.9.0.1' }, 'ssh grant 30'],
  ['an unbound source where a bound one is required', [{ services: ['ssh'], requireSource: true }], {}, 'source-required'],
  ['P3 caught at A, sent from B', [SSH], { bound: '10.9.0.1', from: '10.9.0.2' }, 'relayed'],
  [
    'P3 the same where a bound source is required',
    [{ services: ['ssh'], requireSource: true }],
    { bound: '10.9.0.1', from: '10.9.0.2' },
    'relayed',
  ],
  ['P22 an address that begins the same', [SSH], { bound: '1.2.3.4', from: '1.2.3.45' }, 'relayed'],
  ['on behalf of another', [{ services: ['ssh'], onBehalf: true }], { bound: '10.9.0.9', from: '10.9.0.2' }, 'ssh grant 30'],
  [
    'on behalf, but from tests the settled address',
    [{ services: ['ssh'], onBehalf: true, from: ['10.9.0.2'] }],
    { bound: '10.9.0.9', from: '10.9.0.2' },
    'from-network',
  ],
  [
    'on behalf holds for the entry that decides, not for others',
    [SSH, { services: ['admin'], onBehalf: true }],
    { ask: ['ssh'], bound: '10.9.0.9', from: '10.9.0.2' },
    'relayed',
  ],
  // NOW is 2027-01-15 08:00:00 UTC, a Friday.
  ['P37 in its time window', [{ services: ['ssh'], when: eight('0-1') }], {}, 'ssh grant 30'],
  ['P37 no longer than its time window', [{ services: ['ssh'], when: eight('0-1') }], { ttl: 3600 }, 'ssh grant 120'],
  ['P37 the window before the maximum', [{ services: ['ssh'], maxTtlSeconds: 60, when: eight('0-1') }], { ttl: 3600 }, 'ssh grant 60'],
  ['P37 outside its time window', [{ services: ['ssh'], when: eight('1') }], {}, 'not-now'],
  [
    'P37 the first entry decides, though a later one holds now',
    [{ services: ['ssh'], when: eight('1') }, SSH],
    { ask: ['ssh'] },
    'not-now',
  ],
  [
    'P37 nothing asked: an entry for another time gives nothing and spoils nothing',
    [{ services: ['admin'], when: eight('1') }, SSH],
    {},
    'ssh grant 30',
  ],
  [
    'P37 asked by name, one for another time refuses all',
    [{ services: ['admin'], when: eight('1') }, SSH],
    { ask: ['admin', 'ssh'] },
    'not-now',
  ],
  [
    'P37 nothing asked, elsewhere and at another time',
    [{ services: ['ssh'], from: ['192.168.0.0/16'], when: eight('1') }],
    {},
    'from-network',
  ],
  ['more ports than one knock may open', [{ services: ['tcp/1-60000'], byDefault: false }], { ask: ['tcp/1000-3000'] }, 'not-allowed'],
];

describe('authorize decides', () => {
  for (const [text, rules, knock, expected] of DECISIONS) {
    it(`${text}: ${expected}`, () => assert.equal(outcome(client(rules), knock), expected));
  }

  it('grants for the address that was settled', () => {
    const input = { body: body({ bound: '10.9.0.9' }), datagramSource: address('::ffff:10.9.0.9') };
    const step = authorize({
      ...input,
      client: client([SSH]),
      key: { expiresAtMs: undefined, from: undefined },
      services: SERVICES,
      maxGrants: 1,
      now: NOW,
      liveGrants: 0,
      isLive: () => false,
    });
    assert.equal(step.pass && step.value.address.text, '10.9.0.9');
    assert.deepEqual(step.pass && step.value.services[0]?.ports, [ports('tcp/22')]);
  });

  it('a disabled client gets nothing', () => assert.equal(outcome(client([SSH], { enabled: false }), {}), 'client-disabled'));

  for (const [text, offsetMs, expected] of [
    ['one millisecond before its end', 1, 'ssh grant 1'],
    ['at its end', 0, 'client-expired'],
    ['one millisecond after', -1, 'client-expired'],
    ['with ten seconds left, no longer than those', 10_999, 'ssh grant 10'],
    ['with a day left', 86_400_000, 'ssh grant 30'],
  ] as const) {
    it(`a client ${text}: ${expected}`, () => {
      assert.equal(outcome(client([SSH], { expiresAtMs: unixMs(NOW + offsetMs) }), {}), expected);
    });
    it(`a key ${text}: ${expected}`, () => {
      assert.equal(outcome(client([SSH]), {}, { key: { expiresAtMs: unixMs(NOW + offsetMs), from: undefined } }), expected);
    });
  }

  it("a key's from= holds for the settled address", () => {
    const key = { expiresAtMs: undefined, from: [network('10.9.0.0/30')] };
    assert.equal(outcome(client([SSH]), { from: '10.9.0.2' }, { key }), 'ssh grant 30');
    assert.equal(outcome(client([SSH]), { from: '10.9.0.4' }, { key }), 'client-network');
  });

  it('max_grants counts new grants only: prolonging is always possible', () => {
    const who = client([SSH, ADMIN]);
    assert.equal(outcome(who, {}, { maxGrants: 2, liveGrants: 1 }), 'ssh grant 30');
    assert.equal(outcome(who, {}, { maxGrants: 2, liveGrants: 2 }), 'max-grants');
    assert.equal(outcome(who, {}, { maxGrants: 2, liveGrants: 2, isLive: () => true }), 'ssh grant 30');
    assert.equal(outcome(who, { ask: ['ssh', 'admin'] }, { maxGrants: 2, liveGrants: 1 }), 'max-grants');
    assert.equal(
      outcome(who, { ask: ['ssh', 'admin'] }, { maxGrants: 2, liveGrants: 1, isLive: (_, { label }) => label === 'ssh' }),
      'ssh grant 30, admin grant 30',
    );
  });
});

describe('a close', () => {
  const close = (who: Client, knock: Knock): string => {
    const step = authorizeClose({
      body: { ...body(knock), action: { kind: 'close' } },
      client: who,
      key: { expiresAtMs: undefined, from: undefined },
      datagramSource: address(knock.from ?? '10.9.0.1'),
      now: NOW,
    });
    return step.pass ? step.value.text : step.reason;
  };
  it('needs no rule', () => assert.equal(close(client([]), {}), '10.9.0.1'));
  it('needs an enabled client', () => assert.equal(close(client([SSH], { enabled: false }), {}), 'client-disabled'));
  it('P16a relayed from elsewhere is refused', () =>
    assert.equal(close(client([SSH]), { bound: '10.9.0.1', from: '10.9.0.2' }), 'relayed'));
  it('may be sent on behalf where a rule has that', () => {
    assert.equal(close(client([{ services: ['ssh'], onBehalf: true }]), { bound: '10.9.0.1', from: '10.9.0.2' }), '10.9.0.1');
  });
});

function address(text: string): IpAddress {
  const result = parseAddress(text);
  assert.ok(result.ok, text);
  return result.value;
}

function network(text: string): Network {
  const result = parseNetwork(text);
  assert.ok(result.ok, text);
  return result.value;
}

function ports(text: string): PortRange {
  const result = parsePortRange(text);
  assert.ok(result.ok, text);
  return result.value;
}
