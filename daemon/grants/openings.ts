// Which openings grants consist of, and how long each stands when several grants hold it. Pure; keeps nothing.
import type { IpAddress } from '../../protocol/address.ts';
import type { MonotonicMs } from '../clock.ts';
import { type Opening, openingKey, type TimedOpening } from '../firewall/firewall.ts';
import type { Grant } from './grant-book.ts';

/** The kinds of opening that a grant consists of. The one connection of `once-ending` needs another one to go on. */
function kindsOf({ kind, spent }: Pick<Grant, 'kind' | 'spent'>): readonly Opening['kind'][] {
  if (kind !== 'once-ending') return spent === true ? [] : [kind];
  return spent === true ? ['lasting'] : [kind, 'lasting'];
}

/** The openings of a grant, ranges expanded to ports. */
export function openingsOf({
  ports,
  kind,
  address,
  sourcePort,
  spent,
}: Pick<Grant, 'ports' | 'kind' | 'address' | 'sourcePort'> & { readonly spent?: true | undefined }): readonly Opening[] {
  const kinds = kindsOf(spent === undefined ? { kind } : { kind, spent });
  return ports.flatMap(({ protocol, first, last }) =>
    Array.from({ length: last - first + 1 }, (_, at) => first + at).flatMap((port) =>
      kinds.map((each) => ({ kind: each, address, protocol, port, sourcePort })),
    ),
  );
}

/** Each opening once, with the time until the last deadline among the holders; what none of them holds is left out. */
export function heldOpenings(openings: readonly Opening[], holders: Iterable<Grant>, now: MonotonicMs): readonly TimedOpening[] {
  // By numbers, not by the text of each opening: a thousand people behind one address may each hold a range of a hundred ports.
  const doors = new Map<string, Map<number, { readonly opening: Opening; deadline: number }>>();
  for (const opening of openings) {
    const key = wayKey(opening.address, opening.protocol, opening);
    const ports = doors.get(key) ?? new Map<number, { readonly opening: Opening; deadline: number }>();
    doors.set(key, ports);
    if (!ports.has(opening.port)) ports.set(opening.port, { opening, deadline: 0 });
  }
  for (const grant of holders) prolong(doors, grant);
  return [...doors.values()].flatMap((ports) =>
    [...ports.values()].filter(({ deadline }) => deadline > now).map(({ opening, deadline }) => ({ opening, remainingMs: deadline - now })),
  );
}

type Doors = ReadonlyMap<string, ReadonlyMap<number, { deadline: number }>>;

/** Each door that the grant holds open stands at least until its deadline. */
function prolong(doors: Doors, grant: Grant): void {
  for (const kind of kindsOf(grant)) {
    for (const { protocol, first, last } of grant.ports) {
      const ports = doors.get(wayKey(grant.address, protocol, { kind, sourcePort: grant.sourcePort }));
      if (ports === undefined) continue;
      for (let port = first; port <= last; port += 1) {
        const door = ports.get(port);
        if (door !== undefined) door.deadline = Math.max(door.deadline, grant.deadlineMs);
      }
    }
  }
}

/** All of an opening but its port. */
function wayKey(address: IpAddress, protocol: Opening['protocol'], { kind, sourcePort }: Pick<Opening, 'kind' | 'sourcePort'>): string {
  return `${address.text} ${protocol} ${kind} ${sourcePort}`;
}

/** What connections go through, whatever kind of grant let them: a cut knows no more of them. */
export function doorKey({ address, protocol, port }: Opening): string {
  return `${address.text} ${protocol} ${port}`;
}

/** Each once. */
export function unique(openings: readonly Opening[]): readonly Opening[] {
  return [...new Map(openings.map((opening) => [openingKey(opening), opening])).values()];
}
