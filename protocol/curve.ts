// Decides which 32 bytes are a sound Ed25519 public key, and gives its X25519 form (SPEC 2.2). Knows no file formats and no secrets.
import { diffieHellman, type KeyObject } from 'node:crypto';
import { privateKey, publicKey } from './raw-keys.ts';

// Fixed by RFC 7748 and RFC 8032.
const FIELD_PRIME = 2n ** 255n - 19n;
const GROUP_ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

/**
 * A scalar that is -1 modulo the prime order and a multiple of 8, in the form that X25519 clamps to (bit 254 set, bits 0 to 2 clear),
 * so that clamping leaves it alone. It maps P0 + T (P0 of prime order, T of small order) to -P0, and X25519 does not see signs: the
 * result has P's own u coordinate if and only if T is the identity. On the twist no point but the identity is mapped to plus or minus
 * itself (5L - 2 and 5L share no factor with the twist's order), so a u that lies on no curve point fails too. See docs/decisions.
 */
const TORSION_CLEARING_SCALAR = 5n * GROUP_ORDER - 1n;
/** Its public key is -B, whose u coordinate is the base point's. */
const BASE_POINT_U = 9n;
let torsionClearingKey: KeyObject | undefined;

export type CurveCheck =
  | { readonly ok: true; readonly x25519: Uint8Array }
  | { readonly ok: false; readonly fault: 'non-canonical' | 'small-order' | 'not-prime-order' };

/** Checks an encoded Edwards point as libsodium's `crypto_core_ed25519_is_valid_point` does. `bytes` holds 32 bytes. */
export function checkPoint(bytes: Uint8Array): CurveCheck {
  const y = edwardsY(bytes);
  if (y >= FIELD_PRIME) return { ok: false, fault: 'non-canonical' };
  // y = 1 is the identity and y = -1 the point of order 2: the map has no value or zero for them, and x = 0 has no sign.
  if (y === 1n || y === FIELD_PRIME - 1n) return { ok: false, fault: 'small-order' };
  const x25519 = montgomeryForm(y);
  const cleared = multiply(x25519);
  if (cleared === undefined) return { ok: false, fault: 'small-order' };
  return cleared.equals(x25519) ? { ok: true, x25519 } : { ok: false, fault: 'not-prime-order' };
}

/** The X25519 form of a key that `checkPoint` has accepted: u = (1 + y) / (1 - y). */
export function toX25519(publicKey: Uint8Array): Uint8Array {
  return montgomeryForm(edwardsY(publicKey));
}

function multiply(x25519: Uint8Array): Buffer | undefined {
  torsionClearingKey ??= privateKey('X25519', littleEndian(TORSION_CLEARING_SCALAR), littleEndian(BASE_POINT_U));
  try {
    return diffieHellman({ privateKey: torsionClearingKey, publicKey: publicKey('X25519', x25519) });
  } catch {
    // OpenSSL refuses a result of 32 zero bytes, which is what all points of small order give.
    return undefined;
  }
}

function montgomeryForm(y: bigint): Uint8Array {
  return littleEndian(((1n + y) * inverse(FIELD_PRIME + 1n - y)) % FIELD_PRIME);
}

/** The y coordinate that 32 bytes encode; the sign of x stands in the highest bit. */
function edwardsY(bytes: Uint8Array): bigint {
  return BigInt.asUintN(255, BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`));
}

function littleEndian(value: bigint): Uint8Array {
  return Buffer.from(value.toString(16).padStart(64, '0'), 'hex').reverse();
}

/** Extended Euclid. Not constant time: only ever given public keys. */
function inverse(value: bigint): bigint {
  let [remainder, next] = [FIELD_PRIME, value % FIELD_PRIME];
  let [coefficient, nextCoefficient] = [0n, 1n];
  while (next !== 0n) {
    const quotient = remainder / next;
    [remainder, next] = [next, remainder - quotient * next];
    [coefficient, nextCoefficient] = [nextCoefficient, coefficient - quotient * nextCoefficient];
  }
  return coefficient < 0n ? coefficient + FIELD_PRIME : coefficient;
}
