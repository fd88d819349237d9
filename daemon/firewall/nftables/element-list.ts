// Many set elements as one attribute, written into one buffer: thousands of tags are armed each minute, and a grant must not wait for that.
// Pure. Layout of each element (netlink attributes, all nested but the two values):
//   LIST_ELEM { KEY { VALUE key } TIMEOUT u64 }
import { endianness } from 'node:os';
import { NFTA_DATA, NFTA_LIST_ELEM, NFTA_SET_ELEM } from './kernel.ts';

export type Element = { readonly key: Uint8Array; readonly timeoutMs: number | undefined };

const LITTLE = endianness() === 'LE';
const HEADER_BYTES = 4;
const TIMEOUT_BYTES = 12;
const NESTED = 0x8000;

/** The attribute `type` with all elements. Keys have whole 32-bit words; the caller keeps the sum under 64 KiB. */
export function encodeElements(type: number, elements: readonly Element[]): Uint8Array {
  const out = new Uint8Array(HEADER_BYTES + elements.reduce((sum, element) => sum + elementBytes(element), 0));
  const view = new DataView(out.buffer);
  if (out.length > 0xffff) throw new RangeError(`encodeElements: ${out.length} bytes do not fit into one attribute`);
  header(view, 0, out.length, type | NESTED);
  let at = HEADER_BYTES;
  for (const element of elements) {
    const { key, timeoutMs } = element;
    header(view, at, elementBytes(element), NFTA_LIST_ELEM | NESTED);
    header(view, at + HEADER_BYTES, 2 * HEADER_BYTES + key.length, NFTA_SET_ELEM.KEY | NESTED);
    header(view, at + 2 * HEADER_BYTES, HEADER_BYTES + key.length, NFTA_DATA.VALUE);
    at += 3 * HEADER_BYTES;
    out.set(key, at);
    at += key.length;
    if (timeoutMs === undefined) continue;
    header(view, at, TIMEOUT_BYTES, NFTA_SET_ELEM.TIMEOUT);
    // 64 bits of milliseconds, big-endian; two halves cost less than a BigInt.
    view.setUint32(at + 4, Math.floor(timeoutMs / 2 ** 32));
    view.setUint32(at + 8, timeoutMs % 2 ** 32);
    at += TIMEOUT_BYTES;
  }
  return out;
}

/** Takes `ms` off every timeout in the payload of an encoded list, in place; none goes below one millisecond. */
export function shortenTimeouts(list: Uint8Array, ms: number): void {
  const view = new DataView(list.buffer, list.byteOffset, list.byteLength);
  for (let at = 0; at < list.length; at += view.getUint16(at, LITTLE)) {
    // The key stands first, then the timeout, if there is one.
    const timeout = at + HEADER_BYTES + view.getUint16(at + HEADER_BYTES, LITTLE);
    if (timeout >= at + view.getUint16(at, LITTLE)) continue;
    const before = view.getUint32(timeout + 4) * 2 ** 32 + view.getUint32(timeout + 8);
    const after = Math.max(1, before - ms);
    view.setUint32(timeout + 4, Math.floor(after / 2 ** 32));
    view.setUint32(timeout + 8, after % 2 ** 32);
  }
}

function elementBytes({ key, timeoutMs }: Element): number {
  return 3 * HEADER_BYTES + key.length + (timeoutMs === undefined ? 0 : TIMEOUT_BYTES);
}

function header(view: DataView, at: number, length: number, type: number): void {
  view.setUint16(at, length, LITTLE);
  view.setUint16(at + 2, type, LITTLE);
}
