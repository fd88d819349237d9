// The book of grants: who owns which opening, and what ending one does to the others.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '../../daemon/clock.ts';
import { openingKey } from '../../daemon/firewall/firewall.ts';
import { GrantBook } from '../../daemon/grants/grant-book.ts';
import { NO_HOOKS } from '../../daemon/hooks/hook.ts';
import type { AllowedService, Authorized } from '../../daemon/policy/authorized.ts';
import { type IpAddress, parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';

const ALICE = { client: 'alice', key: 'key-a' };
const BOB = { client: 'bob', key: 'key-b' };
const NAT = address('198.18.0.1');
const WALL = unixMs(1_800_000_000_000);

function address(text: string): IpAddress {
  const result = parseAddress(text);
  assert.ok(result.ok);
  return result.value;
}

function ssh(lifetimeSeconds: number, more: Partial<AllowedService> = {}): AllowedService {
  return {
    label: 'ssh',
    ports: [{ protocol: 'tcp', first: 22, last: 22 }],
    kind: 'grant',
    sourcePort: 0,
    lifetimeSeconds,
    hooks: NO_HOOKS,
    ...more,
  };
}

function request(...services: readonly AllowedService[]): Authorized {
  return { address: NAT, services };
}

/** Grants at a moment, and gives back the plan. */
function grant(book: GrantBook, owner: typeof ALICE, what: Authorized, now: number) {
  const plan = book.plan(owner, what, unixMs(WALL + now), WALL, monotonicMs(now));
  book.put(plan.grants);
  return plan;
}

test('P25 a repeated knock prolongs to the later deadline and never shortens, without a second grant', () => {
  const book = new GrantBook();
  const cases = [
    { at: 0, lifetime: 60, remaining: 60_000 },
    { at: 10_000, lifetime: 10, remaining: 50_000 },
    { at: 20_000, lifetime: 120, remaining: 120_000 },
  ];
  for (const { at, lifetime, remaining } of cases) {
    assert.deepEqual(
      grant(book, ALICE, request(ssh(lifetime)), at).open.map((timed) => timed.remainingMs),
      [remaining],
    );
  }
  for (let at = 0; at < 500; at += 1) grant(book, ALICE, request(ssh(30)), 20_000 + at);
  assert.equal(book.all().length, 1);
});

test('P30b ending the grant of alice leaves the opening of bob behind the same address, for his time only', () => {
  const book = new GrantBook();
  const alice = grant(book, ALICE, request(ssh(600)), 0).grants;
  grant(book, BOB, request(ssh(60)), 0);
  const plan = book.planEnd(alice, monotonicMs(1000));
  assert.deepEqual(plan.shut, []);
  assert.deepEqual(
    plan.open.map((timed) => timed.remainingMs),
    [59_000],
  );
});

test('P30 the last owner of an opening shuts it', () => {
  const book = new GrantBook();
  const alice = grant(book, ALICE, request(ssh(600)), 0).grants;
  const bob = grant(book, BOB, request(ssh(60)), 0).grants;
  book.remove(alice);
  assert.deepEqual(book.planEnd(bob, monotonicMs(1000)).shut.map(openingKey), ['grant 198.18.0.1 tcp 22 0']);
});

test('a range is one opening for each port, and an opening that two services share is planned once', () => {
  const book = new GrantBook();
  const range = ssh(30, { label: 'range', ports: [{ protocol: 'tcp', first: 20, last: 24 }] });
  const plan = grant(book, ALICE, request(range, ssh(60)), 0);
  assert.deepEqual(
    plan.open.map(({ opening, remainingMs }) => [opening.port, remainingMs]),
    [20, 21, 22, 23, 24].map((port) => [port, port === 22 ? 60_000 : 30_000]),
  );
});

test('kinds do not mix: a one-shot beside a plain grant of the same port is an opening of its own', () => {
  const book = new GrantBook();
  grant(book, ALICE, request(ssh(600)), 0);
  const once = grant(book, ALICE, request(ssh(30, { kind: 'once' })), 0);
  assert.deepEqual(
    once.open.map(({ opening }) => openingKey(opening)),
    ['once 198.18.0.1 tcp 22 0'],
  );
  assert.equal(book.all().length, 2);
});

test('a grant whose time is over is not prolonged: a new one with a new id begins', () => {
  const book = new GrantBook();
  const [first] = grant(book, ALICE, request(ssh(10)), 0).grants;
  const [second] = grant(book, ALICE, request(ssh(10)), 20_000).grants;
  assert.notEqual(first?.id, second?.id);
  assert.deepEqual([...book.expired(monotonicMs(20_001))], [first]);
  assert.equal(book.countOf('alice', monotonicMs(20_001)), 1);
});

test('what is over is found by its second, also when each is removed as it is met; prolonged or removed it is not found', () => {
  const book = new GrantBook();
  const grants = [3, 1, 2, 900].flatMap((seconds, at) => grant(book, { ...ALICE, key: `key-${at}` }, request(ssh(seconds)), 0).grants);
  const ids = (some: readonly { readonly id: string }[]) => some.map(({ id }) => id).toSorted();
  assert.deepEqual(ids([...book.soonestFirst()]), ids(grants));
  assert.deepEqual(
    [...book.soonestFirst()].map(({ deadlineMs }) => deadlineMs),
    [1000, 2000, 3000, 900_000],
  );
  // A second that has begun may hold some that live.
  assert.deepEqual(
    [...book.soonestFirst(monotonicMs(2999))].map(({ deadlineMs }) => deadlineMs),
    [2000, 3000, 900_000],
  );
  assert.equal([...book.expired(monotonicMs(999))].length, 0);
  assert.equal([...book.expired(monotonicMs(3000))].length, 3);
  const [first, second] = grants;
  assert.ok(first !== undefined && second !== undefined);
  book.put([{ ...first, deadlineMs: monotonicMs(950_000) }]);
  book.remove([second]);
  const over = [];
  for (const each of book.expired(monotonicMs(3000))) {
    over.push(each);
    book.remove([each]);
  }
  assert.equal(over.length, 1);
  assert.deepEqual(
    [...book.soonestFirst()].map(({ deadlineMs }) => deadlineMs),
    [900_000, 950_000],
  );
});

test('a gate that is loaded anew gets what lives, without one-shots that were spent', () => {
  const book = new GrantBook();
  grant(book, ALICE, request(ssh(10), ssh(60, { label: 'web', ports: [{ protocol: 'tcp', first: 443, last: 443 }], kind: 'once' })), 0);
  const at = monotonicMs(5000);
  assert.deepEqual(
    [...book.standing(at, () => true)].flat().map(({ opening }) => opening.port),
    [22],
  );
  assert.deepEqual(
    [...book.standing(at, () => false)]
      .flat()
      .map(({ opening }) => opening.port)
      .toSorted(),
    [22, 443].toSorted(),
  );
  assert.deepEqual([...book.standing(monotonicMs(10_000), () => true)].flat(), []);
});

test('P30b where another kind of grant stands for the same address and port, ending one cuts nothing', () => {
  for (const kind of ['ending', 'bound', 'once'] as const) {
    const book = new GrantBook();
    const alice = grant(book, ALICE, request(ssh(600, { kind, sourcePort: kind === 'bound' ? 4000 : 0 })), 0).grants;
    const bob = grant(book, BOB, request(ssh(60)), 0).grants;
    const plan = book.planEnd(alice, monotonicMs(1000));
    assert.deepEqual(plan.shut, []);
    assert.deepEqual(
      plan.shutOnly.map((opening) => opening.kind),
      [kind],
    );
    book.remove(alice);
    assert.equal(book.planEnd(bob, monotonicMs(1000)).shut.length, 1);
    // Once bob's time is over, nothing spares the connections.
    assert.equal(book.planEnd(alice, monotonicMs(61_000)).shut.length, 1);
  }
});

test('ending a grant shuts an opening of which another owner has less than the kernel can be told', () => {
  const book = new GrantBook();
  const alice = grant(book, ALICE, request(ssh(600)), 0).grants;
  grant(book, BOB, request(ssh(60)), 0);
  const plan = book.planEnd(alice, monotonicMs(59_500));
  assert.deepEqual(plan.open, []);
  assert.equal(plan.shutOnly.length, 1);
});

test('a service that was given other ports is another grant: what is open under the old ones can still be ended', () => {
  const book = new GrantBook();
  grant(book, ALICE, request(ssh(600)), 0);
  grant(book, ALICE, request(ssh(600, { ports: [{ protocol: 'tcp', first: 2222, last: 2222 }] })), 1000);
  const plan = book.planEnd(book.all(), monotonicMs(2000));
  assert.deepEqual(
    plan.shut.map(({ port }) => port),
    [22, 2222],
  );
});
