// Grants that stand in the book before the kernel has opened them, so that what is decided meanwhile sees them; and what stood in their place.
import type { Grant, GrantBook } from './grant-book.ts';

export class Unproven {
  readonly #book: GrantBook;
  readonly #former = new WeakMap<Grant, Grant | undefined>();

  constructor(book: GrantBook) {
    this.#book = book;
  }

  put(grants: readonly Grant[]): void {
    for (const grant of grants) this.#former.set(grant, this.#book.get(grant.id));
    this.#book.put(grants);
  }

  /** Whether it is on its way still. */
  has(grant: Grant): boolean {
    return this.#former.has(grant);
  }

  /** The kernel has opened them. */
  proven(grants: readonly Grant[]): void {
    for (const grant of grants) this.#former.delete(grant);
  }

  /** The kernel refused. What stood before comes back, unless something younger stands in its place or it was ended meanwhile. */
  takeBack(refused: readonly Grant[]): { readonly gone: readonly Grant[]; readonly back: readonly Grant[] } {
    const gone: Grant[] = [];
    const back: Grant[] = [];
    for (const grant of refused) {
      if (this.#book.get(grant.id) !== grant) continue;
      this.#book.remove([grant]);
      let former = this.#former.get(grant);
      while (former !== undefined && this.#former.has(former)) former = this.#former.get(former);
      // By another name: what stood before owns its opening still, for its own time.
      gone.push({ ...grant, id: `${grant.id}?` });
      if (former !== undefined) back.push(former);
    }
    this.#book.put(back);
    return { gone, back };
  }
}
