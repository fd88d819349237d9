// Who holds which opening for how long. The truth that the firewall is made to follow; it never talks to the firewall itself.
import type { IpAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import { type MonotonicMs, monotonicMs } from '../clock.ts';
import { admitsOnce, type GrantKind, type Opening, openingKey, SHORTEST_OPENING_MS, type TimedOpening } from '../firewall/firewall.ts';
import type { Hooks } from '../hooks/hook.ts';
import type { AllowedService, Authorized } from '../policy/authorized.ts';

/** One service, open for one client at one address. */
export type Grant = {
  /** Short, for people: `g17`. Never used twice by one ledger of grants. */
  readonly id: string;
  readonly client: string;
  /** keyId of the client's key: a rename or a removal cannot confuse owners. Or BY_HAND. */
  readonly key: string;
  readonly address: IpAddress;
  readonly label: string;
  readonly ports: readonly PortRange[];
  readonly kind: GrantKind;
  readonly sourcePort: number;
  /** `sent at` of the youngest knock that opened or prolonged it: a close ends only what is older. */
  readonly sentAtMs: UnixMs;
  readonly grantedAtMs: UnixMs;
  /** CLOCK_MONOTONIC, like the kernel's own timeouts: a step of the wall clock moves nothing. */
  readonly deadlineMs: MonotonicMs;
  readonly hooks: Hooks;
  /** A one-shot that was used: it admits nobody any more, and lives for the connection that ends with it. */
  readonly spent?: true | undefined;
};

/** What granting means for the firewall. */
export type GrantPlan = { readonly grants: readonly Grant[]; readonly open: readonly TimedOpening[] };

/** What ending means for the firewall. */
export type EndPlan = {
  /** These stand on, for the time that their other owners have. */
  readonly open: readonly TimedOpening[];
  /** Nobody has the address and port any more: connections may be cut. */
  readonly shut: readonly Opening[];
  /** Shut too, but somebody holds the same address and port by another kind of grant: a cut would end and bar that one's connections (P30b). */
  readonly shutOnly: readonly Opening[];
};

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
}: Pick<Grant, 'ports' | 'kind' | 'address' | 'sourcePort' | 'spent'>): readonly Opening[] {
  const kinds = kindsOf({ kind, spent });
  return ports.flatMap(({ protocol, first, last }) =>
    Array.from({ length: last - first + 1 }, (_, at) => first + at).flatMap((port) =>
      kinds.map((each) => ({ kind: each, address, protocol, port, sourcePort })),
    ),
  );
}

/** The `key` of grants that an administrator opened. No key's id: no client's close and no reload of the rules ends them. */
export const BY_HAND = 'administrator';

export function isByHand(grant: Pick<Grant, 'key'>): boolean {
  return grant.key === BY_HAND;
}

type Owner = { readonly client: string; readonly key: string };

export class GrantBook {
  readonly #grants = new Map<string, Grant>();
  // With 100,000 live grants a knock must not look at each: it meets only those of its address and of its client.
  readonly #byAddress = new Map<string, Set<string>>();
  readonly #byClient = new Map<string, Set<string>>();
  /** By the second in which they end, so that a sweep looks at those alone. */
  readonly #bySecond = new Map<number, Set<string>>();
  #lastNumber = 0;

  get size(): number {
    return this.#grants.size;
  }

  all(): readonly Grant[] {
    return [...this.#grants.values()];
  }

  /** In no order. May be walked in slices: grants that come or go meanwhile may or may not be met, others are. */
  each(): Iterable<Grant> {
    return this.#grants.values();
  }

  /** Those that end first at the top, to the second. May be walked in slices, like `each`. */
  *soonestFirst(): Generator<Grant, void> {
    // Numbers of their own kind are sorted without a call for each pair, which would be a stall with a hundred thousand.
    for (const second of Float64Array.from(this.#bySecond.keys()).sort()) yield* this.#lazily(this.#bySecond.get(second));
  }

  at(address: IpAddress): readonly Grant[] {
    return this.#pick(this.#byAddress.get(address.text));
  }

  of(client: string): readonly Grant[] {
    return this.#pick(this.#byClient.get(client));
  }

  get(id: string): Grant | undefined {
    return this.#grants.get(id);
  }

  /** Live grants that one client knocked for, by name: what `max_grants` limits. */
  countOf(client: string, now: MonotonicMs): number {
    return this.of(client).filter((grant) => grant.deadlineMs > now && !isByHand(grant)).length;
  }

  isLive(owner: Owner, address: IpAddress, service: AllowedService, now: MonotonicMs): boolean {
    return this.#twin(owner, address, service, now) !== undefined;
  }

  /**
   * What granting would change; nothing changes until `put`. A repeated knock prolongs and never shortens (P25):
   * each opening stands until the last of its owners' deadlines.
   */
  plan(owner: Owner, request: Authorized, sentAtMs: UnixMs, wall: UnixMs, now: MonotonicMs): GrantPlan {
    const grants = request.services.map((service): Grant => {
      const deadlineMs = monotonicMs(now + service.lifetimeSeconds * 1000);
      const twin = this.#twin(owner, request.address, service, now);
      if (twin === undefined) {
        this.#lastNumber += 1;
        const { label, ports, kind, sourcePort, hooks } = service;
        const id = `g${this.#lastNumber}`;
        return { id, ...owner, address: request.address, label, ports, kind, sourcePort, sentAtMs, grantedAtMs: wall, deadlineMs, hooks };
      }
      return {
        ...twin,
        sentAtMs: sentAtMs > twin.sentAtMs ? sentAtMs : twin.sentAtMs,
        deadlineMs: monotonicMs(Math.max(deadlineMs, twin.deadlineMs)),
      };
    });
    const changed = new Map(grants.map((grant) => [grant.id, grant]));
    return { grants, open: this.#timed(grants.flatMap(openingsOf), changed, new Set(), now) };
  }

  /** What ending these grants would change: an opening that somebody else owns too stands for them (P30b), the rest is shut. */
  planEnd(ending: readonly Grant[], now: MonotonicMs): EndPlan {
    const gone = new Set(ending.map((grant) => grant.id));
    const openings = unique(ending.flatMap(openingsOf));
    // What is left for another owner may be too short to be set anew: shut, or it would stand for the time of the one that ends.
    const open = this.#timed(openings, new Map(), gone, now).filter(({ remainingMs }) => remainingMs >= SHORTEST_OPENING_MS);
    const kept = new Set(open.map(({ opening }) => openingKey(opening)));
    const shut = openings.filter((opening) => !kept.has(openingKey(opening)));
    const held = new Set(
      [...new Map(ending.map(({ address }) => [address.text, address])).values()]
        .flatMap((address) => this.at(address))
        .filter((grant) => !gone.has(grant.id) && grant.deadlineMs > now)
        .flatMap(openingsOf)
        .map(doorKey),
    );
    return {
      open,
      shut: shut.filter((opening) => !held.has(doorKey(opening))),
      shutOnly: shut.filter((opening) => held.has(doorKey(opening))),
    };
  }

  put(grants: readonly Grant[]): void {
    for (const grant of grants) {
      const before = this.#grants.get(grant.id);
      if (before !== undefined) left(this.#bySecond, secondOf(before), grant.id);
      this.#grants.set(grant.id, grant);
      entered(this.#byAddress, grant.address.text, grant.id);
      entered(this.#byClient, grant.client, grant.id);
      entered(this.#bySecond, secondOf(grant), grant.id);
      this.#lastNumber = Math.max(this.#lastNumber, Number(grant.id.slice(1)));
    }
  }

  remove(grants: readonly Grant[]): void {
    for (const grant of grants) {
      const standing = this.#grants.get(grant.id);
      if (standing !== undefined) left(this.#bySecond, secondOf(standing), grant.id);
      this.#grants.delete(grant.id);
      left(this.#byAddress, grant.address.text, grant.id);
      left(this.#byClient, grant.client, grant.id);
    }
  }

  /**
   * Grants whose time is over. The kernel has closed them already; this is for the log and the book. May be walked in slices, and each may be
   * removed when it was met.
   */
  *expired(now: MonotonicMs): Generator<Grant, void> {
    // As many seconds as grants last, at most: 2,592,000 for thirty days, of which those with grants are kept.
    for (const [second, ids] of this.#bySecond) {
      if (second * 1000 > now) continue;
      for (const grant of this.#lazily(ids)) if (grant.deadlineMs <= now) yield grant;
    }
  }

  /**
   * Every opening that shall stand now, for a gate that is loaded anew: those of one address after the other, so that it may be walked in slices.
   * `spent` are one-shots that were used.
   */
  *standing(now: MonotonicMs, spent: (opening: Opening) => boolean): Generator<readonly TimedOpening[], void> {
    for (const ids of this.#byAddress.values()) {
      const openings = this.#pick(ids).flatMap(openingsOf);
      yield this.#timed(openings, new Map(), new Set(), now).filter(({ opening }) => !admitsOnce(opening.kind) || !spent(opening));
    }
  }

  *#lazily(ids: ReadonlySet<string> | undefined): Generator<Grant, void> {
    for (const id of ids ?? []) {
      const grant = this.#grants.get(id);
      if (grant !== undefined) yield grant;
    }
  }

  #pick(ids: ReadonlySet<string> | undefined): readonly Grant[] {
    return [...(ids ?? [])].flatMap((id) => this.#grants.get(id) ?? []);
  }

  #twin(owner: Owner, address: IpAddress, service: AllowedService, now: MonotonicMs): Grant | undefined {
    // One client has a few dozen; at one address there may be ten thousand people.
    return this.of(owner.client).find(
      (grant) =>
        grant.key === owner.key &&
        grant.address.text === address.text &&
        grant.label === service.label &&
        grant.kind === service.kind &&
        // A service may have been given other ports since: what is open under the old ones must stay known, to be ended.
        samePorts(grant.ports, service.ports) &&
        grant.sourcePort === service.sourcePort &&
        grant.spent !== true &&
        grant.deadlineMs > now,
    );
  }

  /** Each opening once, with the time until the last deadline among its owners; without live owners it is left out. */
  #timed(
    openings: readonly Opening[],
    changed: ReadonlyMap<string, Grant>,
    gone: ReadonlySet<string>,
    now: MonotonicMs,
  ): readonly TimedOpening[] {
    // By numbers, not by the text of each opening: a thousand people behind one address may each hold a range of a hundred ports.
    const doors = new Map<string, Map<number, { readonly opening: Opening; deadline: number }>>();
    for (const opening of openings) {
      const key = wayKey(opening.address, opening.protocol, opening);
      const ports = doors.get(key) ?? new Map<number, { readonly opening: Opening; deadline: number }>();
      doors.set(key, ports);
      if (!ports.has(opening.port)) ports.set(opening.port, { opening, deadline: 0 });
    }
    const addresses = new Map(openings.map((opening) => [opening.address.text, opening.address]));
    for (const address of addresses.values()) {
      for (const grant of this.at(address)) if (!changed.has(grant.id) && !gone.has(grant.id)) prolong(doors, grant);
    }
    for (const grant of changed.values()) if (!gone.has(grant.id)) prolong(doors, grant);
    return [...doors.values()].flatMap((ports) =>
      [...ports.values()]
        .filter(({ deadline }) => deadline > now)
        .map(({ opening, deadline }) => ({ opening, remainingMs: deadline - now })),
    );
  }
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

function secondOf(grant: Grant): number {
  return Math.floor(grant.deadlineMs / 1000);
}

function entered<K>(index: Map<K, Set<string>>, key: K, id: string): void {
  const ids = index.get(key);
  if (ids === undefined) index.set(key, new Set([id]));
  else ids.add(id);
}

function left<K>(index: Map<K, Set<string>>, key: K, id: string): void {
  const ids = index.get(key);
  ids?.delete(id);
  if (ids?.size === 0) index.delete(key);
}

/** What connections go through, whatever kind of grant let them: a cut knows no more of them. */
function doorKey({ address, protocol, port }: Opening): string {
  return `${address.text} ${protocol} ${port}`;
}

function samePorts(one: readonly PortRange[], other: readonly PortRange[]): boolean {
  return one.map(formatPortRange).join(' ') === other.map(formatPortRange).join(' ');
}

function unique(openings: readonly Opening[]): readonly Opening[] {
  return [...new Map(openings.map((opening) => [openingKey(opening), opening])).values()];
}
