// Tags of one window, packed: 640,000 of them are the daemon's largest possession. Knows tags, numbers of their owners and slots. A page never
// grows: moving a hundred thousand tags would hold up a knock.
//
//   tags    16 bytes each, in the order of writing; the tags of one peer stand side by side
//   owners  peer × 64 + slot, or STRUCK
//   table   open addressing by the tag's first 32 bits (a tag is an HMAC: nobody chooses where it falls): place in `tags` + 1, 0 free
import { MAX_SLOTS, TAG_BYTES } from '../../protocol/tags.ts';

const STRUCK = 0xffff_ffff;
/** The table is at most two thirds full. */
const PLACES_PER_TAG = 1.5;
const LEAST_TAGS = 64;

export type Owner = { readonly peerId: string; readonly slot: number };

export class TagPage {
  readonly #tags: Uint8Array;
  readonly #owners: Uint32Array;
  readonly #table: Uint32Array;
  #count = 0;
  #struck = 0;
  readonly #peers: string[] = [];
  /** Where the tags of a peer begin, and how many there are. */
  readonly #runs = new Map<string, { readonly from: number; readonly slots: number }>();

  constructor(capacity: number) {
    const tags = Math.max(LEAST_TAGS, capacity);
    this.#table = new Uint32Array(2 ** Math.ceil(Math.log2(tags * PLACES_PER_TAG)));
    this.#tags = new Uint8Array(tags * TAG_BYTES);
    this.#owners = new Uint32Array(tags);
  }

  get size(): number {
    return this.#count - this.#struck;
  }

  hasRoom(tags: number): boolean {
    return this.#count + tags <= this.#owners.length;
  }

  has(peerId: string): boolean {
    return this.#runs.has(peerId);
  }

  /** The tags of a peer that were written before, in the order of slots. They stay valid and unchanged whatever comes. */
  of(peerId: string): readonly Uint8Array[] | undefined {
    const run = this.#runs.get(peerId);
    return run === undefined ? undefined : Array.from({ length: run.slots }, (_, slot) => this.#tagAt(run.from + slot));
  }

  /** Writes all tags of a peer, slot 0 first. There must be room, and none of this peer before. */
  write(peerId: string, tags: readonly Uint8Array[]): void {
    if (!this.hasRoom(tags.length) || this.#runs.has(peerId)) throw new RangeError('tag page: no room, or written twice');
    const peer = this.#peers.push(peerId) - 1;
    this.#runs.set(peerId, { from: this.#count, slots: tags.length });
    for (const [slot, tag] of tags.entries()) this.#append(tag, peer * MAX_SLOTS + slot);
  }

  /** Gives back the tags that mean nothing from now on. */
  strike(peerId: string): readonly Uint8Array[] {
    const run = this.#runs.get(peerId);
    if (run === undefined) return [];
    const tags = this.of(peerId) ?? [];
    this.#owners.fill(STRUCK, run.from, run.from + run.slots);
    this.#struck += run.slots;
    this.#runs.delete(peerId);
    return tags;
  }

  find(tag: Uint8Array): Owner | undefined {
    const mask = this.#table.length - 1;
    for (let place = firstWord(tag) & mask; ; place = (place + 1) & mask) {
      const at = (this.#table[place] ?? 0) - 1;
      if (at < 0) return undefined;
      const owner = this.#owners[at] ?? STRUCK;
      if (owner !== STRUCK && this.#holds(at, tag))
        return { peerId: this.#peers[Math.floor(owner / MAX_SLOTS)] ?? '', slot: owner % MAX_SLOTS };
    }
  }

  #append(tag: Uint8Array, owner: number): void {
    this.#tags.set(tag, this.#count * TAG_BYTES);
    this.#owners[this.#count] = owner;
    this.#count += 1;
    const mask = this.#table.length - 1;
    let place = firstWord(tag) & mask;
    while (this.#table[place] !== 0) place = (place + 1) & mask;
    this.#table[place] = this.#count;
  }

  #holds(at: number, tag: Uint8Array): boolean {
    const from = at * TAG_BYTES;
    for (let byte = 0; byte < TAG_BYTES; byte += 1) if (this.#tags[from + byte] !== tag[byte]) return false;
    return true;
  }

  #tagAt(at: number): Uint8Array {
    return this.#tags.subarray(at * TAG_BYTES, (at + 1) * TAG_BYTES);
  }
}

function firstWord(tag: Uint8Array): number {
  return (((tag[0] ?? 0) << 24) | ((tag[1] ?? 0) << 16) | ((tag[2] ?? 0) << 8) | (tag[3] ?? 0)) >>> 0;
}
