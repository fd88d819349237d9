// What the replay ledger promises. Keyed by who signed for whom, never by a name and never by packet bytes (P1, SPEC "Tags").
import type { PublicKey } from '../../protocol/identity.ts';

/** One tag's identity: (C, S, window, slot). */
export type Mark = { readonly client: PublicKey; readonly server: PublicKey; readonly window: number; readonly slot: number };

export type WindowRange = { readonly first: number; readonly last: number };

/**
 * `marked`: it was unused, and is now used for ever. `already-used`: a replay. `window-closed`: the window is barred or was never opened, nothing may be
 * granted (drop it as `stale`). `unwritable`: neither place took the mark, nothing may be granted.
 */
export type MarkOutcome = 'marked' | 'already-used' | 'window-closed' | 'unwritable';

export type LedgerHealth = {
  /** Where the next mark goes. `runtime`: the state folder is full or read-only. `none`: neither can be written, no knock can be accepted. */
  readonly place: 'state' | 'runtime' | 'none';
  /** Marks held on disk, of all the time that they are kept. */
  readonly marks: number;
  /** Why the place is not `state`, in one sentence; else empty. */
  readonly note: string;
};

export type Ledger = {
  /** Exact for opened windows. For others `true` may also mean "not known to be free". */
  readonly isUsed: (mark: Mark) => boolean;
  /** Writes the mark (page cache, survives kill -9) before it returns `marked`. Synchronous: nothing may come between check and mark. */
  readonly mark: (mark: Mark) => MarkOutcome;
  /**
   * Makes windows usable: one fsync of all marks so far and of the numbers of the windows that may be armed until the next call.
   * Must be awaited before a tag of these windows is armed or accepted. Windows of earlier calls that are not in `range` are closed at once.
   * False: neither place could be written; nothing is open, arm nothing, call again in a minute. Never rejects.
   */
  readonly openWindows: (range: WindowRange) => Promise<boolean>;
  /** Windows that must never be armed again: after an unclean boot, or without a ledger. */
  readonly isBarred: (window: number) => boolean;
  /** For `status` and the log. */
  readonly health: () => LedgerHealth;
  /** Clean shutdown: fsync and the clean mark. Never rejects: what could not be written is made good by barring at the next boot. */
  readonly close: () => Promise<void>;
};
