// The file that takes marks while the state folder cannot: made when it is needed, read back, removed. Decides nothing about when.
import { type LedgerRecord, RECORD_BYTES, type Status } from './format.ts';
import { createLedgerFile, type LedgerFile, reasonOf } from './ledger-file.ts';

type Beginning = { readonly status: Status; readonly records: readonly LedgerRecord[] };

export class RuntimePlace {
  readonly path: string;
  readonly #beginning: () => Beginning;
  #file: LedgerFile | undefined;
  #fault = '';

  /** `beginning` is what a new file starts with. `file`: one that stands there already. */
  constructor(path: string, file: LedgerFile | undefined, beginning: () => Beginning) {
    this.path = path;
    this.#file = file;
    this.#beginning = beginning;
  }

  /** Undefined while the state folder has everything. */
  get file(): LedgerFile | undefined {
    return this.#file;
  }

  /** Why the last write failed. */
  get fault(): string {
    return this.#fault;
  }

  write(work: (file: LedgerFile) => void): boolean {
    try {
      this.#file ??= this.#create();
      work(this.#file);
      this.#fault = '';
      return true;
    } catch (error) {
      this.#fault = reasonOf(error);
      return false;
    }
  }

  /** Everything to `target`, while marks go on coming in here; returns in the same breath as the last one was copied. */
  async copyTo(target: LedgerFile): Promise<void> {
    const file = this.#file;
    const until = file?.count ?? 0;
    await file?.scan(0, until, (bytes) => target.appendBytes(bytes, bytes.length / RECORD_BYTES));
    // It may be that only now there is a file.
    const now = this.#file;
    const from = now === file ? until : 0;
    if (now !== undefined && now.count > from) target.appendBytes(now.readNow(from, now.count), now.count - from);
  }

  /** The state folder has it all. */
  remove(): void {
    this.#file?.remove();
    this.#file?.close();
    this.#file = undefined;
  }

  #create(): LedgerFile {
    const { status, records } = this.#beginning();
    const file = createLedgerFile(this.path, status);
    try {
      for (const record of records) file.append(record);
    } catch (error) {
      file.close();
      file.remove();
      throw error;
    }
    return file;
  }
}
