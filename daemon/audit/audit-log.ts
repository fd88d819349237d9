// Writes the audit log without ever holding up a knock: entries wait in a bounded queue, one write at a time is under way, off the event loop.
// What cannot be written is never silent: a line in the journal, figures for `status`, and an entry in the chain once it can be written again.
import { setTimeout as delay } from 'node:timers/promises';
import { type UnixMs, unixMs } from '../../protocol/brand.ts';
import type { Clock } from '../clock.ts';
import type { AuditSettings } from '../config/config.ts';
import type { Decision } from '../decision.ts';
import type { DaemonEvent } from '../events.ts';
import { type AuditFile, append, currentFile, openAuditFile } from './audit-file.ts';
import { type Head, linkLine } from './chain.ts';
import { decisionEntry, eventEntry, logEntry } from './entries.ts';

/** What this needs of the daemon's log. */
export type Journal = {
  readonly info: (fields: object, message: string) => void;
  readonly warn: (fields: object, message: string) => void;
  readonly error: (fields: object, message: string) => void;
};

export type AuditState = {
  readonly file: string;
  /** `failing`: it cannot be written now, and `note` says why. */
  readonly state: 'written' | 'failing';
  readonly head: Head | undefined;
  readonly waiting: number;
  /** Since the daemon's start. */
  readonly lost: number;
  readonly note: string;
};

/** So many entries could not wait: one entry of the chain, in their place. */
type Loss = { count: number; readonly since: UnixMs; until: UnixMs };

// Tunable
/** What waits while nothing can be written, or while a hundred thousand grants end at once: ten thousand knocks or more. */
const MOST_WAITING_CHARS = 16 * 1024 * 1024;
/** A batch is linked in one go: a millisecond or two, in which a knock waits. */
const MOST_BATCH_CHARS = 64 * 1024;
const RETRY_MS = 1000;
/** What the end of the process waits for a disk that does not answer. */
const PATIENCE_AT_END_MS = 2000;

export class AuditLog {
  readonly #settings: AuditSettings;
  readonly #clock: Pick<Clock, 'wall'>;
  readonly #journal: Journal;
  readonly #queue: (string | Loss)[] = [];
  #waitingChars = 0;
  /** How many at the front of the queue are in the write that is under way. */
  #inFlight = 0;
  #file: AuditFile | undefined;
  #writing: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #failures = 0;
  #note = '';
  #lost = 0;
  #toldHead = '';

  constructor(settings: AuditSettings, clock: Pick<Clock, 'wall'>, journal: Journal) {
    this.#settings = settings;
    this.#clock = clock;
    this.#journal = journal;
  }

  /** An Observer, as a method. */
  observe(decision: Decision): void {
    const now = this.#clock.wall();
    const entry = decisionEntry(decision, now);
    if (entry !== undefined) this.#add(entry, now);
  }

  /** An EventObserver, as a method. */
  note(event: DaemonEvent): void {
    const now = this.#clock.wall();
    this.#add(eventEntry(event, now), now);
  }

  state(): AuditState {
    const [head, note] = [this.#file?.head, this.#note];
    return {
      file: this.#settings.file,
      state: note === '' ? 'written' : 'failing',
      head,
      waiting: this.#queue.length,
      lost: this.#lost,
      note,
    };
  }

  /** Call it each minute: whoever can rewrite the file can compute the chain anew, but not what the journal says of it. */
  async tellHead(): Promise<void> {
    const file = this.#file;
    if (file === undefined || file.head.n === 0 || file.head.hash === this.#toldHead) return;
    this.#toldHead = file.head.hash;
    // What the journal vouches for shall survive a power cut.
    await file.handle.datasync().catch(() => undefined);
    this.#journal.info({ n: file.head.n, hash: file.head.hash, file: this.#settings.file }, 'audit head');
  }

  /** Writes what waits, if that can be done in a moment. */
  async close(): Promise<void> {
    clearTimeout(this.#retry);
    const patience = new AbortController();
    const last = async (): Promise<void> => {
      await this.#writing;
      clearTimeout(this.#retry);
      if (this.#queue.length > 0) await this.#write();
    };
    await Promise.race([last(), delay(PATIENCE_AT_END_MS, undefined, { signal: patience.signal }).catch(() => undefined)]);
    patience.abort();
    clearTimeout(this.#retry);
    if (this.#queue.length > 0)
      this.#journal.error({ entries: this.#queue.length, why: this.#note }, 'audit entries are lost with this stop');
    await this.tellHead();
    await this.#file?.handle.close().catch(() => undefined);
  }

  #add(entry: string, now: UnixMs): void {
    if (this.#waitingChars + entry.length > MOST_WAITING_CHARS) {
      this.#lose(now);
      return;
    }
    this.#queue.push(entry);
    this.#waitingChars += entry.length;
    // While it fails, the timer tries again.
    if (this.#retry === undefined) this.#writing ??= this.#write();
  }

  #lose(now: UnixMs): void {
    this.#lost += 1;
    const last = this.#queue.at(-1);
    // One that is being written just now tells what it told then.
    if (typeof last !== 'object' || this.#queue.length <= this.#inFlight) this.#queue.push({ count: 1, since: now, until: now });
    else {
      last.count += 1;
      last.until = now;
    }
  }

  /** Until nothing waits any more or something fails. Never rejects. */
  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0) await this.#writeSome();
      if (this.#failures > 0) this.#recovered();
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeSome(): Promise<void> {
    const { wall } = this.#clock;
    this.#file ??= await openAuditFile(this.#settings.file);
    const batch = this.#batch();
    this.#inFlight = batch.length;
    const chars = batch.reduce((sum, { length }) => sum + length, 0);
    const tell = (trouble: string): void => this.#journal.error({}, trouble);
    this.#file = await currentFile(this.#file, this.#settings, chars, unixMs(wall()), tell);
    const entries = [...this.#file.preamble.map((event) => logEntry(event, wall())), ...batch];
    let head = this.#file.head;
    let text = '';
    for (const entry of entries) {
      const line = linkLine(head, entry);
      head = line;
      text += `${line.text}\n`;
    }
    this.#file = await append(this.#file, Buffer.from(text), { n: head.n, hash: head.hash });
    for (const entry of this.#queue.splice(0, batch.length)) if (typeof entry === 'string') this.#waitingChars -= entry.length;
    this.#inFlight = 0;
  }

  #batch(): readonly string[] {
    const batch: string[] = [];
    let chars = 0;
    for (const entry of this.#queue) {
      if (chars > MOST_BATCH_CHARS) break;
      const text = typeof entry === 'string' ? entry : logEntry({ event: 'lost', ...entry }, this.#clock.wall());
      batch.push(text);
      chars += text.length;
    }
    return batch;
  }

  #failed(error: unknown): void {
    this.#failures += 1;
    this.#inFlight = 0;
    this.#note = error instanceof Error ? error.message : String(error);
    // The 1st, 2nd, 4th, 8th … time: a disk that is full all night must not fill the journal.
    if ((this.#failures & (this.#failures - 1)) === 0) {
      const fields = { why: this.#note, file: this.#settings.file, waiting: this.#queue.length, lost: this.#lost };
      this.#journal.error(
        fields,
        'the audit log cannot be written: knocks go on, entries wait, and are counted when they have to be left out',
      );
    }
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#writing ??= this.#write();
    }, RETRY_MS);
    this.#retry.unref();
  }

  #recovered(): void {
    this.#journal.warn({ file: this.#settings.file, lost: this.#lost }, 'the audit log is written again');
    this.#failures = 0;
    this.#note = '';
  }
}
