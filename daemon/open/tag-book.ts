// Which tag means which client, window and slot: the daemon's side of the sieve. A lookup only; the ledger decides what is used.
import { tagOf } from '../../protocol/tags.ts';
import type { Peer } from './peers.ts';
import { TagPage } from './tag-page.ts';

/** What a tag stands for. */
export type TagMeaning = { readonly peerId: string; readonly window: number; readonly slot: number };

export class TagBook {
  readonly #pages = new Map<number, TagPage>();

  /** Windows that have a page, ascending. */
  windows(): readonly number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  /** Makes room for so many tags of a window, so that writing them never stops to find some. */
  expect(window: number, tags: number): void {
    this.#page(window, tags);
  }

  /** Writes the tags of one peer in one window, unless they stand there; `omit` says which slots are spent. Gives back the others. */
  write(peer: Peer, window: number, omit: (slot: number) => boolean): readonly Uint8Array[] {
    const page = this.#page(window, 0);
    const { slots } = peer.client;
    let tags = page.of(peer.id);
    if (tags?.length !== slots) {
      tags = Array.from({ length: slots }, (_, slot) => tagOf(peer.pairing, window, slot));
      page.write(peer.id, tags);
    }
    // A spent tag stays in the book, so that its replay is called a replay and not junk.
    return tags.filter((_, slot) => !omit(slot));
  }

  /** Strikes out every tag of a peer that may knock no more; gives back the tags, to be disarmed. */
  erase(peerId: string): readonly Uint8Array[] {
    return [...this.#pages.values()].flatMap((page) => page.strike(peerId));
  }

  find(tag: Uint8Array): TagMeaning | undefined {
    for (const [window, page] of this.#pages) {
      const owner = page.find(tag);
      if (owner !== undefined) return { ...owner, window };
    }
    return undefined;
  }

  forget(window: number): void {
    this.#pages.delete(window);
  }

  size(): number {
    let size = 0;
    for (const page of this.#pages.values()) size += page.size;
    return size;
  }

  #page(window: number, tags: number): TagPage {
    let page = this.#pages.get(window);
    if (page === undefined) {
      page = new TagPage(tags);
      this.#pages.set(window, page);
    }
    return page;
  }
}
