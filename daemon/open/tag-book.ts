// Which tag means which client, window and slot: the daemon's side of the sieve. A lookup only; the ledger decides what is used.
import { tagOf } from '../../protocol/tags.ts';
import type { Peer } from './peers.ts';

/** What a tag stands for. */
export type TagMeaning = { readonly peerId: string; readonly window: number; readonly slot: number };

type Page = Map<string, TagMeaning>;

export class TagBook {
  readonly #pages = new Map<number, Page>();

  /** Windows that have a page, ascending. */
  windows(): readonly number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  /** Writes the tags of one peer in one window; `omit` says which slots are spent. Gives back the tags written. */
  write(peer: Peer, window: number, omit: (slot: number) => boolean): readonly Uint8Array[] {
    let page = this.#pages.get(window);
    if (page === undefined) {
      page = new Map();
      this.#pages.set(window, page);
    }
    const tags: Uint8Array[] = [];
    for (let slot = 0; slot < peer.client.slots; slot += 1) {
      const tag = tagOf(peer.pairing, window, slot);
      page.set(textOf(tag), { peerId: peer.id, window, slot });
      // A spent tag stays in the book, so that its replay is called a replay and not junk.
      if (!omit(slot)) tags.push(tag);
    }
    return tags;
  }

  /** Strikes out every tag of a peer that may knock no more; gives back the tags, to be disarmed. */
  erase(peer: Peer): readonly Uint8Array[] {
    const tags: Uint8Array[] = [];
    for (const [window, page] of this.#pages) {
      for (let slot = 0; slot < peer.client.slots; slot += 1) {
        const tag = tagOf(peer.pairing, window, slot);
        if (page.delete(textOf(tag))) tags.push(tag);
      }
    }
    return tags;
  }

  find(tag: Uint8Array): TagMeaning | undefined {
    const text = textOf(tag);
    for (const page of this.#pages.values()) {
      const meaning = page.get(text);
      if (meaning !== undefined) return meaning;
    }
    return undefined;
  }

  forget(window: number): void {
    this.#pages.delete(window);
  }

  clear(): void {
    this.#pages.clear();
  }

  size(): number {
    let size = 0;
    for (const page of this.#pages.values()) size += page.size;
    return size;
  }
}

function textOf(tag: Uint8Array): string {
  return Buffer.from(tag.buffer, tag.byteOffset, tag.byteLength).toString('latin1');
}
