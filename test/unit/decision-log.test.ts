// Which decisions become lines, that junk and floods do not, and that everything is counted.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type MonotonicMs, monotonicMs } from '../../daemon/clock.ts';
import { Counters } from '../../daemon/counters.ts';
import type { Decision } from '../../daemon/decision.ts';
import { type DecisionSink, logDecisions } from '../../daemon/decision-log.ts';
import { LineLimiter, senderKey } from '../../daemon/line-limiter.ts';
import type { DropReason } from '../../daemon/step.ts';
import { type IpAddress, parseAddress } from '../../protocol/address.ts';

type Line = { readonly level: string; readonly message: string; readonly fields: Record<string, unknown> };

function address(text: string): IpAddress {
  const found = parseAddress(text);
  if (!found.ok) throw new Error(found.why);
  return found.value;
}

function start() {
  const lines: Line[] = [];
  let now = 1_000;
  const write = (level: string) => (fields: object, message: string) => void lines.push({ level, message, fields: { ...fields } });
  const sink: DecisionSink = { info: write('info'), warn: write('warn'), error: write('error') };
  const tell = logDecisions(sink, { monotonic: (): MonotonicMs => monotonicMs(now) });
  const advance = (ms: number): void => {
    now += ms;
  };
  return { lines: () => lines, tell, advance };
}

const dropped = (reason: DropReason, client: string | undefined, from = '192.0.2.7', detail = ''): Decision => ({
  kind: 'dropped',
  reason,
  detail,
  client,
  address: address(from),
});

const JUNK: readonly DropReason[] = ['unknown-tag', 'length', 'seal', 'malformed', 'window-mismatch', 'signature', 'replay'];

describe('each decision is one line with client, address, services, reason', () => {
  const from = { client: 'alice', address: address('2001:db8::7'), services: ['ssh'], grants: [] };
  const shown = { client: 'alice', address: '2001:db8::7', services: ['ssh'] };
  const table: readonly (readonly [Decision, Line])[] = [
    [
      { kind: 'granted', ...from, lifetimeSeconds: 30, prolonged: false },
      { level: 'info', message: 'granted', fields: { ...shown, lifetime_seconds: 30, prolonged: false } },
    ],
    [
      dropped('not-allowed', 'bob', '192.0.2.7', 'tcp/23 is in no rule'),
      {
        level: 'warn',
        message: 'refused',
        fields: { client: 'bob', address: '192.0.2.7', reason: 'not-allowed', detail: 'tcp/23 is in no rule' },
      },
    ],
    [
      dropped('firewall', 'bob'),
      { level: 'error', message: 'refused', fields: { client: 'bob', address: '192.0.2.7', reason: 'firewall' } },
    ],
    [
      { kind: 'closed', ...from, why: 'by the client' },
      { level: 'info', message: 'closed', fields: { ...shown, why: 'by the client' } },
    ],
    [
      { kind: 'revoked', ...from, why: 'by root' },
      { level: 'info', message: 'revoked', fields: { ...shown, why: 'by root' } },
    ],
    [
      { kind: 'ended', ...from, why: 'its time is over' },
      { level: 'info', message: 'ended', fields: { ...shown, why: 'its time is over' } },
    ],
  ];
  for (const [decision, line] of table) {
    test(`${line.message} (${line.level})`, () => {
      const { lines, tell } = start();
      tell(decision);
      assert.deepEqual(lines(), [line]);
    });
  }
});

describe('junk is summed up, not listed (P34)', () => {
  test('100,000 pieces from as many senders are one line a minute', () => {
    const { lines, tell, advance } = start();
    for (let count = 0; count < 100_000; count += 1) {
      tell(dropped(JUNK[count % JUNK.length] ?? 'seal', undefined, `10.${(count >> 16) & 255}.${(count >> 8) & 255}.${count & 255}`));
    }
    assert.deepEqual(lines(), []);
    advance(60_000);
    tell(dropped('seal', undefined));
    assert.equal(lines().length, 1);
    assert.deepEqual([lines()[0]?.level, lines()[0]?.message], ['info', 'junk']);
    assert.equal(
      Object.values(lines()[0]?.fields ?? {}).reduce((sum: number, count) => sum + Number(count), 0),
      100_000,
    );
  });

  test('a replay of a known client is no line either', () => {
    const { lines, tell } = start();
    for (let count = 0; count < 1_000; count += 1) tell(dropped('replay', 'alice'));
    assert.deepEqual(lines(), []);
  });

  test('a flush tells the sum when its minute is over, and at the end what there is', () => {
    const { lines, tell, advance } = start();
    tell(dropped('seal', undefined));
    advance(59_999);
    tell.flush();
    assert.deepEqual(lines(), []);
    advance(1);
    tell.flush();
    tell.flush();
    assert.deepEqual(
      lines().map((line) => line.fields),
      [{ seal: 1 }],
    );
    tell(dropped('length', undefined));
    tell.flush(true);
    assert.deepEqual(lines().at(-1)?.fields, { length: 1 });
  });
});

describe('a known client who is refused again and again', () => {
  test('gets five lines a minute, then one that says how many were left out', () => {
    const { lines, tell, advance } = start();
    for (let count = 0; count < 64; count += 1) tell(dropped('not-allowed', 'bob'));
    assert.equal(lines().length, 5);
    advance(60_000);
    tell.flush();
    assert.deepEqual(lines().at(-1), { level: 'warn', message: 'left out', fields: { reason: 'not-allowed', client: 'bob', count: 59 } });
    tell(dropped('not-allowed', 'bob'));
    assert.equal(lines().at(-1)?.message, 'refused');
    assert.equal(lines().length, 7);
  });

  test('does not hide another client, another reason, or a grant', () => {
    const { lines, tell } = start();
    for (let count = 0; count < 64; count += 1) tell(dropped('not-allowed', 'bob'));
    tell(dropped('not-allowed', 'carol'));
    tell(dropped('max-grants', 'bob'));
    tell({
      kind: 'granted',
      client: 'bob',
      address: address('192.0.2.7'),
      services: ['ssh'],
      lifetimeSeconds: 30,
      prolonged: true,
      grants: [],
    });
    assert.deepEqual(
      lines()
        .slice(5)
        .map(({ message, fields }) => [message, fields['client'], fields['reason']]),
      [
        ['refused', 'carol', 'not-allowed'],
        ['refused', 'bob', 'max-grants'],
        ['granted', 'bob', undefined],
      ],
    );
  });

  test('every grant is a line, however many', () => {
    const { lines, tell } = start();
    for (let count = 0; count < 500; count += 1) {
      tell({
        kind: 'granted',
        client: 'bob',
        address: address('192.0.2.7'),
        services: ['ssh'],
        lifetimeSeconds: 30,
        prolonged: true,
        grants: [],
      });
    }
    assert.equal(lines().length, 500);
  });
});

describe('the limiter', () => {
  test('remembers no more kinds than it may; the others share one allowance (P18)', () => {
    const limiter = new LineLimiter({ lines: 5, maxKeys: 100 });
    const now = monotonicMs(0);
    let admitted = 0;
    for (let count = 0; count < 100_000; count += 1) if (limiter.admit(`kind ${count}`, now)) admitted += 1;
    assert.equal(limiter.size, 101);
    assert.equal(admitted, 105);
    assert.deepEqual(limiter.sweep(monotonicMs(60_000)), [{ key: 'rest', count: 99_895 }]);
    assert.equal(limiter.size, 0);
  });

  test('a period ends a minute after its first line, not before', () => {
    const limiter = new LineLimiter({ lines: 1 });
    assert.ok(limiter.admit('a', monotonicMs(10)));
    assert.ok(!limiter.admit('a', monotonicMs(60_009)));
    assert.deepEqual(limiter.sweep(monotonicMs(60_009)), []);
    assert.deepEqual(limiter.sweep(monotonicMs(60_010)), [{ key: 'a', count: 1 }]);
    assert.ok(limiter.admit('a', monotonicMs(60_010)));
  });

  test('takes an IPv6 network of 64 bits for one sender, and an IPv4 address for one', () => {
    assert.equal(senderKey(address('2001:db8:1:2::1')), senderKey(address('2001:db8:1:2:ffff::9')));
    assert.notEqual(senderKey(address('2001:db8:1:2::1')), senderKey(address('2001:db8:1:3::1')));
    assert.equal(senderKey(address('::ffff:192.0.2.7')), '192.0.2.7');
    assert.notEqual(senderKey(address('192.0.2.7')), senderKey(address('192.0.2.8')));
  });
});

describe('counters', () => {
  test('each way to end has its own, and a snapshot stays as it was', () => {
    const counters = new Counters();
    const reasons = Object.keys(counters.snapshot().dropped) as DropReason[];
    assert.ok(reasons.length >= 25);
    for (const [at, reason] of reasons.entries()) for (let count = 0; count <= at; count += 1) counters.observe(dropped(reason, undefined));
    const granted = { client: 'a', address: address('192.0.2.7'), services: [], grants: [] };
    counters.observe({ kind: 'granted', ...granted, lifetimeSeconds: 1, prolonged: false });
    counters.observe({ kind: 'closed', ...granted, why: '' });
    const snapshot = counters.snapshot();
    counters.observe({ kind: 'ended', ...granted, why: '' });
    assert.deepEqual(
      reasons.map((reason) => snapshot.dropped[reason]),
      reasons.map((_, at) => at + 1),
    );
    assert.deepEqual([snapshot.granted, snapshot.closed, snapshot.revoked, snapshot.ended], [1, 1, 0, 0]);
    assert.equal(counters.snapshot().ended, 1);
  });
});
