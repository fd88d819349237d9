// One flood against one system: what it cost the daemon, what was lost, and what became of honest knocks meanwhile.
import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '../../lab/wait.ts';
import type { SentKnock } from '../knock-sender-calls.ts';
import type { Arena } from '../systems/arena.ts';
import { Ammunition, type Flood, type Rate } from './generator.ts';
import type { Target } from './target.ts';
import { framesOf, type Weapon } from './weapons.ts';

/** `quiet`: no flood, the same knocks: what they cost by themselves. */
export type Assault = { readonly weapon: Weapon | 'quiet'; readonly rate: Rate };

export type Plan = {
  /** Honest knocks go on for so long. */
  readonly knocksMs: number;
  /** Then this many at a steady pace, whatever becomes of them: one that does not open holds up no other. */
  readonly blast: number;
  /** After that the flood goes on alone. */
  readonly aloneMs: number;
  /** Honest knocks begin this far apart, one after the other. */
  readonly knockEveryMs: number;
  /** A knock is one packet; one that has not opened the port by then counts as not opened. */
  readonly knockDeadlineMs: number;
};

export type Cell = {
  readonly system: string;
  readonly weapon: Weapon | 'quiet';
  readonly rate: Rate;
  readonly sent: number;
  readonly sentPerSecond: number;
  /** Of the daemon, in percent of one core: while there are honest knocks, and for the flood alone. */
  readonly cpuPercent: number;
  readonly cpuAlonePercent: number;
  /** Until it had worked off what the flood left in its queue. */
  readonly cpuMs: number;
  readonly backlogMs: number;
  /** Datagrams that the daemon looked at (honest knocks included), as far as it counts them. */
  readonly seen: number | undefined;
  /** Sent and not received by the server's interface; dropped because the daemon's queue was full. */
  readonly lostOnTheWay: number;
  readonly dropped: number;
  readonly knocks: number;
  /** Milliseconds of those that opened the port in time. */
  readonly openedMs: readonly number[];
  /** Of the others, those whose address was let in when the flood was over. */
  readonly openedLate: number;
  /** Those sent at a pace, and how many of their addresses were let in while the flood went on. */
  readonly blast: number;
  readonly blastOpened: number;
};

/** Work that goes on after the flood: longer is not waited for. */
const SETTLE_DEADLINE_MS = 5_000;
const SETTLE_STEP_MS = 100;
/** A daemon that uses less than this in a step is done. */
const IDLE_MS = 8;
const START_DEADLINE_MS = 10_000;
const BLAST_PER_SECOND = 50;

export async function runCell(arena: Arena, target: Target, assault: Assault, plan: Plan): Promise<Cell> {
  const ammunition = assault.weapon === 'quiet' ? undefined : new Ammunition(await framesOf(assault.weapon, target));
  let flood: Flood | undefined;
  try {
    await idle(target);
    const before = { cpuMs: target.cpuMs(), arrived: target.arrived(), drops: target.queue().drops, seen: await target.seen() };
    const honest = await target.knocks(Math.floor(plan.knocksMs / plan.knockEveryMs));
    const paced = await target.knocks(plan.blast);
    const limitMs = START_DEADLINE_MS + plan.knocksMs + plan.aloneMs + 20_000;
    flood = ammunition?.start(target.attacker, target.device, assault.rate, limitMs);
    const isHere = () => target.arrived() > before.arrived;
    if (flood !== undefined) await waitFor(isHere, { deadlineMs: START_DEADLINE_MS, intervalMs: 2, what: 'the first packet of the flood' });
    const withKnocks = stopwatch(target);
    const knocks = await knockSteadily(arena, target, honest, plan);
    const cpuPercent = withKnocks();
    await arena.ask('blast', { to: target.address, knocks: paced, perSecond: BLAST_PER_SECOND });
    // The last of them is worked off meanwhile, too.
    const alone = stopwatch(target);
    await delay(plan.aloneMs);
    const cpuAlonePercent = alone();
    const blastOpened = (await arena.ask('open', { to: target.address, from: paced.map(({ from }) => from) })).length;
    const sent = (await flood?.stop()) ?? { packets: 0, elapsedMs: 1 };
    const endedMs = performance.now();
    await idle(target);
    const backlogMs = performance.now() - endedMs - SETTLE_STEP_MS;
    const seen = await target.seen();
    const openedLate = (await arena.ask('open', { to: target.address, from: knocks.missed })).length;
    return {
      system: target.name,
      weapon: assault.weapon,
      rate: assault.rate,
      sent: sent.packets,
      sentPerSecond: (sent.packets * 1000) / sent.elapsedMs,
      cpuPercent,
      cpuAlonePercent,
      cpuMs: target.cpuMs() - before.cpuMs,
      backlogMs: Math.max(0, backlogMs),
      seen: seen === undefined || before.seen === undefined ? undefined : seen - before.seen,
      lostOnTheWay: Math.max(0, sent.packets - (target.arrived() - before.arrived)),
      dropped: target.queue().drops - before.drops,
      knocks: knocks.openedMs.length + knocks.missed.length,
      openedMs: knocks.openedMs,
      openedLate,
      blast: paced.length,
      blastOpened,
    };
  } finally {
    // A cell that failed must not flood the next one.
    await flood?.end();
    ammunition?.close();
  }
}

/** From here to the call: the daemon's processor time in percent of one core. */
function stopwatch(target: Target): () => number {
  const [startedMs, startCpuMs] = [performance.now(), target.cpuMs()];
  return () => ((target.cpuMs() - startCpuMs) * 100) / (performance.now() - startedMs);
}

/** One after the other; a system that makes them wait gets fewer. */
async function knockSteadily(arena: Arena, target: Target, honest: readonly SentKnock[], plan: Plan) {
  const startedMs = performance.now();
  const openedMs: number[] = [];
  const missed: string[] = [];
  for (const [at, knock] of honest.entries()) {
    const dueMs = startedMs + at * plan.knockEveryMs - performance.now();
    if (dueMs > 0) await delay(dueMs);
    if (performance.now() - startedMs > plan.knocksMs) break;
    const { ms } = await arena.ask('time', { to: target.address, knock, deadlineMs: plan.knockDeadlineMs });
    if (ms === null) missed.push(knock.from);
    else openedMs.push(ms);
  }
  await delay(Math.max(0, startedMs + plan.knocksMs - performance.now()));
  return { openedMs, missed };
}

/** Until its queue is empty and it does nothing any more, or the time is up. */
async function idle(target: Target): Promise<void> {
  const end = performance.now() + SETTLE_DEADLINE_MS;
  for (let last = target.cpuMs(); performance.now() < end; ) {
    await delay(SETTLE_STEP_MS);
    const now = target.cpuMs();
    if (now - last < IDLE_MS && target.queue().waitingBytes === 0) return;
    last = now;
  }
}
