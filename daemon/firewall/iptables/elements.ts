// The sets of the gate in the kernel: what stands in them and how that is changed. Where the gate is all rules, nothing stands and nothing is done.
import type { MonotonicMs } from '../../clock.ts';
import { FirewallError } from '../firewall.ts';
import { byKey, type Entry, entryKey, familyOf } from './entries.ts';
import type { Names } from './names.ts';
import { addLine, destroyLines, hasSet, LONGEST_TIMEOUT_S, readCounts, readElements, removeLine, setNames } from './sets.ts';
import type { Tools } from './tools.ts';

// Tunable
/** Rules of the form for nf_tables are taken out a moment after the transaction: sets are in use that long. */
const DESTROY_ATTEMPTS = 50;
const DESTROY_PAUSE_MS = 20;
const RENEW_EVERY_MS = 3600_000;
/** ipset shows and counts whole seconds. */
const PRECISION_MS = 1500;

export class Elements {
  readonly #names: Names;
  readonly #tools: Tools;
  #renewedAtMs = 0;

  constructor(names: Names, tools: Tools) {
    this.#names = names;
    this.#tools = tools;
  }

  /** Adds first: an element that is refused stops the rest, and who was cut stays so. Not a transaction. Throws FirewallError. */
  async change(added: readonly Entry[], removed: readonly Entry[], now: MonotonicMs, doing: string): Promise<void> {
    if (this.#tools.backing !== 'sets') return;
    const isGated = (entry: Entry): boolean => this.#tools.families.some(({ family }) => family === familyOf(entry));
    await this.#tools.changeSets(
      [
        ...added.filter(hasSet).flatMap((entry) => (isGated(entry) ? (addLine(this.#names, entry, now) ?? []) : [])),
        ...removed.filter(hasSet).flatMap((entry) => (isGated(entry) ? removeLine(this.#names, entry) : [])),
      ],
      doing,
    );
  }

  /** Openings and what is cut. */
  async standing(now: MonotonicMs): Promise<ReadonlyMap<string, Entry>> {
    return byKey(readElements(this.#names, await this.#tools.readSets(setNames(this.#names)), now));
  }

  /** Makes the sets hold exactly these, out of what stands there. Live grants are never out of them. */
  async fill(entries: ReadonlyMap<string, Entry>, standing: ReadonlyMap<string, Entry>, now: MonotonicMs): Promise<void> {
    if (this.#tools.backing !== 'sets') return;
    await this.#tools.createSets();
    const gone = [...standing.values()].filter((entry) => !entries.has(entryKey(entry)));
    // After a restart nearly all of them stand already, and a hundred thousand take seconds to write.
    const differs = ([key, { deadlineMs }]: readonly [string, Entry]): boolean =>
      !(Math.abs(deadlineMs - (standing.get(key)?.deadlineMs ?? 0)) < PRECISION_MS);
    const missing = [...entries].filter(differs).map(([, entry]) => entry);
    await this.change(missing, gone, now, 'fill the sets of the gate');
  }

  /** Whether somebody took elements out: the kernel tells nobody, so they are counted. */
  async hasFewer(wanted: readonly Entry[], now: MonotonicMs): Promise<boolean> {
    const expected = new Map<string, number>();
    for (const entry of wanted) {
      // Of the connections that lived before the gate several may be one element.
      if (!hasSet(entry) || entry.kind === 'live' || entry.deadlineMs - now < PRECISION_MS) continue;
      const name = this.#names.set(entry.kind, familyOf(entry));
      expected.set(name, (expected.get(name) ?? 0) + 1);
    }
    if (expected.size === 0) return false;
    const counts = readCounts(await this.#tools.readSizes([...expected.keys()]));
    return [...expected].some(([name, count]) => (counts.get(name) ?? count) < count);
  }

  /** Those that stand for longer than ipset can count (P26) get as much as it takes, from time to time. */
  async renew(elements: readonly Entry[], now: MonotonicMs): Promise<void> {
    if (now - this.#renewedAtMs < RENEW_EVERY_MS) return;
    const capped = LONGEST_TIMEOUT_S * 1000 - 2 * RENEW_EVERY_MS;
    const long = elements.filter(({ deadlineMs }) => deadlineMs - now > capped);
    await this.change(long, [], now, 'renew long grants');
    this.#renewedAtMs = now;
  }

  /** Undefined: all are gone. Else why not. */
  async destroy(): Promise<FirewallError | undefined> {
    if (this.#tools.backing !== 'sets') return undefined;
    for (let attempt = 1; ; attempt += 1) {
      const text = await this.#tools.readSets(setNames(this.#names));
      const left = destroyLines(this.#names).filter((line) => text.includes(`create ${line.split(' ')[1]} `));
      try {
        await this.#tools.changeSets(left, 'remove the sets of the gate');
        return undefined;
      } catch (error) {
        if (!(error instanceof FirewallError)) throw error;
        if (attempt === DESTROY_ATTEMPTS) return error;
      }
      await new Promise((resolve) => setTimeout(resolve, DESTROY_PAUSE_MS));
    }
  }
}
