// Types that say what was proven about a value, and the results that pure functions give back.

declare const brand: unique symbol;

/** A `T` that went through the one function that proves `Name` about it. */
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

/** Milliseconds since the Unix epoch, as the wall clock tells them. */
export type UnixMs = Brand<number, 'UnixMs'>;

/** The one place where a number becomes a wall clock time. */
export function unixMs(value: number): UnixMs {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`unixMs: not a time: ${value}`);
  return value as UnixMs;
}

/** What a parser gives back: the value, or one sentence about what is wrong. Never an exception. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly why: string };

export function parsed<T>(value: T): Parsed<T> {
  return { ok: true, value };
}

export function unparsed(why: string): { readonly ok: false; readonly why: string } {
  return { ok: false, why };
}

/** Ends a switch over a union: the compiler proves that it is never reached. */
export function assertNever(value: never): never {
  throw new TypeError(`unexpected value: ${JSON.stringify(value)}`);
}
