// What the replay ledger promises. Keyed by who signed for whom, never by a name and never by packet bytes (P1, SPEC "Tags").
import type { PublicKey } from '../../protocol/identity.ts';

/** One tag's identity: (C, S, window, slot). */
export type Mark = { readonly client: PublicKey; readonly server: PublicKey; readonly window: number; readonly slot: number };

export type WindowRange = { readonly first: number; readonly last: number };

export type MarkOutcome = 'marked' | 'already-used' | 'unwritable';

export type Ledger = {
  readonly isUsed: (mark: Mark) => boolean;
  /** Writes the mark (page cache, survives kill -9) before it returns `marked`. Synchronous: nothing may come between check and mark. */
  readonly mark: (mark: Mark) => MarkOutcome;
  /**
   * Makes windows usable: one fsync of all marks so far and of the numbers of the windows acceptable until the next call.
   * Must be awaited before a tag of these windows is armed or accepted. False: neither place could be written, arm nothing new.
   */
  readonly openWindows: (range: WindowRange) => Promise<boolean>;
  /** Windows that must never be armed again: after an unclean boot, or without a ledger. */
  readonly isBarred: (window: number) => boolean;
  /** Where marks are written at this moment, for `status` and the log. */
  readonly health: () => { readonly place: 'state' | 'runtime' | 'none'; readonly marks: number; readonly note: string };
  /** Clean shutdown: fsync and the clean mark. */
  readonly close: () => Promise<void>;
};
