// Who holds which opening for how long. The truth that the firewall is made to follow; it never talks to the firewall itself.
import { type IpAddress, parseAddress } from '../../protocol/address.ts';
import type { UnixMs } from '../../protocol/brand.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';
import { type MonotonicMs, monotonicMs } from '../clock.ts';
import { admitsOnce, type GrantKind, type Opening, openingKey, SHORTEST_OPENING_MS, type TimedOpening } from '../firewall/firewall.ts';
import type { Hooks } from '../hooks/hook.ts';
import type { AllowedService, Authorized } from '../policy/authorized.ts';
import { doorKey, heldOpenings, openingsOf, unique } from './openings.ts';

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
  readonly spent?: true;
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
  readonly #oneShots = new Set<string>();
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

  /** Those that end first at the top, to the second. May be walked in slices, like `each`. Seconds that are past are left out as a whole. */
  *soonestFirst(now = monotonicMs(0)): Generator<Grant, void> {
    // Numbers of their own kind are sorted without a call for each pair, which would be a stall with a hundred thousand.
    for (const second of Float64Array.from(this.#bySecond.keys()).sort()) {
      if ((second + 1) * 1000 > now) yield* this.#lazily(this.#bySecond.get(second));
    }
  }

  /** Those that may still admit somebody, once: only the kernel knows which of them were used. */
  oneShots(): readonly Grant[] {
    return this.#pick(this.#oneShots);
  }

  at(address: IpAddress): readonly Grant[] {
    return this.#pick(this.#byAddress.get(address.text));
  }

  of(client: string): readonly Grant[] {
    return this.#pick(this.#byClient.get(client));
  }

  /** What one of these names: a grant's id, a client's name, an address. */
  named(who: string): readonly Grant[] {
    const address = parseAddress(who);
    const byId = this.#grants.get(who);
    const found = [...(byId === undefined ? [] : [byId]), ...this.of(who), ...(address.ok ? this.at(address.value) : [])];
    return [...new Set(found)];
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
        const { client, key } = owner;
        const id = `g${this.#lastNumber}`;
        return {
          id,
          client,
          key,
          address: request.address,
          label,
          ports,
          kind,
          sourcePort,
          sentAtMs,
          grantedAtMs: wall,
          deadlineMs,
          hooks,
        };
      }
      return {
        ...twin,
        sentAtMs: sentAtMs > twin.sentAtMs ? sentAtMs : twin.sentAtMs,
        deadlineMs: monotonicMs(Math.max(deadlineMs, twin.deadlineMs)),
      };
    });
    const changed = new Map(grants.map((grant) => [grant.id, grant]));
    return { grants, open: this.#held(grants.flatMap(openingsOf), changed, new Set(), now) };
  }

  /** What ending these grants would change: an opening that somebody else owns too stands for them (P30b), the rest is shut. */
  planEnd(ending: readonly Grant[], now: MonotonicMs): EndPlan {
    const gone = new Set(ending.map((grant) => grant.id));
    const openings = unique(ending.flatMap(openingsOf));
    // What is left for another owner may be too short to be set anew: shut, or it would stand for the time of the one that ends.
    const open = this.#held(openings, new Map(), gone, now).filter(({ remainingMs }) => remainingMs >= SHORTEST_OPENING_MS);
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
      if (admitsOnce(grant.kind) && grant.spent !== true) this.#oneShots.add(grant.id);
      else this.#oneShots.delete(grant.id);
      this.#lastNumber = Math.max(this.#lastNumber, Number(grant.id.slice(1)));
    }
  }

  remove(grants: readonly Grant[]): void {
    for (const grant of grants) {
      const standing = this.#grants.get(grant.id);
      if (standing !== undefined) left(this.#bySecond, secondOf(standing), grant.id);
      this.#grants.delete(grant.id);
      this.#oneShots.delete(grant.id);
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
      yield this.#held(openings, new Map(), new Set(), now).filter(({ opening }) => !admitsOnce(opening.kind) || !spent(opening));
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

  /** Of these openings, what stands when `changed` is put and `gone` is removed. */
  #held(
    openings: readonly Opening[],
    changed: ReadonlyMap<string, Grant>,
    gone: ReadonlySet<string>,
    now: MonotonicMs,
  ): readonly TimedOpening[] {
    const addresses = new Map(openings.map((opening) => [opening.address.text, opening.address]));
    const others = [...addresses.values()].flatMap((address) => this.at(address)).filter(({ id }) => !changed.has(id));
    const holders = [...others, ...changed.values()].filter(({ id }) => !gone.has(id));
    return heldOpenings(openings, holders, now);
  }
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

function samePorts(one: readonly PortRange[], other: readonly PortRange[]): boolean {
  return one.map(formatPortRange).join(' ') === other.map(formatPortRange).join(' ');
}
