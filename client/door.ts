// Knocks at every address of a host and watches what opens. Decides when to knock again; says nothing to the user itself.
import type { IpAddress } from '../protocol/address.ts';
import { type Parsed, parsed, unixMs } from '../protocol/brand.ts';
import type { KnockSource } from '../protocol/knock.ts';
import { sealKnock } from '../protocol/packet.ts';
import { windowOf, windowStartMs } from '../protocol/tags.ts';
import { DoorWatch } from './door-watch.ts';
import { type Endpoint, formatEndpoint } from './endpoint.ts';
import { localAddressFor } from './local-address.ts';
import { openPath, type Path } from './path.ts';
import type { KnockPlan } from './plan.ts';
import type { PortWatch, Seen } from './port-watch.ts';
import { quote } from './quote.ts';
import { findTranslation } from './resolve.ts';
import { chooseSource, needsTranslation } from './source.ts';
import type { World } from './world.ts';

/** What became of one port. `openedAfterMs` counts from the moment in which the first packet left. */
export type PortReport = {
  readonly port: number;
  readonly service: string;
  readonly guessed: boolean;
  readonly before: Seen;
  readonly after: Seen;
  readonly openedAfterMs: number | undefined;
  /** Why this machine itself could not connect, if it could not. */
  readonly localTrouble: string | undefined;
};

/** What became of one address. */
export type AddressReport = {
  readonly address: IpAddress;
  readonly sent: number;
  readonly source: KnockSource | undefined;
  readonly ports: readonly PortReport[];
  /** Why nothing (more) was sent: a system error, a source that cannot be bound, or no slot left. */
  readonly stopped: Stopped | undefined;
  /** What the network answered to the knock itself, if anything. */
  readonly trouble: string | undefined;
};

export type Stopped =
  | { readonly kind: 'system'; readonly code: string }
  | { readonly kind: 'source'; readonly why: string }
  | { readonly kind: 'no-slot'; readonly nextWindowInMs: number };

// Tunable. Pauses before each further knock: a lost packet should not cost a second, and a slow path must have time to answer.
const FIRST_PAUSE_MS = 300;
// When one port of several has opened, the knock was accepted; the others get this long.
const STRAGGLER_MS = 300;

export type KnockingOptions = {
  /** Who looks at the ports since before the plan was made. `plan` tells which. It is closed in the end. */
  readonly watch?: DoorWatch;
  /** Ends the knocking early. */
  readonly signal?: AbortSignal;
};

/** Runs the plan. Resolves when one address has opened everything that can be watched, or all have given up. */
export async function knockAtAll(
  plan: KnockPlan,
  world: World,
  remark: (text: string) => void,
  { watch: given, signal }: KnockingOptions = {},
): Promise<readonly AddressReport[]> {
  const deadlineMs = world.monotonicMs() + plan.timeoutMs;
  const watch = given ?? watchOf(plan, world);
  const giveUp = () => watch.end();
  signal?.addEventListener('abort', giveUp);
  if (signal?.aborted === true) giveUp();
  try {
    if (given === undefined && watch.doors.some(({ watches }) => watches.length > 0)) await watch.lookBefore();
    const reports = await Promise.all(
      watch.doors.map(async ({ address, watches }) => {
        const report = await new Knocker(plan, world, remark, address, watches).run(watch.won);
        if (report.ports.length > 0 && report.ports.every((port) => port.after === 'open')) watch.end();
        return report;
      }),
    );
    // Nothing could be sent (no slot is left), but the first connection may still find an open door.
    if (given !== undefined && reports.every((report) => report.sent === 0))
      await before(new Promise<void>(() => undefined), deadlineMs - world.monotonicMs(), watch.won);
    return reports;
  } finally {
    signal?.removeEventListener('abort', giveUp);
    watch.close();
  }
}

function watchOf(plan: KnockPlan, world: World): DoorWatch {
  const isWatched = plan.unchecked === undefined && plan.action.kind === 'open';
  return new DoorWatch({
    targets: plan.resolved.targets.slice(0, plan.attempts.addresses),
    ports: isWatched ? plan.probes.ports.map(({ port }) => port) : [],
    from: plan.from,
    sourcePort: plan.sourcePort,
    monotonicMs: world.monotonicMs,
  });
}

/** The knocks at one address, from the first packet until the door is open or the time is over. */
class Knocker {
  readonly #plan: KnockPlan;
  readonly #world: World;
  readonly #remark: (text: string) => void;
  readonly #address: IpAddress;
  readonly #watches: readonly PortWatch[];
  readonly #paths: Path[] = [];
  readonly #openedAtMs = new Map<number, number>();
  #source: KnockSource | undefined;
  #firstSentMs: number | undefined;
  #sent = 0;
  #stopped: Stopped | undefined;

  constructor(plan: KnockPlan, world: World, remark: (text: string) => void, address: IpAddress, watches: readonly PortWatch[]) {
    this.#plan = plan;
    this.#world = world;
    this.#remark = remark;
    this.#address = address;
    this.#watches = watches;
  }

  async run(won: AbortSignal): Promise<AddressReport> {
    const deadlineMs = this.#world.monotonicMs() + this.#plan.timeoutMs;
    const anyOpened = Promise.race(this.#watches.map((watch) => this.#noteOpening(watch)));
    const allOpened = Promise.all(this.#watches.map((watch) => watch.opened));
    try {
      for (let attempt = 0; attempt < this.#plan.attempts.perAddress; attempt += 1) {
        // Somebody has the connection already: this knock would spend a slot and leave a grant behind for nothing.
        if (won.aborted) break;
        await this.#knock(deadlineMs, won);
        if (this.#watches.length === 0 || this.#stopped !== undefined || won.aborted) break;
        const leftMs = deadlineMs - this.#world.monotonicMs();
        const pauseMs = FIRST_PAUSE_MS * 2 ** attempt;
        // No knock is worth sending when nobody would wait for its answer.
        if (pauseMs >= leftMs || attempt + 1 === this.#plan.attempts.perAddress) break;
        await before(anyOpened, pauseMs, won);
        if (this.#openedAtMs.size > 0 || this.#nothingListens() || won.aborted) break;
      }
      // A first packet that left may still open the door, even when a further one could not be sent.
      if (this.#sent > 0 && this.#watches.length > 0 && this.#openedAtMs.size === 0 && !this.#nothingListens() && !won.aborted)
        await before(anyOpened, deadlineMs - this.#world.monotonicMs(), won);
      if (this.#openedAtMs.size > 0) await before(allOpened, Math.min(STRAGGLER_MS, deadlineMs - this.#world.monotonicMs()), won);
      return this.#report();
    } finally {
      for (const path of this.#paths) path.close();
    }
  }

  /** The ports were silent and now refuse: the door is open, and more knocks would not start the service. Twice, since one SYN may be lost. */
  #nothingListens(): boolean {
    return this.#sent > 1 && this.#watches.every((watch) => watch.before === 'silent' && watch.after === 'refused');
  }

  async #noteOpening(watch: PortWatch): Promise<void> {
    this.#openedAtMs.set(watch.port, await watch.opened);
  }

  /** Sends one packet: a fresh socket, a fresh slot, a fresh nonce. */
  async #knock(deadlineMs: number, won: AbortSignal): Promise<void> {
    try {
      const path = await openPath(this.#address, this.#plan.knockPort, localAddressFor(this.#plan.from, this.#address.family));
      this.#paths.push(path);
      if (!(await this.#settleSource(path))) return;
      const packet = await this.#seal(deadlineMs, won);
      if (packet === undefined) return;
      await path.send(packet);
      this.#sent += 1;
      this.#firstSentMs ??= this.#world.monotonicMs();
      this.#remark(
        `knock ${this.#sent} sent from ${path.local.text} to ${this.#address.text} udp/${this.#plan.knockPort} (${packet.length} bytes)`,
      );
      for (const watch of this.#watches) watch.hurry();
    } catch (cause) {
      this.#stopped = { kind: 'system', code: systemCode(cause) };
    }
  }

  /** Settled once: a retry never drops the binding. */
  async #settleSource(path: Path): Promise<boolean> {
    if (this.#source !== undefined) return true;
    const { source: mode, resolved } = this.#plan;
    const seen = mode.kind === 'stun' ? await this.#askStun(mode.server) : parsed(path.local);
    if (!seen.ok) {
      this.#stopped = { kind: 'source', why: seen.why };
      return false;
    }
    const translation = needsTranslation(mode, seen.value, this.#address) ? await findTranslation(this.#address, resolved) : 'none';
    const source = chooseSource(mode, seen.value, this.#address, translation);
    if (!source.ok) {
      this.#stopped = { kind: 'source', why: source.why };
      return false;
    }
    this.#source = source.value;
    this.#remark(source.value.kind === 'bound' ? `bound to ${source.value.address.text}` : 'not bound to an address');
    return true;
  }

  async #askStun(server: Endpoint): Promise<Parsed<IpAddress>> {
    const { seenByStun } = await import('./ask-stun.ts');
    this.#remark(`asking the STUN server ${quote(formatEndpoint(server))} for this machine's address`);
    return await seenByStun(server, this.#address, localAddressFor(this.#plan.from, this.#address.family), this.#plan.timeoutMs);
  }

  async #seal(deadlineMs: number, won: AbortSignal): Promise<Uint8Array | undefined> {
    const { pairing, secret, slots, action, requests, sourcePort } = this.#plan;
    for (;;) {
      const sentAtMs = unixMs(this.#world.now() + this.#plan.correctionMs);
      const window = windowOf(sentAtMs);
      const claim = slots.claim(window);
      if (claim.kind === 'slot') {
        const body = { action, sentAtMs, source: this.#source ?? { kind: 'unbound' }, sourcePort, requests } as const;
        return sealKnock({ pairing, secret, window, slot: claim.slot, body, random: this.#world.random });
      }
      const waitMs = windowStartMs(window + 1) - sentAtMs;
      if (won.aborted || this.#world.monotonicMs() + waitMs >= deadlineMs) {
        this.#stopped = { kind: 'no-slot', nextWindowInMs: waitMs };
        return undefined;
      }
      this.#remark(`all slots of this minute are used: waiting ${(waitMs / 1000).toFixed(1)} s for the next`);
      await before(new Promise<void>(() => undefined), waitMs, won);
    }
  }

  #report(): AddressReport {
    const ports = this.#watches.map((watch, at): PortReport => {
      const openedAtMs = this.#openedAtMs.get(watch.port);
      const { service, guessed } = this.#plan.probes.ports[at] ?? { service: `tcp/${watch.port}`, guessed: false };
      const openedAfterMs = openedAtMs === undefined ? undefined : openedAtMs - (this.#firstSentMs ?? openedAtMs);
      const { port, before, after, localTrouble } = watch;
      return { port, service, guessed, before, after, openedAfterMs, localTrouble };
    });
    const trouble = this.#paths.map((path) => path.trouble()).find((code) => code !== undefined);
    return { address: this.#address, sent: this.#sent, source: this.#source, ports, stopped: this.#stopped, trouble };
  }
}

/** Waits for the event, the time or the signal, whichever comes first, and leaves nothing behind. */
async function before(event: Promise<unknown>, waitMs: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, Math.max(0, waitMs));
    signal.addEventListener('abort', finish);
    event.then(finish, finish);
    if (signal.aborted) finish();
  });
}

function systemCode(cause: unknown): string {
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string' && /^E[A-Z0-9]+$/.test(cause.code)) return cause.code;
  throw cause;
}
