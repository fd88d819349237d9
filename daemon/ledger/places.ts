// The two places that take marks: the state folder, and the runtime folder while that one cannot be written. Decides where a record goes; knows no windows' meaning.
import { type LedgerRecord, markedWindow, type Status } from './format.ts';
import type { LedgerHealth, WindowRange } from './ledger.ts';
import { findLedgerFile, type LedgerFile, reasonOf } from './ledger-file.ts';
import { isExpired, KEPT_MINUTES, RENEWAL_MINUTES } from './retention.ts';
import { freeAside, rewriteLedger } from './rewrite.ts';
import { RuntimePlace } from './runtime-place.ts';
import { mergeRanges } from './windows.ts';

export type PlacesParts = {
  readonly statePath: string;
  readonly runtimePath: string;
  /** Undefined: nothing usable was found there. */
  readonly state: LedgerFile | undefined;
  /** Why the state folder cannot be used at this moment; empty if it can. */
  readonly stateFault: string;
  /** False: what stands in the state folder is damaged and could not be replaced yet. */
  readonly isStateSound: boolean;
  /** Present while it holds what the state folder does not. */
  readonly runtime: LedgerFile | undefined;
  readonly bars: readonly WindowRange[];
  readonly bootId: Uint8Array;
  readonly sequence: number;
  readonly oldestAgeMinutes: number;
  readonly marks: number;
  readonly ageMinutes: () => number;
  readonly report: (text: string) => void;
};

export class MarkPlaces {
  readonly #parts: PlacesParts;
  #state: LedgerFile | undefined;
  #stateFault: string;
  // After a failed fsync the kernel may have dropped what it could not write: the file is not trusted again, but made anew.
  #isStateSuspect: boolean;
  readonly #runtime: RuntimePlace;
  #exposed: readonly WindowRange[] = [];
  #sequence: number;
  #oldestAgeMinutes: number;
  #marks: number;
  #place: LedgerHealth['place'];

  constructor(parts: PlacesParts) {
    this.#parts = parts;
    this.#state = parts.state;
    this.#stateFault = parts.stateFault;
    this.#isStateSuspect = !parts.isStateSound;
    this.#runtime = new RuntimePlace(parts.runtimePath, parts.runtime, () => ({ status: this.#status(0), records: this.#barRecords() }));
    this.#sequence = parts.sequence;
    this.#oldestAgeMinutes = parts.oldestAgeMinutes;
    this.#marks = parts.marks;
    this.#place = parts.stateFault === '' ? 'state' : 'runtime';
  }

  get place(): LedgerHealth['place'] {
    return this.#place;
  }

  get marks(): number {
    return this.#marks;
  }

  /** All files that hold marks at this moment. */
  get files(): readonly LedgerFile[] {
    return [this.#state, this.#runtime.file].filter((file) => file !== undefined);
  }

  get isRenewalDue(): boolean {
    return this.#place === 'state' && this.#parts.ageMinutes() - this.#oldestAgeMinutes > RENEWAL_MINUTES;
  }

  note(): string {
    if (this.#place === 'state') return '';
    const state = `${this.#parts.statePath} cannot be written (${this.#stateFault})`;
    if (this.#place === 'runtime') return `${state}: marks go to ${this.#parts.runtimePath}, make the state folder writable`;
    return `${state}, nor can ${this.#parts.runtimePath} (${this.#runtime.fault}): knocks are refused until one of them can be written`;
  }

  /** Written to the page cache of one of the places when it returns true. */
  append(record: LedgerRecord): boolean {
    if (this.#place === 'state' && this.#state !== undefined) {
      try {
        this.#state.append(record);
        this.#marks++;
        return true;
      } catch (error) {
        this.#stateFault = reasonOf(error);
      }
    }
    const isWritten = this.#runtime.write((file) => file.append(record));
    this.#moveTo(isWritten ? 'runtime' : 'none');
    if (isWritten) this.#marks++;
    return isWritten;
  }

  /** Notes on disk that marks of these windows may come from now on, and makes all marks so far durable. False: in neither place. */
  async expose(range: WindowRange): Promise<boolean> {
    await this.#returnToState();
    const before = this.#exposed;
    this.#exposed = mergeRanges([...before, range]);
    // Also when the marks themselves have no room there: the status needs none, and outlives a reboot.
    const isInState = await this.#saveStatus();
    if (isInState && this.#place === 'state') {
      this.#exposed = [range];
      return true;
    }
    const isInRuntime = this.#runtime.write((file) => file.writeStatus(this.#status(file.count)));
    this.#moveTo(isInRuntime ? 'runtime' : 'none');
    if (isInState) this.#exposed = [range];
    else if (!isInRuntime) this.#exposed = before;
    return isInRuntime;
  }

  /** Everything that is still kept into a new file. */
  async renew(): Promise<void> {
    try {
      await this.#rewriteState();
    } catch (error) {
      this.#parts.report(`the replay ledger could not be freed of its oldest marks (${reasonOf(error)}): it is tried again`);
    }
  }

  /** The clean mark only if the state folder has everything. */
  async close(): Promise<void> {
    await this.#returnToState();
    if (this.#place === 'state' && this.#state !== undefined) {
      try {
        await this.#state.sync();
        this.#exposed = [];
        this.#state.writeStatus({ ...this.#status(this.#state.count), state: 'clean' });
        await this.#state.sync();
      } catch (error) {
        this.#parts.report(
          `the replay ledger could not be closed cleanly (${reasonOf(error)}): windows of this moment stay shut after a reboot`,
        );
      }
    }
    for (const file of this.files) file.close();
  }

  // Tried once for each call of expose: about once a minute. Proves by writing that the folder takes marks again.
  async #returnToState(): Promise<void> {
    if (this.#place === 'state') return;
    try {
      this.#reopenState();
      const state = this.#state;
      if (this.#isStateSuspect || state === undefined) await this.#rewriteState();
      else {
        state.append({ kind: 'probe' });
        for (const record of this.#barRecords()) state.append(record);
        await this.#runtime.copyTo(state);
        this.#leaveRuntime();
      }
    } catch (error) {
      this.#stateFault = reasonOf(error);
    }
  }

  // The disk may have been read-only when the file was opened. A file that was not there at the start is not taken over: its marks are not in memory.
  #reopenState(): void {
    if (this.#state?.isWritable === true) return;
    const again = findLedgerFile(this.#parts.statePath);
    if (this.#state === undefined) {
      if (again.kind !== 'found') return;
      again.file.close();
      throw new Error('a ledger appeared there after the start: restart posternd');
    }
    if (again.kind !== 'found' || !again.file.isWritable) {
      if (again.kind === 'found') again.file.close();
      throw new Error(again.kind === 'unusable' ? again.why : 'it is read-only');
    }
    this.#state.close();
    this.#state = again.file;
  }

  async #rewriteState(): Promise<void> {
    const age = this.#parts.ageMinutes();
    let expired = 0;
    await rewriteLedger({
      path: this.#parts.statePath,
      sources: () => this.files,
      isKept: (bytes, at) => {
        const isKept = !isExpired(bytes, at, age);
        if (!isKept && markedWindow(bytes, at) !== undefined) expired++;
        return isKept;
      },
      added: this.#barRecords(),
      status: (durable) => ({ ...this.#status(durable), state: 'running' }),
      aside: this.#parts.isStateSound || this.#isStateSuspect === false ? undefined : freeAside(this.#parts.statePath),
      onPlaced: (file) => {
        this.#state?.close();
        this.#state = file;
        this.#isStateSuspect = false;
        this.#marks -= expired;
        this.#oldestAgeMinutes = Math.max(this.#oldestAgeMinutes, age - KEPT_MINUTES);
        if (this.#place !== 'state') this.#leaveRuntime();
      },
    });
  }

  #leaveRuntime(): void {
    this.#stateFault = '';
    this.#moveTo('state');
    // In this order: interrupted in between, the next start finds marks twice rather than misses a file.
    this.#noteWhere();
    this.#runtime.remove();
  }

  async #saveStatus(): Promise<boolean> {
    const state = this.#state;
    if (state === undefined || !state.isWritable || this.#isStateSuspect) return false;
    try {
      state.writeStatus(this.#status(state.count));
    } catch (error) {
      this.#loseState(error);
      return false;
    }
    try {
      await state.sync();
      return true;
    } catch (error) {
      this.#isStateSuspect = true;
      this.#loseState(error);
      return false;
    }
  }

  #loseState(error: unknown): void {
    this.#stateFault = reasonOf(error);
    if (this.#place === 'state') this.#moveTo('runtime');
  }

  // So that the next start misses the runtime folder's file if it is gone by then.
  #noteWhere(): void {
    try {
      this.#state?.writeStatus(this.#status(this.#state.count));
    } catch {
      // A disk that takes nothing at all: what that means stands in docs/ledger.md.
    }
  }

  #barRecords(): LedgerRecord[] {
    return this.#parts.bars.map((range) => ({ kind: 'bar', range, ageMinutes: this.#parts.ageMinutes() }));
  }

  #status(durableRecords: number): Status {
    this.#sequence++;
    const { bootId, ageMinutes } = this.#parts;
    return {
      sequence: this.#sequence,
      state: this.#place === 'state' ? 'running' : 'elsewhere',
      bootId,
      exposed: this.#exposed,
      ageMinutes: ageMinutes(),
      durableRecords,
    };
  }

  #moveTo(place: LedgerHealth['place']): void {
    if (place === this.#place) return;
    const isLeaving = this.#place === 'state';
    this.#place = place;
    if (isLeaving) this.#noteWhere();
    this.#parts.report(place === 'state' ? 'the replay ledger is written to the state folder again' : `replay ledger: ${this.note()}`);
  }
}
