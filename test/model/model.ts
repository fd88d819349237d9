// What must be open, by SPEC.md and docs/ alone: people, grants with their ends, used tags, closes. Pure: whoever asks says what time it is.
// Nothing of the daemon's own code is used or repeated here; where a sentence of the documents decides, it is named.
import type { Abilities } from './abilities.ts';
import {
  type Addresses,
  allRules,
  DEFAULT_S,
  type Person,
  type Rules,
  SERVICE_NAMES,
  type ServiceName,
  SHORT_S,
  SOURCE_PORT,
  serviceOf,
} from './cast.ts';

/** A moment that is known to lie between two readings of a clock, in milliseconds. */
export type Span = { readonly from: number; readonly to: number };

export type Wish =
  | {
      readonly kind: 'open';
      readonly service: ServiceName | undefined;
      readonly ttlS: number;
      readonly once: boolean;
      readonly hasPort: boolean;
    }
  | { readonly kind: 'close'; readonly service: ServiceName | undefined };

/** What a knock says (SPEC 5.3), and the tag that it bears. */
export type Packet = {
  readonly number: number;
  readonly person: Person;
  readonly window: number;
  readonly slot: number;
  readonly sentAtMs: number;
  /** Undefined: the source is not bound. */
  readonly boundTo: string | undefined;
  readonly wish: Wish;
};

export type Grant = {
  /** `hand`: by an administrator, for an address. */
  readonly owner: Person | 'hand';
  readonly byHand: boolean;
  readonly address: string;
  readonly service: ServiceName;
  readonly once: boolean;
  readonly ends: boolean;
  /** 0: from any. */
  readonly sourcePort: number;
  sentAtMs: number;
  /** When its time is over, on the clock that never steps. */
  end: Span;
};

export type Verdict = 'lost' | 'unknown' | 'replay' | 'relayed' | 'refused' | 'superseded' | 'closed' | 'granted';

// SPEC 4 and the default of `clock_tolerance`.
const WINDOW_MS = 60_000;
const TOLERANCE_MS = 60_000;
const NEVER: Span = { from: Number.POSITIVE_INFINITY, to: Number.POSITIVE_INFINITY };
/** How long the daemon may take to take out what the kernel does not end: a few programs, on a busy machine. */
const SWEEP_MS = 2000;

export class Model {
  readonly addresses: Addresses;
  readonly abilities: Abilities;
  isUp = true;
  /** Somebody deleted the gate while nobody was there to keep it: nothing is closed. */
  isGateGone = false;
  /** How far the wall clock was set. */
  clockMs = 0;
  /** What stands in the files, and what the daemon goes by. */
  written: Rules;
  rules: Rules;
  readonly packets: Packet[] = [];
  readonly #used = new Set<string>();
  readonly #closed = new Map<string, number>();
  #grants: Grant[] = [];

  constructor(addresses: Addresses, abilities: Abilities) {
    this.addresses = addresses;
    this.abilities = abilities;
    this.written = allRules(abilities);
    this.rules = this.written;
  }

  /** Grants that have not surely ended by then. */
  grants(now: number): readonly Grant[] {
    this.#grants = this.#grants.filter((grant) => this.endOf(grant).to > now);
    return this.#grants;
  }

  /** When it ends as things are: what the daemon has to take out does not while there is none. */
  endOf(grant: Grant): Span {
    return !this.isUp && this.isSwept(grant) ? NEVER : grant.end;
  }

  isSwept({ sourcePort }: Pick<Grant, 'sourcePort'>): boolean {
    const { swept } = this.abilities;
    return swept === 'everything' || (swept === 'source ports' && sourcePort !== 0);
  }

  /** Rules that a daemon takes: a mistake changes nothing, and a one-shot is one where there are none. */
  isTaken({ isBroken, missing }: Rules): boolean {
    return !isBroken && (this.abilities.oneShots || missing.includes('single'));
  }

  /** SPEC 7, steps 3 to 9. `wall` and `now` are when it was delivered, `now` on the clock that never steps. */
  deliver(packet: Packet, from: string, wall: Span, now: Span): Verdict {
    if (!this.isUp) return 'lost';
    if (!this.isKnown(packet, wall)) return 'unknown';
    const tag = tagOf(packet);
    if (this.#used.has(tag)) return 'replay';
    // "A knock that is refused from here on stays used."
    this.#used.add(tag);
    if (packet.boundTo !== undefined && packet.boundTo !== from) return 'relayed';
    if (this.rules.people[packet.person] === 'disabled') return 'refused';
    const { wish } = packet;
    return wish.kind === 'close' ? this.#close(packet, from, wish.service, now) : this.#open(packet, wish, from, now);
  }

  /** Whether the daemon goes by a tag: its person stands in the rules, its window is accepted (SPEC 4.2). */
  isKnown(packet: Packet, wall: Span): boolean {
    return this.rules.people[packet.person] !== 'out' && isAccepted(packet.window, wall.to) && isAccepted(packet.window, wall.from);
  }

  isUsed(packet: Packet): boolean {
    return this.#used.has(tagOf(packet));
  }

  /** Whether a delivery at that moment could go either way, because a window begins or ends to be accepted. */
  isOnTheEdge(packet: Packet, wall: Span): boolean {
    return isAccepted(packet.window, wall.from) !== isAccepted(packet.window, wall.to);
  }

  /** `posternd grant`: "without a knock and without a rule", one connection only with --once. Granting again prolongs, and never shortens. */
  grantByHand(who: Person | 'hand', address: string, service: ServiceName, ttlS: number, once: boolean, now: Span): 'granted' | 'refused' {
    if (once && !this.abilities.oneShots) return 'refused';
    const lifetimeS = ttlS === 0 ? DEFAULT_S : ttlS;
    this.#add({ owner: who, byHand: true, address, service, once, ends: false, sourcePort: 0, sentAtMs: 0 }, lifetimeS, now);
    return 'granted';
  }

  /** `posternd revoke`: all grants of a person, or all of an address. */
  revoke(who: string, now: Span): void {
    this.#endAll(({ owner, address }) => owner === who || address === who, now);
  }

  /** Rules that are read. "No grant outlives its client"; what was given by hand survives reloads; a rule that gives less ends nothing. */
  readRules(now: Span): void {
    this.rules = this.written;
    this.#endAll(({ owner, byHand }) => !byHand && owner !== 'hand' && this.rules.people[owner] !== 'in', now);
  }

  start(now: Span): void {
    this.isUp = true;
    this.isGateGone = false;
    this.grants(now.from);
    this.readRules(now);
    for (const grant of this.#grants) this.#setAnew(grant, now);
  }

  /** "One-shots do not come back": whether one was used before nobody could say. */
  loseGate(): void {
    this.isGateGone = true;
    this.#grants = this.#grants.filter(({ once }) => !once);
  }

  /** The one connection of a one-shot was made. */
  spend(address: string, service: ServiceName): void {
    this.#grants = this.#grants.filter((grant) => !(grant.once && grant.address === address && grant.service === service));
  }

  /** SPEC 6. */
  #close(packet: Packet, address: string, service: ServiceName | undefined, now: Span): Verdict {
    const id = `${packet.person} ${address}`;
    this.#closed.set(id, Math.max(this.#closed.get(id) ?? 0, packet.sentAtMs));
    this.#endAll(
      (grant) =>
        !grant.byHand &&
        grant.owner === packet.person &&
        grant.address === address &&
        (service === undefined || grant.service === service) &&
        grant.sentAtMs < packet.sentAtMs,
      now,
    );
    return 'closed';
  }

  /** What others hold open as well stands for them, for the time that they have. */
  #endAll(isOver: (grant: Grant) => boolean, now: Span): void {
    const over = this.#grants.filter(isOver);
    this.#grants = this.#grants.filter((grant) => !over.includes(grant));
    for (const grant of this.#grants)
      if (over.some((other) => other.address === grant.address && other.service === grant.service)) this.#setAnew(grant, now);
  }

  /** What has less than a second to go is not set anew. */
  #setAnew(grant: Grant, now: Span): void {
    if (grant.end.from < now.to + 1000) grant.end = { from: now.from, to: grant.end.to };
  }

  #open(packet: Packet, wish: Wish & { kind: 'open' }, address: string, now: Span): Verdict {
    if (packet.sentAtMs <= (this.#closed.get(`${packet.person} ${address}`) ?? -1)) return 'superseded';
    const wanted =
      wish.service === undefined ? SERVICE_NAMES.filter((name) => serviceOf(name).isDefault && this.#isGiven(name)) : [wish.service];
    if (wanted.length === 0 || !wanted.every((name) => this.#isGiven(name) && this.#isNearEnough(name, address, packet))) return 'refused';
    if (wish.once && !this.abilities.oneShots) return 'refused';
    for (const service of wanted) {
      const { ttlS, maxTtlS, once = false, ends = false } = serviceOf(service);
      const most = this.rules.isStingy ? SHORT_S : maxTtlS;
      const lifetimeS = Math.min(wish.ttlS === 0 ? ttlS : wish.ttlS, most);
      const sourcePort = wish.hasPort ? SOURCE_PORT : 0;
      const grant = { owner: packet.person, byHand: false, address, service, once: once || wish.once, ends, sourcePort };
      this.#add({ ...grant, sentAtMs: packet.sentAtMs }, lifetimeS, now);
    }
    return 'granted';
  }

  #isGiven(name: ServiceName): boolean {
    return !this.rules.missing.includes(name);
  }

  #isNearEnough(name: ServiceName, address: string, { boundTo }: Packet): boolean {
    if (serviceOf(name).near !== true) return true;
    return boundTo !== undefined && (address === this.addresses[0] || address === this.addresses[2]);
  }

  /** A knock for what is open already prolongs it and never shortens it (P25). */
  #add(without: Omit<Grant, 'end'>, lifetimeS: number, now: Span): void {
    const isSwept = this.isSwept(without);
    const grant = {
      ...without,
      end: {
        from: now.from + lifetimeS * 1000 - (isSwept ? 0 : this.abilities.earlyMs),
        to: now.to + lifetimeS * 1000 + (isSwept ? SWEEP_MS : 0),
      },
    };
    const same = this.grants(now.from).find(
      (known) =>
        known.owner === grant.owner &&
        known.byHand === grant.byHand &&
        known.address === grant.address &&
        known.service === grant.service &&
        known.once === grant.once &&
        known.ends === grant.ends &&
        known.sourcePort === grant.sourcePort,
    );
    if (same === undefined) {
      this.#grants.push(grant);
      return;
    }
    same.sentAtMs = Math.max(same.sentAtMs, grant.sentAtMs);
    same.end = { from: Math.max(same.end.from, grant.end.from), to: Math.max(same.end.to, grant.end.to) };
  }
}

function tagOf({ person, window, slot }: Packet): string {
  return `${person} ${window} ${slot}`;
}

function isAccepted(window: number, wallMs: number): boolean {
  return window >= Math.floor((wallMs - TOLERANCE_MS) / WINDOW_MS) && window <= Math.floor((wallMs + TOLERANCE_MS) / WINDOW_MS);
}
