// `knock hold HOST [SERVICE…]`: keeps a door open until it is told to stop, then shuts it.
import { closeDoor } from './close-door.ts';
import { CommandError, isCommandError, usageError } from './command-error.ts';
import { circumstancesOf, explainFailure, explainStillOpen, explainUnsent } from './diagnose.ts';
import { type AddressReport, knockAtAll } from './door.ts';
import { HoldDisplay } from './hold-display.ts';
import { HoldSchedule, type Look, shortestIntervalMs } from './hold-schedule.ts';
import { pause, routesTo, watchChanges } from './hold-watch.ts';
import { localAddressFor } from './local-address.ts';
import { checkOptions, type KnockOptions } from './options.ts';
import type { KnockPlan } from './plan.ts';
import { isPortOpen } from './port-watch.ts';
import { type Prepared, prepareKnock } from './prepare.ts';
import type { HoldLine } from './quick-line.ts';
import { jsonError, printError, roundMs } from './report.ts';
import type { World } from './world.ts';

const INTERRUPTED = 130;
// Tunable. Longer than any usual way there and back.
const LOOK_WAIT_MS = 1000;
// A terminal that does not say how wide it is.
const UNKNOWN_WIDTH = 80;

/** Gives the exit code: 0 when it was told to stop and the door is shut (or left as asked). */
export async function holdCommand(line: HoldLine, world: World): Promise<number> {
  const options = checkOptions(line.host, line.services, [], line.raw);
  const stop = new AbortController();
  catchSignals(stop);
  try {
    await new Hold(options, line.leaveOpen, stop.signal, world).run();
    return 0;
  } catch (cause) {
    if (!isCommandError(cause)) throw cause;
    if (options.output === 'json') world.out(`${JSON.stringify({ event: 'failed', host: line.host, error: jsonError(cause) })}\n`);
    printError(cause, world);
    return cause.exitCode;
  }
}

/** The first Ctrl-C shuts the door, the second gives up on that. SIGTERM and a closed terminal are orders to stop too. */
function catchSignals(stop: AbortController): void {
  process.removeAllListeners('SIGINT');
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(INTERRUPTED);
      stop.abort();
    });
}

class Hold {
  readonly #options: KnockOptions;
  readonly #leaveOpen: boolean;
  readonly #stop: AbortSignal;
  readonly #world: World;
  readonly #display: HoldDisplay;
  /** Ends a pause, and a knock that is under way. */
  #wake = new AbortController();

  constructor(options: KnockOptions, leaveOpen: boolean, stop: AbortSignal, world: World) {
    this.#options = options;
    this.#leaveOpen = leaveOpen;
    this.#stop = stop;
    this.#world = world;
    this.#display = new HoldDisplay({
      host: options.host,
      output: options.output,
      columns: process.stdout.isTTY === true ? process.stdout.columns || UNKNOWN_WIDTH : 0,
      world,
    });
    stop.addEventListener('abort', () => this.#wake.abort());
  }

  async run(): Promise<void> {
    const prepared = await prepareKnock('open', this.#options, this.#world, this.#remark);
    if (prepared.plan.probes.once)
      throw usageError([
        `each grant of this service admits one connection: there is nothing to hold open (knock ${this.#options.host} … --once)`,
      ]);
    refuseTooShort(prepared.plan);
    const reports = await this.#knock(prepared.plan);
    if (this.#stop.aborted) {
      // A knock may have left already.
      await closeDoor({ ...prepared.plan, action: { kind: 'close' }, unchecked: 'interrupted' }, this.#world, this.#remark);
      throw new CommandError(INTERRUPTED, 'interrupted', 'interrupted before the door opened');
    }
    const schedule = this.#opened(prepared, reports);
    this.#display.countDown(() => schedule.due.atMs);
    try {
      await Promise.all([this.#watch(prepared, schedule), this.#keep(prepared, schedule)]);
    } finally {
      this.#display.end();
    }
    await this.#close(prepared);
  }

  readonly #remark = (text: string): void => {
    if (this.#options.output === 'verbose') this.#world.err(`knock: ${text}\n`);
  };

  async #knock(plan: KnockPlan): Promise<readonly AddressReport[]> {
    const reports = await knockAtAll(plan, this.#world, this.#remark, { signal: this.#wake.signal });
    plan.slots.prune(this.#world.now());
    return reports;
  }

  /** Judges the first knock, which must work: a hold of nothing would be found out too late. */
  #opened(prepared: Prepared, reports: readonly AddressReport[]): HoldSchedule {
    const { plan } = prepared;
    const about = circumstancesOf(prepared, undefined, this.#world);
    const sent = reports.filter((report) => report.sent > 0);
    const [first] = sent;
    if (first === undefined) throw explainUnsent(reports, about);
    const shortestMs = shortestIntervalMs(plan.attempts.addresses, plan.slots.perWindow);
    const lifetimeMs = lifetimeOf(plan);
    const looks = plan.unchecked === undefined;
    const schedule = new HoldSchedule({ lifetimeMs, shortestMs, looks, nowMs: this.#world.monotonicMs() });
    const won = looks ? reports.find(isOpen) : undefined;
    if (looks && won === undefined) throw explainFailure(reports, about);
    const afterMs = won === undefined ? null : roundMs(Math.max(...won.ports.map((port) => port.openedAfterMs ?? 0)));
    this.#display.show({ event: looks ? 'open' : 'sent', address: (won ?? first).address.text, afterMs, everyMs: schedule.intervalMs });
    return schedule;
  }

  async #watch({ plan }: Prepared, schedule: HoldSchedule): Promise<void> {
    const routes = async () => await routesTo(plan.resolved.targets, plan.knockPort);
    await watchChanges(routes, this.#world, this.#stop, (change) => {
      if (change.kind === 'moved') this.#display.show({ event: 'moved', from: change.from, to: change.to });
      else this.#display.show({ event: 'slept', ms: Math.round(change.ms) });
      schedule.hurry(this.#world.monotonicMs());
      this.#wake.abort();
    });
  }

  async #keep(prepared: Prepared, schedule: HoldSchedule): Promise<void> {
    let { plan } = prepared;
    let lost = false;
    while (!this.#stop.aborted) {
      const waitMs = schedule.due.atMs - this.#world.monotonicMs();
      if (waitMs > 0) {
        await pause(waitMs, this.#wake.signal);
        this.#rearm();
        continue;
      }
      const { look } = schedule.due;
      // The host may have another address by now; nobody else would find out.
      if (lost) plan = { ...plan, resolved: await prepared.lookUp().catch(() => plan.resolved) };
      const looks = look && plan.unchecked === undefined;
      const stood = looks && (await isOpenNow(plan));
      const reports = await this.#knock(looks && !stood ? plan : { ...plan, unchecked: 'not now' });
      // What was under way when something changed says nothing any more.
      if (this.#rearm()) continue;
      const seen = !looks ? 'unseen' : stood ? 'stood' : reports.some(isOpen) ? 'gap' : 'shut';
      lost = this.#renewed(prepared, reports, seen, lost, schedule);
    }
  }

  /** Gives whether there was an alarm: a change that moved the time of the next knock, or the end. */
  #rearm(): boolean {
    if (!this.#wake.signal.aborted) return false;
    if (!this.#stop.aborted) this.#wake = new AbortController();
    return true;
  }

  /** Tells the schedule and the user what a further knock did. Gives whether the door is lost now. */
  #renewed(prepared: Prepared, reports: readonly AddressReport[], seen: Look | 'unseen', lost: boolean, schedule: HoldSchedule): boolean {
    const nowMs = this.#world.monotonicMs();
    const sent = reports.some((report) => report.sent > 0);
    const slotInMs = reports.flatMap(({ stopped }) => (stopped?.kind === 'no-slot' ? [stopped.nextWindowInMs] : []))[0];
    if (!sent && slotInMs !== undefined) {
      this.#remark('all knocks of this minute are used: waiting for the next');
      schedule.postpone(nowMs + slotInMs);
      return lost;
    }
    const found = seen === 'unseen' && !sent ? 'shut' : seen;
    const shortened = found === 'unseen' ? schedule.sent(nowMs) : schedule.looked(found, nowMs);
    if (found === 'shut') {
      const why = explainFailure(reports, circumstancesOf(prepared, undefined, this.#world));
      if (!lost) this.#display.show({ event: 'lost', code: why.code, message: why.message });
    } else if (lost) this.#display.show({ event: 'back' });
    else if (found === 'gap') this.#display.show({ event: 'gap', everyMs: schedule.intervalMs, shortened });
    else this.#display.show({ event: 'renewed', looked: found === 'stood' });
    return found === 'shut';
  }

  async #close({ plan }: Prepared): Promise<void> {
    if (this.#leaveOpen) return this.#display.show({ event: 'left-open' });
    const { reports, stillOpen } = await closeDoor({ ...plan, action: { kind: 'close' } }, this.#world, this.#remark);
    if (stillOpen !== undefined) throw explainStillOpen(stillOpen.address.text, stillOpen.port);
    if (reports.every((report) => report.sent === 0)) {
      const why = reports.some(({ stopped }) => stopped?.kind === 'no-slot')
        ? 'all knocks of this minute are used'
        : 'nothing could be sent';
      throw new CommandError(1, 'not-closed', `not closed, as ${why}: the door shuts when the grant runs out`);
    }
    this.#display.show({ event: 'closed' });
  }
}

/** One connection to each port of an address, at the addresses at once: how it stands before the next knock. */
async function isOpenNow(plan: KnockPlan): Promise<boolean> {
  const found = await Promise.all(
    plan.resolved.targets.map(async (target) => {
      const from = localAddressFor(plan.from, target.family);
      const seen = await Promise.all(plan.probes.ports.map(({ port }) => isPortOpen(target, port, from, LOOK_WAIT_MS)));
      return seen.every((each) => each === 'open');
    }),
  );
  return found.includes(true);
}

function refuseTooShort(plan: KnockPlan): void {
  const { perWindow } = plan.slots;
  const lifetimeMs = lifetimeOf(plan);
  if (lifetimeMs === undefined || lifetimeMs >= 2 * shortestIntervalMs(plan.attempts.addresses, perWindow)) return;
  throw usageError([`a lifetime of ${lifetimeMs / 1000} s cannot be held with ${perWindow} knocks a minute: ask for more with --ttl`]);
}

function isOpen(report: AddressReport): boolean {
  return report.ports.length > 0 && report.ports.every((port) => port.after === 'open');
}

function lifetimeOf({ action }: KnockPlan): number | undefined {
  return action.kind === 'open' && action.lifetimeSeconds > 0 ? action.lifetimeSeconds * 1000 : undefined;
}
