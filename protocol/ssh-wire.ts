// Reads and writes the strings and numbers of SSH's binary formats (RFC 4251, section 5). Knows no key and no file.

/** What a reader throws when bytes run out or do not add up. Caught where the format is known. */
export class WireError extends Error {}

/** Walks over bytes once. A field that does not fit is a WireError. */
export class WireReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  take(byteCount: number): Uint8Array {
    if (byteCount > this.remaining) throw new WireError(`${byteCount} bytes wanted, ${this.remaining} left`);
    this.#at += byteCount;
    // A copy also when the bytes are a Buffer, whose own slice() is a view.
    return new Uint8Array(this.#bytes.subarray(this.#at - byteCount, this.#at));
  }

  uint32(): number {
    const bytes = this.take(4);
    return new DataView(bytes.buffer).getUint32(0);
  }

  string(): Uint8Array {
    return this.take(this.uint32());
  }

  /** A string that names something: decoded byte by byte, so that nothing is lost. */
  text(): string {
    return Buffer.from(this.string()).toString('latin1');
  }
}

export function uint32(value: number): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, value);
  return out;
}

export function string(content: string | Uint8Array): Uint8Array {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
  return Buffer.concat([uint32(bytes.length), bytes]);
}
