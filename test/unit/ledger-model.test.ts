// The replay ledger against a model of one sentence: what was marked is never marked again, and what is fresh is taken a few minutes later at most.
// Random histories of marks, clock steps, stops, kills, power cuts that lose what was not synced, and damage to the file.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createLedger } from '../../daemon/ledger/open.ts';
import { around, crashCopy, type Ground, ledgerPath, markOf, NOW, newGround, type Opened, openIn } from './ledger-ground.ts';

// What a disk writes in one piece.
const SECTOR = 512;

type Event =
  | { readonly kind: 'mark'; readonly client: number; readonly offset: number; readonly slot: number }
  | { readonly kind: 'replay'; readonly pick: number }
  | { readonly kind: 'minutes'; readonly by: number }
  | { readonly kind: 'restart' | 'kill' | 'clean-reboot' }
  /** `during`: the minutes by which an openWindows that the power cut interrupts went on. */
  | { readonly kind: 'power-cut'; readonly seed: number; readonly during: number | undefined }
  | { readonly kind: 'damage'; readonly at: number; readonly bit: number };

const EVENT: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('mark' as const),
      client: fc.nat(3),
      offset: fc.integer({ min: -2, max: 3 }),
      slot: fc.nat(15),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('replay' as const), pick: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('minutes' as const), by: fc.constantFrom(1, 1, 1, 2, -1, -3, 60, -60, 1_000_000) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('restart' as const, 'kill' as const, 'clean-reboot' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('power-cut' as const), seed: fc.integer(), during: fc.constantFrom(undefined, 1, 2, -1, 60) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('damage' as const), at: fc.nat(), bit: fc.nat(7) }) },
);

class History {
  #ground: Ground;
  #opened: Opened;
  #boot = 1;
  #now = NOW;
  /** What is surely on the disk: the file as it was when openWindows last came back. */
  #synced: Buffer;
  #inFlight: Promise<unknown> = Promise.resolve();
  #marked = new Map<string, ReturnType<typeof markOf>>();

  private constructor(ground: Ground, opened: Opened) {
    this.#ground = ground;
    this.#opened = opened;
    this.#synced = fs.readFileSync(ledgerPath(ground));
  }

  static async begin(ground: Ground): Promise<History> {
    await createLedger(ground.stateDir);
    const history = new History(ground, await openIn(ground, { boot: 'boot-1' }));
    await history.#openWindows();
    return history;
  }

  async happen(event: Event): Promise<void> {
    switch (event.kind) {
      case 'mark':
        return this.#mark(event.client, this.#now + event.offset, event.slot);
      case 'replay': {
        const marks = [...this.#marked.values()];
        const mark = marks[event.pick % marks.length];
        if (mark !== undefined) assert.notEqual(this.#opened.ledger.mark(mark), 'marked', 'a replay was accepted');
        return;
      }
      case 'minutes':
        this.#now += event.by;
        return this.#openWindows();
      case 'restart':
      case 'clean-reboot':
        await this.#opened.ledger.close();
        if (event.kind === 'clean-reboot') this.#boot++;
        return this.#start(crashCopy(this.#ground, event.kind === 'clean-reboot'));
      case 'kill':
        return this.#start(crashCopy(this.#ground));
      case 'power-cut': {
        if (event.during !== undefined) {
          this.#now += event.during;
          const opening = this.#opened.ledger.openWindows(around(this.#now));
          await Promise.resolve();
          await Promise.resolve();
          // The new status is written, its fsync on the way; marks of windows that stay open may come in between.
          for (let window = this.#now - 1; window <= this.#now + 2; window++) this.#mark(0, window, 15);
          this.#inFlight = opening;
        }
        const after = crashCopy(this.#ground, true);
        fs.writeFileSync(ledgerPath(after), torn(this.#synced, fs.readFileSync(ledgerPath(this.#ground)), event.seed));
        this.#boot++;
        return this.#start(after);
      }
      case 'damage': {
        const after = crashCopy(this.#ground);
        const bytes = fs.readFileSync(ledgerPath(after));
        const at = event.at % bytes.length;
        bytes[at] = (bytes[at] ?? 0) ^ (1 << event.bit);
        fs.writeFileSync(ledgerPath(after), bytes);
        // The one loss that the design allows: a mark of a window that nobody can use at this moment.
        for (const [name, mark] of this.#marked) if (mark.window < this.#now - 1 || mark.window > this.#now + 2) this.#marked.delete(name);
        return this.#start(after);
      }
    }
  }

  /** A few minutes on, every replay is still refused where its window is open, and fresh knocks are taken. */
  async end(): Promise<void> {
    for (const mark of this.#marked.values()) {
      this.#now = mark.window;
      await this.#openWindows();
      assert.notEqual(this.#opened.ledger.mark(mark), 'marked', 'a replay was accepted at the end');
    }
    this.#now = NOW + 5_000_000;
    await this.#openWindows();
    assert.equal(this.#opened.ledger.mark(markOf(1, this.#now)), 'marked', 'locked out');
    await this.#opened.ledger.close();
  }

  #mark(client: number, window: number, slot: number): void {
    const mark = markOf(client, window, slot);
    const name = `${client} ${window} ${slot}`;
    const outcome = this.#opened.ledger.mark(mark);
    if (this.#marked.has(name)) assert.notEqual(outcome, 'marked', 'a replay was accepted');
    if (outcome === 'marked') this.#marked.set(name, mark);
    else assert.ok(outcome !== 'unwritable' && (outcome !== 'already-used' || this.#marked.has(name)), `fresh, but ${outcome}`);
  }

  async #openWindows(): Promise<void> {
    assert.equal(await this.#opened.ledger.openWindows(around(this.#now)), true);
    this.#synced = fs.readFileSync(ledgerPath(this.#ground));
  }

  async #start(ground: Ground): Promise<void> {
    await this.#inFlight;
    await this.#opened.ledger.close();
    this.#ground = ground;
    this.#opened = await openIn(ground, { boot: `boot-${this.#boot}`, now: this.#now });
    await this.#openWindows();
  }
}

/** Of each sector written since the last fsync, the disk has the old or the new content; of a file that grew, any length. */
function torn(synced: Buffer, current: Buffer, seed: number): Buffer {
  let state = seed | 1;
  const coin = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  const result = Buffer.alloc(synced.length + (coin() % (current.length - synced.length + 1)));
  for (let at = 0; at < result.length; at += SECTOR) {
    const isNew = coin() % 2 === 0;
    (isNew ? current : synced).copy(result, at, at, Math.min(at + SECTOR, result.length));
  }
  return result;
}

describe('replay ledger, random histories', () => {
  it('never takes a marked tuple again, and takes a fresh one in the end (P12 to P16c)', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(EVENT, { minLength: 1, maxLength: 40 }), async (events) => {
        const ground = newGround();
        try {
          const history = await History.begin(ground);
          for (const event of events) await history.happen(event);
          await history.end();
        } finally {
          fs.rmSync(ground.root, { recursive: true, force: true });
        }
      }),
      { numRuns: 300 },
    );
  });
});
