// Allow entries that give what an earlier one gives already. The first entry that holds a service decides about it, whatever its networks and
// times are, so that the later one is not asked there. Names both places. Pure.
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import { coveredBy, overlap } from '../config/ranges.ts';
import { formatPlace, type Problem, problemAt } from '../problem.ts';
import type { RuleFileDraft } from './read-rule-file.ts';
import type { AllowEntry, NamedService, RuleBook } from './rulebook.ts';

/** Within each file, and between the files that one client stands in. */
export function overlapWarnings(book: RuleBook, files: readonly Pick<RuleFileDraft, 'allow'>[]): readonly Problem[] {
  const within = files.flatMap(({ allow }) => allow.flatMap((entry, at) => overlaps(entry, allow.slice(0, at), '')));
  const between = sharedFiles(book).flatMap(({ earlier, later, who }) => later.flatMap((entry) => overlaps(entry, earlier, `for ${who} `)));
  return [...within, ...between];
}

/** `what` of the later entry is decided by `by`; `wholly`: the whole of one of its services. */
type Decided = { readonly what: string; readonly by: AllowEntry; readonly wholly: boolean };

function overlaps(entry: AllowEntry, earlier: readonly AllowEntry[], forWhom: string): readonly Problem[] {
  // A knock that names nothing passes by what is given only when asked for.
  const before = earlier.filter((other) => other.byDefault || !entry.byDefault);
  const decided = entry.services.flatMap((service) => decidedOf(service, before));
  const warn = (message: string, by: AllowEntry): Problem => {
    const differing = differences(entry, by);
    const contradiction = differing.length === 0 ? '' : `, and says something else of ${differing.join(', ')}`;
    const cure = differing.some((key) => key === 'from' || key === 'when')
      ? 'the first entry that gives a service decides about it, whatever its from and when are: make one entry of them'
      : 'put it first, or remove it';
    return problemAt(entry.place, `${message}${contradiction}`, cure, 'warning');
  };
  const [first, ...others] = [...new Set(decided.map(({ by }) => by))];
  if (first === undefined) return [];
  if (decided.length === entry.services.length && decided.every(({ wholly }) => wholly)) {
    const all = [first, ...others].map(({ place }) => formatPlace(place));
    const which = all.length === 1 ? `the one at ${all[0]} decides` : `those at ${all.join(' and ')} decide`;
    return [warn(`${forWhom}this entry is never reached: ${which} all that it gives`, first)];
  }
  return [first, ...others].map((by) => {
    const what = decided.filter((each) => each.by === by).map((each) => each.what);
    return warn(`${forWhom}the entry at ${formatPlace(by.place)} decides ${what.join(', ')} already`, by);
  });
}

function decidedOf(service: NamedService, before: readonly AllowEntry[]): readonly Decided[] {
  const whole = before.find(({ services }) => service.ports.every((range) => services.some(({ ports }) => coveredBy(ports, range))));
  if (whole !== undefined) return [{ what: service.name, by: whole, wholly: true }];
  return before.flatMap((by) => {
    const shared = by.services.flatMap(({ ports }) => ports.flatMap((a) => service.ports.flatMap((b) => common(a, b))));
    return shared.length === 0 ? [] : [{ what: `${shared.map(formatPortRange).join(', ')} of ${service.name}`, by, wholly: false }];
  });
}

function common(a: PortRange, b: PortRange): readonly PortRange[] {
  return overlap(a, b) ? [{ protocol: a.protocol, first: Math.max(a.first, b.first), last: Math.min(a.last, b.last) }] : [];
}

/** Pairs of files that stand one behind the other for somebody, each pair once. */
function sharedFiles(
  book: RuleBook,
): readonly { readonly earlier: readonly AllowEntry[]; readonly later: readonly AllowEntry[]; readonly who: string }[] {
  type Pair = { readonly earlier: readonly AllowEntry[]; readonly later: readonly AllowEntry[]; readonly clients: string[] };
  const pairs = new Map<string, Pair>();
  for (const { name, allow } of book.clients) {
    // In deciding order: one file behind the other. Nearly everybody stands in one.
    if (allow[0]?.place.file === allow.at(-1)?.place.file) continue;
    const own = [...new Set(allow.map(({ place }) => place.file))];
    const entriesOf = (file: string): readonly AllowEntry[] => allow.filter(({ place }) => place.file === file);
    own.forEach((file, at) => {
      for (const earlierFile of own.slice(0, at)) {
        const key = `${earlierFile}\0${file}`;
        const pair = pairs.get(key) ?? { earlier: entriesOf(earlierFile), later: entriesOf(file), clients: [] };
        pairs.set(key, pair);
        pair.clients.push(name);
      }
    });
  }
  return [...pairs.values()].map(({ earlier, later, clients }) => {
    const more = clients.length - 1;
    return { earlier, later, who: `client "${clients[0]}"${more === 0 ? '' : ` and ${more} more`}` };
  });
}

/** What two entries say differently, by the keys of the file. */
function differences(a: AllowEntry, b: AllowEntry): readonly string[] {
  const networks = ({ from }: AllowEntry): string => (from ?? []).map(({ text }) => text).join();
  const keys: readonly (readonly [key: string, of: (entry: AllowEntry) => unknown])[] = [
    ['from', networks],
    ['when', ({ when }) => when],
    ['ttl', ({ ttlSeconds }) => ttlSeconds],
    ['max_ttl', ({ maxTtlSeconds }) => maxTtlSeconds],
    ['once', ({ once }) => once],
    ['sessions', ({ sessions }) => sessions],
    ['require_source', ({ requireSource }) => requireSource],
    ['on_behalf', ({ onBehalf }) => onBehalf],
    ['on_open', ({ hooks }) => hooks.onOpen],
    ['on_close', ({ hooks }) => hooks.onClose],
  ];
  return keys.filter(([, of]) => JSON.stringify(of(a)) !== JSON.stringify(of(b))).map(([key]) => key);
}
