// The gate while it stands: what the kernel holds, what we know of it, and the steps from one state to the next. One step at a time, in the order in
// which they are asked for. Knows nothing of grants or knocks.
import type { Family } from '../../../protocol/address.ts';
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
import type { Flow } from '../nftables/sets.ts';
import type { WallClock } from './dated-rules.ts';
import { Elements } from './elements.ts';
import { byKey, cutOf, type Entry, entryKey, entryOf, familyOf, LONG_MS, liveOf, openingOf } from './entries.ts';
import { noOneShot, tooLate } from './errors.ts';
import { Kept } from './kept.ts';
import type { Names } from './names.ts';
import { changeText } from './restore-text.ts';
import { chainLines, type Draft, entryChainLines } from './ruleset.ts';
import { datedEntries, isGate, type SavedTable } from './saved.ts';
import { persistently, Structure } from './structure.ts';
import { stateOf } from './tables.ts';
import type { FamilyTools, Tools } from './tools.ts';

const NOTHING: GateCounters = { knocks: 0, junk: 0, refused: 0, ended: 0 };
// Tunable
/** A wall clock that is off by more makes rules end at the wrong time. */
const CLOCK_SLACK_MS = 1000;
/** By how much an opening may be late at the kernel, on a loaded machine. */
const SLOW_MS = 250;

type Installed = { readonly layout: GateLayout; readonly state: string };

export class IptablesGate {
  readonly #names: Names;
  readonly #tools: Tools;
  readonly #clock: Clock;
  readonly #onTrouble: (text: string) => void;
  #queue: Promise<unknown> = Promise.resolve();
  #installed: Installed | undefined;
  /** The gate is being taken down: what goes is not to be mended. */
  #leaving = false;
  #mending: Promise<unknown> = Promise.resolve();
  readonly #kept: Kept;
  readonly #elements: Elements;
  readonly #structure: Structure;
  /** Rules whose time is over and that are still to be taken out. */
  #over: readonly Entry[] = [];
  /** How far the wall clock was ahead when dated rules were last written. */
  #writtenAheadMs = 0;

  constructor(names: Names, tools: Tools, clock: Clock, onTrouble: (text: string) => void) {
    this.#names = names;
    this.#tools = tools;
    this.#clock = clock;
    this.#onTrouble = onTrouble;
    this.#kept = new Kept(tools.backing);
    this.#elements = new Elements(names, tools);
    this.#structure = new Structure(names);
  }

  layout(): GateLayout | undefined {
    return this.#installed?.layout;
  }

  install(layout: GateLayout, openings: readonly TimedOpening[]): Promise<{ readonly fresh: boolean }> {
    const asked = this.#clock.monotonic();
    return this.#inTurn(async () => {
      if (this.#tools.lacksIpv6()) await this.#tools.adoptIpv6();
      let fresh: boolean | undefined;
      await persistently(async () => {
        const before = await Promise.all(this.#tools.families.map((tools) => this.#structure.read(tools, this.#refuse(layout))));
        const stood = before.some(([mangle]) => mangle !== undefined && isGate(mangle, this.#names));
        // P30f: connections that were there before the gate may have no conntrack entry, and would look new.
        const live = stood ? [] : liveConnections(layout.protect);
        fresh ??= !stood;
        await this.#prepare(openings, asked, before.flat(), live);
        const loading = this.#tools.families.map((tools, at) => this.#structure.load(tools, this.#draft(tools, layout), before[at] ?? []));
        // Nothing of one family goes on behind the back of what comes next.
        await Promise.allSettled(loading);
        const after = (await Promise.all(loading)).flat();
        this.#installed = { layout, state: stateOf(after, this.#names, this.#kept.rules()) };
      });
      return { fresh: fresh === true };
    });
  }

  /** Whether rules, chains and jumps are as installed, the entries that are rules are those that shall be, and no family is left out. */
  intact(): Promise<boolean> {
    return this.#inTurn(async () => {
      if (this.#installed === undefined || this.#tools.lacksIpv6()) return false;
      return (await this.#state(this.#installed.layout)) === this.#installed.state;
    });
  }

  /**
   * The rules of these families are gone: loads them at once, without a look at what is there and without waiting for the step that is under way,
   * which looks and writes again when it finds something else than it meant. Whoever calls it has the gate looked at afterwards: if something was
   * there the way to us stands twice until then.
   */
  mend(families: readonly Family[]): Promise<void> {
    const layout = this.#installed?.layout;
    if (layout === undefined || this.#leaving) return Promise.resolve();
    const tools = this.#tools.families.filter(({ family }) => families.includes(family));
    const loading = tools.map((each) => this.#structure.mend(each, this.#draft(each, layout)));
    const mending = Promise.allSettled([this.#mending, ...loading]);
    this.#mending = mending;
    return mending.then(async () => {
      await Promise.all(loading);
      this.#onTrouble('somebody flushed the rules that the gate stood in: it was put back at once');
    });
  }

  /** What stands open, and what is cut, as far as we know: without a look at the kernel. */
  held(): { readonly open: readonly TimedOpening[]; readonly cut: readonly Opening[] } {
    const now = this.#clock.monotonic();
    const entries = this.#kept.all().filter(({ deadlineMs }) => deadlineMs > now);
    return {
      open: entries.flatMap((entry) => {
        const opening = openingOf(entry);
        return opening === undefined ? [] : [{ opening, remainingMs: entry.deadlineMs - now }];
      }),
      cut: entries.filter(({ kind }) => kind === 'cut').map((entry) => ({ ...openingFor(entry), kind: 'grant', sourcePort: 0 })),
    };
  }

  /** How many entries, as iptables-legacy counts them, the gate has in one family: each rule, and two for each chain. 0 without a gate. */
  entryCount(family: Family): number {
    const layout = this.#installed?.layout;
    const tools = this.#tools.families.find((each) => each.family === family);
    if (layout === undefined || tools === undefined) return 0;
    return chainLines(this.#draft(tools, layout)).reduce((count, line) => count + (line.startsWith(':') ? 2 : 1), 0);
  }

  open(openings: readonly TimedOpening[]): Promise<void> {
    if (openings.some(({ opening }) => admitsOnce(opening.kind))) return Promise.reject(noOneShot());
    const asked = this.#clock.monotonic();
    const opened = openings.flatMap((timed) => entryFor(timed, asked) ?? []);
    const cutBack = opened.map((entry) => cutOf(openingFor(entry), asked));
    return this.#inTurn(async () => {
      if (opened.length === 0) return;
      const now = this.#clock.monotonic();
      if (opened.some(({ deadlineMs }) => deadlineMs - now < SHORTEST_OPENING_MS - SLOW_MS)) throw tooLate();
      const before = [...opened, ...cutBack].map((entry) => [entryKey(entry), this.#kept.get(entryKey(entry))] as const);
      try {
        await this.#change(opened, cutBack, now, 'open');
      } catch (error) {
        await this.#takeBack(opened, before);
        throw error;
      }
    });
  }

  close(openings: readonly Opening[], cut: boolean): Promise<void> {
    const asked = this.#clock.monotonic();
    const closed = openings.flatMap((opening) => entryOf(opening, asked) ?? []);
    const cuts = [...byKey(cut ? openings.map((opening) => cutOf(opening, later(asked, LONG_MS))) : []).values()];
    return this.#inTurn(async () => {
      if (openings.length === 0) return;
      try {
        await this.#change(cuts, closed, this.#clock.monotonic(), 'close');
      } catch (error) {
        // Nothing is opened again because closing failed: the gate is not the one we mean, and whoever looks after it loads it anew.
        this.#installed = undefined;
        // What can be closed is, also when there is no room for those that are cut.
        await this.#elements.change([], closed, this.#clock.monotonic(), 'close').catch(() => undefined);
        throw error;
      }
    });
  }

  standing(kinds?: readonly Opening['kind'][]): Promise<readonly TimedOpening[]> {
    // There are none here.
    if (kinds?.every(admitsOnce) === true) return Promise.resolve([]);
    return this.#inTurn(async () => {
      const tables = await Promise.all(this.#tools.families.map((tools) => tools.read('mangle')));
      const now = this.#clock.monotonic();
      const elements = await this.#elements.standing(now);
      const entries = [...elements.values(), ...tables.flatMap((table) => datedEntries(table, this.#names))];
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
      const counters = await Promise.all(this.#tools.families.map((tools) => this.#structure.counters(tools)));
      return counters.reduce(sum, NOTHING);
    });
  }

  remove(): Promise<void> {
    return this.#inTurn(async () => {
      this.#leaving = true;
      try {
        await this.#mending;
        await persistently(async () => {
          for (const tools of this.#tools.families) await this.#structure.remove(tools, this.#refuse());
        });
        this.#installed = undefined;
      } finally {
        this.#leaving = false;
      }
      this.#kept.replace([]);
      const left = await this.#elements.destroy();
      if (left !== undefined) this.#onTrouble(`${left.message}: without the gate they mean nothing`);
    });
  }

  /** Takes out rules whose time is over, sees to the sets, and follows a wall clock that was set. */
  sweep(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#installed === undefined) return;
      const now = this.#clock.monotonic();
      // What could not be taken out stays on the list.
      this.#over = [...this.#over, ...this.#kept.expire(now)];
      const drifted = this.#tools.matchesTime && Math.abs(this.#aheadMs() - this.#writtenAheadMs) > CLOCK_SLACK_MS;
      await this.#writeRules(drifted ? [...this.#over, ...this.#kept.rules()] : this.#over, 'sweep the grants');
      this.#over = [];
      const elements = this.#kept.elements();
      if (await this.#elements.hasFewer(elements, now)) {
        this.#onTrouble('somebody took entries out of the sets of the gate: live grants are put back');
        await this.#elements.fill(byKey(elements), await this.#elements.standing(now), now);
      }
      await this.#elements.renew(elements, now);
    });
  }

  /** When the next rule's time is over. */
  nextDeadlineMs(): MonotonicMs | undefined {
    return this.#kept.nextDeadlineMs();
  }

  /** What the gate shall hold, and the sets with it: a rule of the gate must find them filled. */
  async #prepare(
    openings: readonly TimedOpening[],
    asked: MonotonicMs,
    before: readonly SavedTable[],
    live: readonly Flow[],
  ): Promise<void> {
    const now = this.#clock.monotonic();
    const opened = openings.flatMap((timed) => entryFor(timed, asked) ?? []);
    const cutBack = new Set(opened.map((entry) => entryKey(cutOf(openingFor(entry), asked))));
    const standing = await this.#elements.standing(now);
    // What the daemon does not know of: what was cut, here or in the kernel, stays cut.
    const known = [...standing.values(), ...before.flatMap((table) => datedEntries(table, this.#names)), ...this.#kept.all()];
    const carried = known.filter(({ kind, deadlineMs }) => (kind === 'cut' || kind === 'live') && deadlineMs > now);
    const lived = live.map((flow) => liveOf(flow, later(now, LONG_MS)));
    const entries = byKey([...carried.filter((entry) => !cutBack.has(entryKey(entry))), ...lived, ...opened]);
    this.#installed = undefined;
    this.#writtenAheadMs = this.#aheadMs();
    await this.#elements.fill(entries, standing, now);
    this.#kept.replace(entries);
    this.#over = [];
  }

  /** In the sets and rules of the kernel; what is kept is as it shall be, whether this succeeds or not. */
  async #change(added: readonly Entry[], removed: readonly Entry[], now: MonotonicMs, doing: string): Promise<void> {
    const touched = [...added, ...removed].filter((entry) => this.#kept.isRule(entry));
    for (const entry of removed) this.#kept.set(entryKey(entry), undefined);
    for (const entry of added) this.#kept.set(entryKey(entry), entry);
    await this.#elements.change(added, removed, now, doing);
    await this.#writeRules(touched, doing);
  }

  /** What was done before the step that failed is undone; if that fails too, the gate is not the one we mean and is loaded anew. */
  async #takeBack(opened: readonly Entry[], before: readonly (readonly [string, Entry | undefined])[]): Promise<void> {
    for (const [key, entry] of before) this.#kept.set(key, entry);
    const former = before.flatMap(([, entry]) => entry ?? []);
    const formerKeys = new Set(former.map(entryKey));
    const now = this.#clock.monotonic();
    try {
      // One by one: an element that does not fit must not keep the others from being taken out.
      await this.#elements.change(
        [],
        opened.filter((entry) => !formerKeys.has(entryKey(entry))),
        now,
        'take back',
      );
      await this.#elements.change(former, [], now, 'take back');
      await this.#writeRules(
        opened.filter((entry) => this.#kept.isRule(entry)),
        'take back',
      );
    } catch {
      this.#installed = undefined;
    }
  }

  /** Loads the chains that these entries are in, as what is kept says. */
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

  async #state(layout: GateLayout): Promise<string> {
    const tables = await Promise.all(this.#tools.families.map((tools) => this.#structure.read(tools, this.#refuse(layout))));
    return stateOf(tables.flat(), this.#names, this.#kept.rules());
  }

  /** What the gate may do with what it refuses, as far as we know. */
  #refuse(layout?: GateLayout): readonly GateLayout['refuse'][] {
    return [layout, this.#installed?.layout].flatMap((each) => each?.refuse ?? []);
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
