// Openings as set elements and back, and the fast encoder of element lists against the plain one. No kernel.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Opening, openingKey } from '../../daemon/firewall/firewall.ts';
import { closeRequests, openRequests } from '../../daemon/firewall/nftables/changes.ts';
import { encodeElements } from '../../daemon/firewall/nftables/element-list.ts';
import { NFTA_DATA, NFTA_LIST_ELEM, NFTA_SET_ELEM } from '../../daemon/firewall/nftables/kernel.ts';
import { decodeOpening, openingKeyBytes, setSpecs } from '../../daemon/firewall/nftables/sets.ts';
import { attribute, nested, u64 } from '../../daemon/netlink/message.ts';
import { addressFromBytes } from '../../protocol/address.ts';

const addresses = fc
  .oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }))
  .map((bytes) => addressFromBytes(bytes));
const ports = fc.integer({ min: 1, max: 65_535 });
const openings: fc.Arbitrary<Opening> = fc
  .record({
    kind: fc.constantFrom('grant', 'ending', 'bound', 'once'),
    address: addresses,
    protocol: fc.constantFrom('tcp', 'udp'),
    port: ports,
    sourcePort: ports,
  })
  .map((opening) => ({ ...opening, sourcePort: opening.kind === 'bound' ? opening.sourcePort : 0 }));

test('an opening comes back from its element as it went in', () => {
  fc.assert(
    fc.property(openings, (opening) => {
      const back = decodeOpening(opening.kind, opening.address.family, openingKeyBytes(opening));
      assert.deepEqual(back, opening);
    }),
  );
});

test('different openings have different elements (P22)', () => {
  const element = (opening: Opening): string =>
    `${opening.kind}${opening.address.family} ${Buffer.from(openingKeyBytes(opening)).toString('hex')}`;
  fc.assert(
    fc.property(openings, openings, (one, other) => assert.equal(element(one) === element(other), openingKey(one) === openingKey(other))),
  );
});

test('elements that we cannot have written are not openings', () => {
  const key = openingKeyBytes({
    kind: 'grant',
    address: addressFromBytes(new Uint8Array([1, 2, 3, 4])),
    protocol: 'tcp',
    port: 22,
    sourcePort: 0,
  });
  assert.notEqual(decodeOpening('grant', 4, key), undefined);
  assert.equal(decodeOpening('grant', 4, key.subarray(0, 8)), undefined);
  assert.equal(decodeOpening('bound', 4, key), undefined);
  assert.equal(decodeOpening('grant', 6, key), undefined);
  assert.equal(decodeOpening('grant', 4, key.with(4, 1)), undefined, 'ICMP');
});

test('the fast encoder writes what the plain one writes', () => {
  const elements = fc.array(
    fc.record({
      key: fc.integer({ min: 1, max: 12 }).chain((words) => fc.uint8Array({ minLength: words * 4, maxLength: words * 4 })),
      timeoutMs: fc.option(fc.integer({ min: 0, max: 2 ** 50 }), { nil: undefined }),
    }),
    { maxLength: 20 },
  );
  fc.assert(
    fc.property(elements, (list) => {
      const plain = list.map(({ key, timeoutMs }) =>
        nested(NFTA_LIST_ELEM, [
          nested(NFTA_SET_ELEM.KEY, [attribute(NFTA_DATA.VALUE, key)]),
          ...(timeoutMs === undefined ? [] : [u64(NFTA_SET_ELEM.TIMEOUT, BigInt(timeoutMs))]),
        ]),
      );
      assert.deepEqual(encodeElements(3, list), nested(3, plain));
    }),
  );
  assert.throws(() => encodeElements(3, new Array(2000).fill({ key: new Uint8Array(16), timeoutMs: 1 })), RangeError);
});

test('nothing is asked of the kernel when nothing is to be done', () => {
  const opening: Opening = { kind: 'grant', address: addressFromBytes(new Uint8Array(4)), protocol: 'tcp', port: 1, sourcePort: 0 };
  assert.deepEqual(openRequests('t', []), []);
  assert.deepEqual(openRequests('t', [{ opening, remainingMs: 999 }]), []);
  assert.deepEqual(closeRequests('t', [], true), []);
});

test('every set with elements of ours has a default timeout, so that none can become permanent', () => {
  for (const spec of setSpecs(1000)) assert.ok(spec.timeoutMs > 0, spec.name);
  assert.ok(!setSpecs(undefined).some(({ name }) => name === 'tags'));
});
