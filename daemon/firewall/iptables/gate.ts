// The gate while it stands: what the kernel holds, what we know of it, and the steps from one state to the next. One step at a time, in the order in
// which they are asked for. Knows nothing of grants or knocks.
import type { Clock, MonotonicMs } from '../../clock.ts';
import {
  admitsOnce,
  FirewallError,
  type GateCounters,
  type GateLayout,
  type Opening,
  SHORTEST_OPENING_MS,
  type TimedOpening,
} from '../firewall.ts';
import { liveConnections } from '../nftables/live-connections.ts';
import type { WallClock } from './dated-rules.ts';
import { byKey, cutOf, type Entry, entryKey, entryOf, familyOf, LONG_MS, liveOf, openingOf } from './entries.ts';
import { Kept } from './kept.ts';
import { absent, removeEmpty } from './leftovers.ts';
import type { Names } from './names.ts';
import { REJECT_HOOKS, REJECT_TABLES } from './rejecting.ts';
import { changeText, installText, removeText } from './restore-text.ts';
import { type Draft, entryChainLines } from './ruleset.ts';
import { countersOf, datedEntries, isGate, madeBy, type SavedTable } from './saved.ts';
import { addLine, destroyLines, hasSet, LONGEST_TIMEOUT_S, readElements, removeLine, setNames } from './sets.ts';
import { readTables, stateOf } from './tables.ts';
import type { FamilyTools, Tools } from './tools.ts';

const NOTHING: GateCounters = { knocks: 0, junk: 0, refused: 0, ended: 0 };
// Tunable
/** Rules of the form for nf_tables are taken out a moment after the transaction: sets are in use that long. */
const DESTROY_ATTEMPTS = 50;
const DESTROY_PAUSE_MS = 20;
/** A wall clock that is off by more makes rules end at the wrong time. */
const CLOCK_SLACK_MS = 1000;
const RENEW_EVERY_MS = 3600_000;
/** ipset shows whole seconds. */
const SET_PRECISION_MS = 1500;

type Installed = { readonly layout: GateLayout; readonly state: string };

export class IptablesGate {
  readonly #names: Names;
  readonly #tools: Tools;
  readonly #clock: Clock;
  readonly #onTrouble: (text: string) => void;
  #queue: Promise<unknown> = Promise.resolve();
  #installed: Installed | undefined;
  readonly #kept: Kept;
  /** How far the wall clock was ahead when dated rules were last written. */
  #writtenAheadMs = 0;
  #renewedAtMs = 0;

  constructor(names: Names, tools: Tools, clock: Clock, onTrouble: (text: string) => void) {
    this.#names = names;
    this.#tools = tools;
    this.#clock = clock;
    this.#onTrouble = onTrouble;
    this.#kept = new Kept(tools.backing);
  }

  layout(): GateLayout | undefined {
    return this.#installed?.layout;
  }

  install(layout: GateLayout, openings: readonly TimedOpening[]): Promise<{ readonly fresh: boolean }> {
    const asked = this.#clock.monotonic();
    return this.#inTurn(async () => {
      const { families } = this.#tools;
      const before = await Promise.all(families.map((tools) => this.#tables(tools, layout)));
      const mangle = before.map(([table]) => table).filter((table) => table !== undefined);
      const fresh = !mangle.some((table) => isGate(table, this.#names));
      const now = this.#clock.monotonic();
      const opened = openings.flatMap((timed) => entryFor(timed, asked) ?? []);
      const cutBack = new Set(opened.map(({ peer, protocol, port }) => entryKey(cutOf({ address: peer, protocol, port }, asked))));
      const carried = [...mangle.flatMap((table) => datedEntries(table, this.#names)), ...this.#kept.rules()].filter(
        (entry) => (entry.kind === 'cut' || entry.kind === 'live') && entry.deadlineMs > now && !cutBack.has(entryKey(entry)),
      );
      // P30f: connections that were there before the gate may have no conntrack entry, and would look new.
      const live = fresh ? liveConnections(layout.protect).map((flow) => liveOf(flow, later(now, LONG_MS))) : [];
      const entries = byKey([...carried, ...live, ...opened]);
      this.#installed = undefined;
      if (this.#tools.backing === 'sets') await this.#fillSets(entries, cutBack, now);
      this.#kept.replace(entries);
      this.#writtenAheadMs = this.#aheadMs();
      for (const [at, tools] of families.entries()) {
        const tables = before[at] ?? [];
        const made = [...new Set([...tables.flatMap((table) => madeBy(table, this.#names)), ...(await makes(tools, layout))])];
        const counters = tables[0] === undefined ? NOTHING : countersOf(tables[0], this.#names);
        await tools.load(installText({ ...this.#draft(tools, layout), counters, made }, tables), 'put up the gate');
      }
      this.#installed = { layout, state: await this.#state(layout) };
      return { fresh };
    });
  }

  /** Whether rules, chains and jumps are as installed, and every entry that is a rule is there. */
  intact(): Promise<boolean> {
    return this.#inTurn(async () => this.#installed !== undefined && (await this.#state(this.#installed.layout)) === this.#installed.state);
  }

  open(openings: readonly TimedOpening[]): Promise<void> {
    if (openings.some(({ opening }) => admitsOnce(opening.kind))) return Promise.reject(noOneShot());
    const asked = this.#clock.monotonic();
    const opened = openings.flatMap((timed) => entryFor(timed, asked) ?? []);
    return this.#inTurn(() =>
      this.#change(
        opened,
        opened.map((entry) => cutOf(openingFor(entry), asked)),
        'open',
      ),
    );
  }

  close(openings: readonly Opening[], cut: boolean): Promise<void> {
    const now = this.#clock.monotonic();
    const closed = openings.flatMap((opening) => entryOf(opening, now) ?? []);
    const cuts = cut ? openings.map((opening) => cutOf(opening, later(now, LONG_MS))) : [];
    return this.#inTurn(() => this.#change([...byKey(cuts).values()], closed, 'close'));
  }

  standing(kinds?: readonly Opening['kind'][]): Promise<readonly TimedOpening[]> {
    // There are none here.
    if (kinds?.every(admitsOnce) === true) return Promise.resolve([]);
    return this.#inTurn(async () => {
      const tables = await Promise.all(this.#tools.families.map((tools) => tools.read('mangle')));
      const elements = await this.#tools.readSets(setNames(this.#names));
      const now = this.#clock.monotonic();
      const entries = [...readElements(this.#names, elements, now), ...tables.flatMap((table) => datedEntries(table, this.#names))];
      return [...byKey(entries).values()].flatMap((entry) => {
        const opening = openingOf(entry);
        return opening === undefined || entry.deadlineMs <= now || kinds?.includes(opening.kind) === false
          ? []
          : [{ opening, remainingMs: entry.deadlineMs - now }];
      });
    });
  }

  counters(): Promise<GateCounters> {
    return this.#inTurn(async () => {
      const tables = await Promise.all(this.#tools.families.map((tools) => tools.read('mangle')));
      return tables.map((table) => countersOf(table, this.#names)).reduce(sum, NOTHING);
    });
  }

  remove(): Promise<void> {
    return this.#inTurn(async () => {
      for (const tools of this.#tools.families) {
        const tables = await this.#tables(tools, this.#installed?.layout);
        const text = removeText(this.#names, tables);
        if (text !== undefined) await tools.load(text, 'remove the gate');
        const dropping = tables.flatMap(({ name, dropping }) => dropping.map((chain) => `${name}/${chain}`));
        const made = tables.flatMap((table) => madeBy(table, this.#names)).filter((place) => !dropping.includes(place));
        if (made.length > 0) await removeEmpty(tools.family, made);
      }
      this.#installed = undefined;
      this.#kept.replace([]);
      if (this.#tools.backing === 'sets') await this.#destroySets();
    });
  }

  /** Takes out rules whose time is over, renews elements that stand for longer than ipset takes, and follows a wall clock that was set. */
  sweep(): Promise<void> {
    return this.#inTurn(async () => {
      const installed = this.#installed;
      if (installed === undefined) return;
      const now = this.#clock.monotonic();
      const over = this.#kept.expire(now);
      const drifted = this.#tools.matchesTime && Math.abs(this.#aheadMs() - this.#writtenAheadMs) > CLOCK_SLACK_MS;
      await this.#writeRules(drifted ? [...over, ...this.#kept.rules()] : over, 'sweep the grants');
      if (this.#tools.backing === 'sets') await this.#renew(now);
    });
  }

  /** When the next rule's time is over. */
  nextDeadlineMs(): MonotonicMs | undefined {
    return this.#kept.nextDeadlineMs();
  }

  /** In the sets and rules of the kernel, or in none of them. */
  async #change(added: readonly Entry[], removed: readonly Entry[], doing: string): Promise<void> {
    if (added.length === 0 && removed.length === 0) return;
    const now = this.#clock.monotonic();
    const before = new Map([...removed, ...added].map((entry) => [entryKey(entry), this.#kept.get(entryKey(entry))]));
    for (const entry of removed) this.#kept.set(entryKey(entry), undefined);
    for (const entry of added) this.#kept.set(entryKey(entry), entry);
    const touched = [...added, ...removed].filter((entry) => this.#kept.isRule(entry));
    try {
      await this.#tools.changeSets(this.#setLines(added, removed, now), doing);
      await this.#writeRules(touched, doing);
    } catch (error) {
      for (const [key, entry] of before) this.#kept.set(key, entry);
      await this.#takeBack(added, before, touched);
      throw error;
    }
  }

  /** What was done before the step that failed is undone; if that fails too, the gate is not the one we mean and is loaded anew. */
  async #takeBack(added: readonly Entry[], before: ReadonlyMap<string, Entry | undefined>, touched: readonly Entry[]): Promise<void> {
    const former = added.flatMap((entry) => before.get(entryKey(entry)) ?? []);
    const fresh = added.filter((entry) => before.get(entryKey(entry)) === undefined);
    const now = this.#clock.monotonic();
    try {
      // One by one: an element that does not fit must not keep the others from being taken out.
      await this.#tools.changeSets(this.#setLines([], fresh, now), 'take back');
      await this.#tools.changeSets(this.#setLines(former, [], now), 'take back');
      await this.#writeRules(touched, 'take back');
    } catch {
      this.#installed = undefined;
    }
  }

  /** Adds first: an element that is refused stops the rest, and who was cut stays so. */
  #setLines(added: readonly Entry[], removed: readonly Entry[], now: MonotonicMs): readonly string[] {
    if (this.#tools.backing !== 'sets') return [];
    return [
      ...added.filter(hasSet).flatMap((entry) => addLine(this.#names, entry, now) ?? []),
      ...removed.filter(hasSet).map((entry) => removeLine(this.#names, entry)),
    ].filter((line) => this.#tools.families.some(({ family }) => line.split(' ')[1]?.endsWith(String(family))));
  }

  /** Loads the chains that these entries are in, as `#entries` says. */
  async #writeRules(touched: readonly Entry[], doing: string): Promise<void> {
    if (touched.length === 0) return;
    const layout = this.#installed?.layout;
    if (layout === undefined)
      throw new FirewallError('GATE_MISSING', `could not ${doing}: the gate is not there`, 'run `posternd gate up`');
    this.#writtenAheadMs = this.#aheadMs();
    for (const tools of this.#tools.families) {
      if (!touched.some((entry) => familyOf(entry) === tools.family)) continue;
      await tools.load(changeText(entryChainLines(this.#draft(tools, layout))), doing);
    }
  }

  /** Makes the sets hold exactly these openings. What was cut stays cut, but for `cutBack`. Live grants are never out of them. */
  async #fillSets(entries: ReadonlyMap<string, Entry>, cutBack: ReadonlySet<string>, now: MonotonicMs): Promise<void> {
    await this.#tools.createSets();
    const standing = byKey(readElements(this.#names, await this.#tools.readSets(setNames(this.#names)), now));
    const gone = [...standing.values()].filter((entry) =>
      entry.kind === 'cut' ? cutBack.has(entryKey(entry)) : !entries.has(entryKey(entry)),
    );
    // After a restart nearly all of them stand already, and a hundred thousand take seconds to write.
    const differs = ([key, { deadlineMs }]: readonly [string, Entry]): boolean =>
      !(Math.abs(deadlineMs - (standing.get(key)?.deadlineMs ?? 0)) < SET_PRECISION_MS);
    const missing = [...entries].filter(differs).map(([, entry]) => entry);
    await this.#tools.changeSets(this.#setLines(missing, gone, now), 'fill the sets of the gate');
  }

  async #renew(now: MonotonicMs): Promise<void> {
    if (now - this.#renewedAtMs < RENEW_EVERY_MS) return;
    this.#renewedAtMs = now;
    const capped = LONGEST_TIMEOUT_S * 1000 - 2 * RENEW_EVERY_MS;
    const long = this.#kept.elements().filter(({ deadlineMs }) => deadlineMs - now > capped);
    await this.#tools.changeSets(this.#setLines(long, [], now), 'renew long grants');
  }

  async #destroySets(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const text = await this.#tools.readSets(setNames(this.#names));
      const left = destroyLines(this.#names).filter((line) => text.includes(`create ${line.split(' ')[1]} `));
      try {
        await this.#tools.changeSets(left, 'remove the sets of the gate');
        return;
      } catch (error) {
        if (attempt === DESTROY_ATTEMPTS) {
          if (error instanceof FirewallError) this.#onTrouble(`${error.message}: they are empty of meaning without the gate`);
          return;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, DESTROY_PAUSE_MS));
    }
  }

  async #state(layout: GateLayout): Promise<string> {
    const tables = await Promise.all(this.#tools.families.map((tools) => this.#tables(tools, layout)));
    return stateOf(tables.flat(), this.#names, this.#kept.rules());
  }

  #tables(tools: FamilyTools, layout: GateLayout | undefined): Promise<readonly SavedTable[]> {
    const known = [layout, this.#installed?.layout].flatMap((each) => each?.refuse ?? []);
    return readTables(tools, this.#names, known);
  }

  #draft({ family }: FamilyTools, layout: GateLayout): Draft {
    const { backing, matchesTime } = this.#tools;
    const wall: WallClock = matchesTime ? { aheadOfMonotonicMs: this.#writtenAheadMs } : undefined;
    return { names: this.#names, family, layout, backing, wall, entries: this.#kept.rules(), counters: NOTHING, made: [] };
  }

  #aheadMs(): number {
    return this.#clock.wall() - this.#clock.monotonic();
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => undefined);
    return turn;
  }
}

/** What loading the gate will make there. */
async function makes({ family, variant }: FamilyTools, { refuse }: GateLayout): Promise<readonly string[]> {
  if (variant === 'legacy') return [];
  const rejecting = REJECT_TABLES.flatMap((name) => [name, ...REJECT_HOOKS.map((hook) => `${name}/${hook}`)]);
  return absent(family, ['mangle', 'mangle/PREROUTING', ...(refuse === 'reject' ? rejecting : [])]);
}

/** Undefined for what is over before anybody could use it, and for a one-shot. */
function entryFor({ opening, remainingMs }: TimedOpening, now: MonotonicMs): Entry | undefined {
  return remainingMs >= SHORTEST_OPENING_MS ? entryOf(opening, later(now, remainingMs)) : undefined;
}

function openingFor({ peer, protocol, port }: Entry): Pick<Opening, 'address' | 'protocol' | 'port'> {
  return { address: peer, protocol, port };
}

function later(now: MonotonicMs, ms: number): MonotonicMs {
  return (now + ms) as MonotonicMs;
}

function sum(a: GateCounters, b: GateCounters): GateCounters {
  return { knocks: a.knocks + b.knocks, junk: a.junk + b.junk, refused: a.refused + b.refused, ended: a.ended + b.ended };
}

function noOneShot(): FirewallError {
  return new FirewallError(
    'NO_ONE_SHOT',
    'one-shot grants need nftables, and this host runs the iptables backend',
    'set firewall: nftables, or remove "once" from the rule',
  );
}
