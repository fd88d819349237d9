// Which tag means which client, window and slot: the daemon's side of the sieve. A lookup only; the ledger decides what is used.
import { tagOf } from '../../protocol/tags.ts';
import type { Peer } from './peers.ts';
import { TagPage } from './tag-page.ts';

/** What a tag stands for. */
export type TagMeaning = { readonly peerId: string; readonly window: number; readonly slot: number };

export class TagBook {
  readonly #pages = new Map<number, TagPage[]>();

  /** Windows that have a page, ascending. */
  windows(): readonly number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  /** Makes room for the tags of these peers, those that do not stand there already, so that writing them never stops to find some. */
  expect(window: number, peers: readonly Peer[]): void {
    this.#makeRoom(
      window,
      peers.reduce((sum, { id, client }) => sum + (this.#has(window, id) ? 0 : client.slots), 0),
    );
  }

  #makeRoom(window: number, tags: number): void {
    const pages = this.#pages.get(window) ?? [];
    this.#pages.set(window, pages);
    if (tags === 0 || pages.some((page) => page.hasRoom(tags))) return;
    // Reloads all day long must not make it grow: what was struck out whole goes.
    this.#pages.set(window, [...pages.filter((page) => page.size > 0), new TagPage(tags)]);
  }

  /** Writes the tags of one peer in one window, unless they stand there; `omit` says which slots are spent. Gives back the others. */
  write(peer: Peer, window: number, omit: (slot: number) => boolean): readonly Uint8Array[] {
    const { slots } = peer.client;
    let tags = this.#of(window, peer.id);
    if (tags?.length !== slots) {
      for (const page of this.#pages.get(window) ?? []) page.strike(peer.id);
      tags = Array.from({ length: slots }, (_, slot) => tagOf(peer.pairing, window, slot));
      this.#makeRoom(window, slots);
      this.#pages
        .get(window)
        ?.find((page) => page.hasRoom(slots))
        ?.write(peer.id, tags);
    }
    // A spent tag stays in the book, so that its replay is called a replay and not junk.
    return tags.filter((_, slot) => !omit(slot));
  }

  /** Strikes out every tag of a peer that may knock no more; gives back the tags, to be disarmed. */
  erase(peerId: string): readonly Uint8Array[] {
    return [...this.#pages.values()].flat().flatMap((page) => page.strike(peerId));
  }

  find(tag: Uint8Array): TagMeaning | undefined {
    for (const [window, pages] of this.#pages) {
      for (const page of pages) {
        const owner = page.find(tag);
        if (owner !== undefined) return { ...owner, window };
      }
    }
    return undefined;
  }

  forget(window: number): void {
    this.#pages.delete(window);
  }

  size(): number {
    return [...this.#pages.values()].flat().reduce((sum, page) => sum + page.size, 0);
  }

  #has(window: number, peerId: string): boolean {
    return this.#pages.get(window)?.some((page) => page.has(peerId)) ?? false;
  }

  #of(window: number, peerId: string): readonly Uint8Array[] | undefined {
    for (const page of this.#pages.get(window) ?? []) {
      const tags = page.of(peerId);
      if (tags !== undefined) return tags;
    }
    return undefined;
  }
}
