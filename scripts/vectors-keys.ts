// The public keys that must be refused (SPEC 2.1), for the test vectors. Computed with libsodium's point addition.
import { createRequire } from 'node:module';

type Sodium = {
  readonly crypto_core_ed25519_add: (out: Buffer, p: Buffer, q: Buffer) => void;
  readonly crypto_core_ed25519_is_valid_point: (p: Buffer) => boolean;
};

const ORDER_8 = '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05';

/** All encodings of the eight points of order 1, 2, 4 and 8 that are canonical. */
const SMALL_ORDER: readonly (readonly [string, string])[] = [
  ['order 1, the identity', `01${'00'.repeat(31)}`],
  ['order 2', `ec${'ff'.repeat(30)}7f`],
  ['order 4', '00'.repeat(32)],
  ['order 4, other sign', `${'00'.repeat(31)}80`],
  ['order 8', ORDER_8],
  ['order 8, other sign', '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85'],
  ['order 8, other y', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'],
  ['order 8, other y and sign', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa'],
];

const NON_CANONICAL: readonly (readonly [string, string])[] = [
  ['y = p, that is 0', `ed${'ff'.repeat(30)}7f`],
  ['y = p, sign set', 'ed'.padEnd(64, 'f')],
  ['y = p + 1, that is 1', `ee${'ff'.repeat(30)}7f`],
  ['y = p + 1, sign set', 'ee'.padEnd(64, 'f')],
  ['y = p + 3', `f0${'ff'.repeat(30)}7f`],
  ['y = p + 9', `f6${'ff'.repeat(30)}7f`],
  ['y = 2^255 - 1', `${'ff'.repeat(31)}7f`],
  ['all bits set', 'ff'.repeat(32)],
];

/** Not canonical either: x = 0 has no sign. Only added to the table: no point is added to them. */
const SIGNED_ZERO: readonly (readonly [string, string])[] = [
  ['order 1, x = 0 with its sign set', `01${'00'.repeat(30)}80`],
  ['order 2, x = 0 with its sign set', 'ec'.padEnd(64, 'f')],
];

const NO_POINT: readonly (readonly [string, string])[] = [
  ['y = 2 has no x', `02${'00'.repeat(31)}`],
  ['y = 7 has no x', `07${'00'.repeat(31)}`],
];

export function refusedKeys(sound: Uint8Array): object[] {
  const mixed = SMALL_ORDER.slice(1).map(([name, point]) => [`a sound key plus a point of ${name}`, sum(sound, point)] as const);
  return [
    ...[...SMALL_ORDER, ...SIGNED_ZERO].map(([name, key]) => ({ name, public: key, reason: 'small-order' })),
    ...mixed.map(([name, key]) => ({ name, public: key, reason: 'mixed-order' })),
    ...NON_CANONICAL.map(([name, key]) => ({ name, public: key, reason: 'non-canonical' })),
    ...NO_POINT.map(([name, key]) => ({ name, public: key, reason: 'no-point' })),
  ];
}

function sum(sound: Uint8Array, point: string): string {
  const require = createRequire(import.meta.url);
  const sodium = require('sodium-native') as Sodium;
  const out = Buffer.alloc(32);
  sodium.crypto_core_ed25519_add(out, Buffer.from(sound), Buffer.from(point, 'hex'));
  return out.toString('hex');
}
