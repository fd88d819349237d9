// Draws the slots of this client's knocks, each at most once in a window (SPEC "Tags").
// The mark of a used slot is a file made with O_EXCL: the kernel decides between two processes, and a crash leaves no lock behind.
import { createHash } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { PublicKey } from '../protocol/identity.ts';

// Tunable. Marks are kept longer than any clock is likely to be set back (P13), and a day of them is small.
const KEEP_MS = 24 * 3600 * 1000;

export type Claim =
  | { readonly kind: 'slot'; readonly slot: number }
  /** Every slot of the window is used: `SLOTS` knocks in a minute. */
  | { readonly kind: 'exhausted' };

/** The slots of one pair of client and server key. Falls back to a random draw without memory when the folder cannot be written. */
export class SlotDrawer {
  readonly #dir: string;
  /** How many knocks a minute has room for. */
  readonly perWindow: number;
  readonly #random: (length: number) => Uint8Array;
  readonly #onTrouble: (why: string) => void;
  readonly #usedHere = new Set<string>();
  #memoryOnly = false;

  constructor(options: {
    readonly stateDir: string;
    readonly client: PublicKey;
    readonly server: PublicKey;
    readonly slots: number;
    readonly random: (length: number) => Uint8Array;
    readonly onTrouble: (why: string) => void;
  }) {
    const pair = createHash('sha256').update(options.client).update(options.server).digest('hex').slice(0, 32);
    this.#dir = join(options.stateDir, 'slots', pair);
    this.perWindow = options.slots;
    this.#random = options.random;
    this.#onTrouble = options.onTrouble;
  }

  /** Takes a random slot of the window that neither this process nor another of this machine has taken (P16b, two processes at once). */
  claim(window: number): Claim {
    for (const slot of shuffled(this.perWindow, this.#random)) {
      const name = `${window}.${slot}`;
      if (this.#usedHere.has(name) || !this.#mark(name)) continue;
      this.#usedHere.add(name);
      return { kind: 'slot', slot };
    }
    return { kind: 'exhausted' };
  }

  /** When this machine last knocked there, as far as marks go back; undefined when it has not, or nothing was remembered. */
  lastUsedMs(): number | undefined {
    try {
      const times = readdirSync(this.#dir).map((name) => statSync(join(this.#dir, name)).mtimeMs);
      return times.length === 0 ? undefined : Math.max(...times);
    } catch {
      return undefined;
    }
  }

  /** Removes marks that can no longer matter. After the knock, never before: it costs time. */
  prune(nowMs: number): void {
    if (this.#memoryOnly) return;
    try {
      for (const name of readdirSync(this.#dir)) {
        const path = join(this.#dir, name);
        // Both directions: marks made while the clock was far ahead would otherwise stay for ever.
        if (Math.abs(nowMs - statSync(path).mtimeMs) > KEEP_MS) unlinkSync(path);
      }
    } catch {
      // Another process prunes at the same time, or nothing was ever written: both are fine.
    }
  }

  /** True when the mark is new, which also means that the slot was free. */
  #mark(name: string): boolean {
    if (this.#memoryOnly) return true;
    try {
      this.#create(name);
      return true;
    } catch (cause) {
      const code = errorCode(cause);
      if (code === 'EEXIST') return false;
      // Knocking matters more than remembering: a random draw of 16 rarely meets a used slot, and a retry takes another.
      this.#memoryOnly = true;
      this.#onTrouble(`used slots cannot be remembered in ${this.#dir} (${code}): drawing at random`);
      return true;
    }
  }

  #create(name: string): void {
    const path = join(this.#dir, name);
    try {
      closeSync(openSync(path, 'wx', 0o600));
    } catch (cause) {
      if (errorCode(cause) !== 'ENOENT') throw cause;
      mkdirSync(this.#dir, { recursive: true, mode: 0o700 });
      closeSync(openSync(path, 'wx', 0o600));
    }
  }
}

/** 0 … count-1 in random order (Fisher and Yates). The bias of one byte modulo at most 64 does not matter: a slot is no secret. */
function shuffled(count: number, random: (length: number) => Uint8Array): readonly number[] {
  const order = Array.from({ length: count }, (_, at) => at);
  const bytes = random(count);
  for (let at = count - 1; at > 0; at -= 1) {
    const other = (bytes[at] ?? 0) % (at + 1);
    [order[at], order[other]] = [order[other] ?? 0, order[at] ?? 0];
  }
  return order;
}

function errorCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
}
