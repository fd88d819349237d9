// The loop of a coverage-guided fuzzer: change an input that is known, run it, keep it when it went where none went before. The same seed and the
// same number of runs do the same. Reads no files and prints nothing; the only clock is for what takes too long.
import { performance } from 'node:perf_hooks';
import type { LoadedTarget } from './load-target.ts';
import { type Mutating, mutated, pumped, spliced } from './mutate.ts';
import { Random } from './random.ts';

/** Something that does not hold. */
export type Finding = { readonly input: Uint8Array; readonly what: string; readonly stack: string };

/** Told before each run, so that somebody else can tell what an endless one was given. */
export type BeforeRun = (input: Uint8Array) => void;

// Tunable.
/** More processor time than any input may take, and what each KiB of it may take besides. */
const SLOW_MS = 400;
const SLOW_MS_PER_KIB = 20;
const PUMP_ONE_IN = 400;
const PUMP_BYTES = 32 * 1024;
const GENERATE_ONE_IN = 6;
const CHANGE_ONE_IN = 3;
const SPLICE_ONE_IN = 10;
/** Numbers of times that count as different, as in AFL: 1, 2, 3, 4–7, 8–15, 16–31, 32–127, more. */
const BUCKETS = Uint8Array.from({ length: 256 }, (_, times) =>
  times === 0 ? 0 : times <= 3 ? 1 << (times - 1) : times < 8 ? 8 : times < 16 ? 16 : times < 32 ? 32 : times < 128 ? 64 : 128,
);

export class Engine {
  readonly random: Random;
  readonly corpus: Uint8Array[] = [];
  readonly findings: Finding[] = [];
  /** How many inputs ended where. */
  readonly stages = new Map<string, number>();
  executions = 0;
  slowest: { readonly milliseconds: number; readonly input: Uint8Array } = { milliseconds: 0, input: new Uint8Array() };
  readonly #loaded: LoadedTarget;
  readonly #words: Uint32Array;
  /** For each edge the buckets that were seen. */
  readonly #seen: Uint8Array;
  /** What was taken before the first input: by what the target sets up. Counts for reports, not as news. */
  readonly #setUp: Uint8Array;
  readonly #mutating: Mutating;
  readonly #beforeRun: BeforeRun;
  readonly #known = new Set<string>();

  constructor(loaded: LoadedTarget, seed: number, beforeRun: BeforeRun = () => undefined) {
    this.#loaded = loaded;
    this.#beforeRun = beforeRun;
    this.random = new Random(seed);
    this.#words = new Uint32Array(loaded.edges.buffer);
    this.#seen = new Uint8Array(loaded.edges.length);
    this.#setUp = Uint8Array.from(loaded.edges, (times) => Math.min(1, times));
    const encoder = new TextEncoder();
    const words = [...(loaded.target.dictionary ?? []), ...[...loaded.instrumented.words].sort()];
    this.#mutating = {
      random: this.random,
      maxBytes: loaded.target.maxBytes,
      text: loaded.target.kind === 'text',
      dictionary: words.map((word) => (typeof word === 'string' ? encoder.encode(word) : word)),
      another: () => this.#parent(),
    };
  }

  /** The target's own inputs, then those that were kept. To be called once, first. */
  async begin(kept: readonly Uint8Array[]): Promise<void> {
    const encoder = new TextEncoder();
    const seeds = this.#loaded.target.seeds.map((seed) => (typeof seed === 'string' ? encoder.encode(seed) : seed));
    for (const input of [...seeds, ...kept]) if ((await this.#run(input)) || this.corpus.length === 0) this.corpus.push(input);
  }

  /** One new input. */
  async step(): Promise<void> {
    const input = this.#next();
    if (await this.#run(input)) this.corpus.push(input);
  }

  edgesTaken(): number {
    let taken = 0;
    for (let edge = 0; edge < this.#seen.length; edge += 1) if (this.isTaken(edge)) taken += 1;
    return taken;
  }

  isTaken(edge: number): boolean {
    return this.#seen[edge] !== 0 || this.#setUp[edge] !== 0;
  }

  #next(): Uint8Array {
    const { random } = this;
    const { generate, change } = this.#loaded.target;
    if (generate !== undefined && random.oneIn(GENERATE_ONE_IN)) return generate(random);
    if (random.oneIn(PUMP_ONE_IN)) return pumped(this.#parent().slice(), random.oneIn(8) ? PUMP_BYTES : this.#mutating.maxBytes, random);
    const parent = random.oneIn(SPLICE_ONE_IN) ? spliced(this.#parent(), this.#mutating) : this.#parent();
    if (change !== undefined && random.oneIn(CHANGE_ONE_IN)) {
      const changed = change(random.oneIn(2) ? mutated(parent, this.#mutating) : parent.slice(), random);
      if (changed !== undefined) return changed;
    }
    return mutated(parent, this.#mutating);
  }

  /** Often one of the youngest: they are where something is new. */
  #parent(): Uint8Array {
    const { corpus, random } = this;
    const from = random.oneIn(4) ? Math.max(0, corpus.length - 16) : 0;
    return corpus[from + random.below(corpus.length - from)] ?? new Uint8Array();
  }

  /** Whether it went where none went before. */
  async #run(input: Uint8Array): Promise<boolean> {
    const { edges, target } = this.#loaded;
    this.#beforeRun(input);
    edges.fill(0);
    const startedMs = performance.now();
    let stage: string;
    try {
      const running = target.run(input);
      // No turn of the event loop for those that need none.
      stage = typeof running === 'string' ? running : await running;
    } catch (error) {
      stage = 'finding';
      this.#found(input, error);
    }
    const milliseconds = performance.now() - startedMs;
    this.executions += 1;
    const isNew = this.#look();
    if (milliseconds > this.slowest.milliseconds) await this.#timeAgain(input, milliseconds);
    const before = this.stages.get(stage) ?? 0;
    this.stages.set(stage, before + 1);
    return (isNew || before === 0) && stage !== 'finding';
  }

  /** Notes what was taken; whether some of it is new. Four counters at once: most are zero. */
  #look(): boolean {
    const words = this.#words;
    const { edges } = this.#loaded;
    const seen = this.#seen;
    let isNew = false;
    for (let word = 0; word < words.length; word += 1) {
      if (words[word] === 0) continue;
      for (let edge = word * 4; edge < word * 4 + 4; edge += 1) {
        const bucket = BUCKETS[edges[edge] ?? 0] ?? 0;
        const known = seen[edge] ?? 0;
        if ((bucket & ~known) === 0) continue;
        seen[edge] = known | bucket;
        isNew = true;
      }
    }
    return isNew;
  }

  #found(input: Uint8Array, error: unknown): void {
    const { message, stack = '' } = error instanceof Error ? error : new Error(String(error));
    const place = /\n\s+at ([^\n(]*)/.exec(stack)?.[1] ?? '';
    const key = `${message.replace(/\d+|"[^"]*"/g, '#').slice(0, 80)} ${place}`;
    if (this.#known.has(key)) return;
    this.#known.add(key);
    this.findings.push({ input: input.slice(), what: message, stack });
  }

  /** The processor's time, and the best of five: a machine that was busy for a moment is no finding. */
  async #timeAgain(input: Uint8Array, first: number): Promise<void> {
    let best = first;
    for (let round = 1; round < 5 && best > this.slowest.milliseconds; round += 1) {
      const before = process.cpuUsage();
      try {
        await this.#loaded.target.run(input);
      } catch {
        // Told already.
      }
      const { user, system } = process.cpuUsage(before);
      best = Math.min(best, (user + system) / 1000);
    }
    if (best <= this.slowest.milliseconds) return;
    this.slowest = { milliseconds: best, input };
    if (best > SLOW_MS + (SLOW_MS_PER_KIB * input.length) / 1024)
      this.#found(input, new Error(`takes ${Math.round(best)} ms for ${input.length} bytes`));
  }
}
