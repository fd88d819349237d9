// The youngest accepted close of each client and address: an open that was sent before it must not reopen the door (SPEC "Close"). Memory only.
import type { IpAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import type { MonotonicMs } from '../clock.ts';
import type { CloseMark } from './grant-lines.ts';

/** Tunable: a longer memory of closes than any clock tolerance, by a clock that never steps: one back makes old knocks fresh again. */
const CLOSE_MEMORY_MS = 24 * 3600 * 1000;

export class CloseMarks {
  readonly #marks = new Map<string, CloseMark>();

  constructor(known: readonly CloseMark[]) {
    for (const mark of known) this.add(mark);
  }

  get size(): number {
    return this.#marks.size;
  }

  all(): readonly CloseMark[] {
    return [...this.#marks.values()];
  }

  /** False: a younger one is known already. */
  add(mark: CloseMark): boolean {
    const id = keyOf(mark.key, mark.address);
    const known = this.#marks.get(id);
    if (known !== undefined && known.sentAtMs >= mark.sentAtMs) return false;
    this.#marks.set(id, mark);
    return true;
  }

  /** Whether an open that was sent then came too late. */
  isSuperseded(key: string, address: IpAddress, sentAtMs: UnixMs): boolean {
    const mark = this.#marks.get(keyOf(key, address.text));
    return mark !== undefined && sentAtMs <= mark.sentAtMs;
  }

  /** Those that no knock can be older than. */
  forgetOld(now: MonotonicMs): void {
    for (const [id, mark] of this.#marks) if (mark.atMs < now - CLOSE_MEMORY_MS) this.#marks.delete(id);
  }
}

function keyOf(key: string, address: string): string {
  return `${key} ${address}`;
}
