// Which requests make a gate, open it, close it. Pure: from what is wanted to one transaction.
import { type GateCounters, type GateLayout, type Opening, SHORTEST_OPENING_MS, type TimedOpening } from '../firewall.ts';
import type { Element } from './element-list.ts';
import {
  addElements,
  deleteTable,
  newChain,
  newCounter,
  newProtectedSet,
  newRule,
  newSet,
  newTable,
  type Request,
  removeElements,
  replaceElements,
} from './requests.ts';
import { CUT_TIMEOUT_MS, cutKeyBytes, cutSet, openingKeyBytes, openingSet, PROTECTED_SET, protectedKeyBytes, setSpecs } from './sets.ts';
import { COUNTERS, gateChains } from './structure.ts';

/** Elements by the name of their set, each once: the last one given counts. */
type BySet = ReadonlyMap<string, readonly Element[]>;

function bySet(entries: readonly (readonly [set: string, element: Element])[]): BySet {
  const sets = new Map<string, Map<string, Element>>();
  for (const [set, element] of entries) {
    const elements = sets.get(set) ?? new Map<string, Element>();
    elements.set(Buffer.from(element.key).toString('latin1'), element);
    sets.set(set, elements);
  }
  return new Map([...sets].map(([set, elements]) => [set, [...elements.values()]]));
}

/** The openings alone, into a table that is there, or that the same transaction makes. */
export function openingRequests(table: string, openings: readonly TimedOpening[]): readonly Request[] {
  return [...openingElements(openings)].flatMap(([set, list]) => addElements(table, set, list));
}

/** Names the elements of `cut` sets that these openings put out of force. */
export function cutNames(openings: readonly TimedOpening[]): readonly string[] {
  return openings.map(({ opening }) => cutName(cutSet(opening.address.family), cutKeyBytes(opening)));
}

function cutName(set: string, key: Uint8Array): string {
  return `${set} ${Buffer.from(key).toString('latin1')}`;
}

function openingElements(openings: readonly TimedOpening[]): BySet {
  return bySet(
    openings
      .filter(({ remainingMs }) => remainingMs >= SHORTEST_OPENING_MS)
      .map(({ opening, remainingMs }) => [
        openingSet(opening.kind, opening.address.family),
        { key: openingKeyBytes(opening), timeoutMs: Math.floor(remainingMs) },
      ]),
  );
}

function cutElements(openings: readonly Opening[]): BySet {
  return bySet(openings.map((opening) => [cutSet(opening.address.family), { key: cutKeyBytes(opening), timeoutMs: CUT_TIMEOUT_MS }]));
}

/** Exactly these times from now, whatever stood before; and nothing of them is cut any more. */
export function openRequests(table: string, openings: readonly TimedOpening[]): readonly Request[] {
  const opened = openings.filter(({ remainingMs }) => remainingMs >= SHORTEST_OPENING_MS);
  return [
    ...[...openingElements(opened)].flatMap(([set, elements]) => replaceElements(table, set, elements)),
    ...[...cutElements(opened.map(({ opening }) => opening))].flatMap(([set, elements]) =>
      removeElements(
        table,
        set,
        elements.map(({ key }) => key),
      ),
    ),
  ];
}

export function closeRequests(table: string, openings: readonly Opening[], cut: boolean): readonly Request[] {
  const entries = bySet(
    openings.map((opening) => [openingSet(opening.kind, opening.address.family), { key: openingKeyBytes(opening), timeoutMs: undefined }]),
  );
  return [
    ...[...entries].flatMap(([set, elements]) =>
      removeElements(
        table,
        set,
        elements.map(({ key }) => key),
      ),
    ),
    ...(cut ? [...cutElements(openings)].flatMap(([set, elements]) => replaceElements(table, set, elements)) : []),
  ];
}

/** What a new gate takes over besides its openings: elements by set, and the counters. */
export type Carried = { readonly elements: ReadonlyMap<string, readonly Element[]>; readonly counters: GateCounters };

/** Openings on their way into a gate: their requests, and the cut elements that they put out of force. */
export type EncodedOpenings = { readonly requests: readonly Request[]; readonly cutNames: ReadonlySet<string> };

/** Few openings; many are encoded in slices (many-openings.ts). */
export function encodeOpenings(table: string, openings: readonly TimedOpening[]): EncodedOpenings {
  return { requests: openingRequests(table, openings), cutNames: new Set(cutNames(openings)) };
}

/**
 * The whole gate with its elements, in the place of whatever table of that name stands. The first request creates the table only to make the
 * second, its deletion, valid in any case; nobody ever sees that state.
 */
export function installRequests(
  table: string,
  tableFlags: number,
  layout: GateLayout,
  openings: EncodedOpenings,
  carried: Carried,
): readonly Request[] {
  const specs = setSpecs(layout.sieve.kind === 'none' ? undefined : layout.tagCapacity);
  const chains = gateChains(layout);
  const single = layout.protect.filter(({ first, last }) => first === last);
  return [
    newTable(table),
    deleteTable(table),
    newTable(table, tableFlags),
    ...COUNTERS.map((name) => newCounter(table, name, carried.counters[name])),
    ...specs.map((spec, at) => newSet(table, spec, at + 1)),
    newProtectedSet(table, specs.length + 1),
    ...chains.map((chain) => newChain(table, chain)),
    ...addElements(
      table,
      PROTECTED_SET,
      single.map(({ protocol, first }) => ({ key: protectedKeyBytes(protocol, first), timeoutMs: undefined })),
    ),
    ...chains.flatMap(({ name, rules }) => rules.map((rule) => newRule(table, name, rule))),
    ...openings.requests,
    ...[...carried.elements].flatMap(([set, list]) =>
      addElements(
        table,
        set,
        list.filter(({ key }) => !openings.cutNames.has(cutName(set, key))),
      ),
    ),
  ];
}
