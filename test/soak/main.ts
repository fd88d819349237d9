// npm run soak: an hour of a busy server pressed into a few minutes, with faults, and what the daemon weighs meanwhile. docs/soak.md has the last run.
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as moment } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { machineLines } from '../bench/machine.ts';
import { waitFor } from '../lab/wait.ts';
import { Faults } from './faults.ts';
import { Ground, type Weight } from './ground.ts';
import { ENDS_BY, type Event, HOUR, momentsOf, WARM_UP } from './hour.ts';
import { Traffic } from './traffic.ts';
import { trendOf } from './trend.ts';

const USAGE = 'usage: sudo npm run soak [-- --minutes N]   (an hour in N minutes, 8 by default, 1 to 60)';
/** The daemon's own lines, when something was wrong. */
const LOG = join(tmpdir(), 'postern-soak.log');
const SAMPLE_MS = 2000;
const TRAFFIC: readonly Event[] = ['knocks', 'junk', 'replays', 'status', 'bursts'];
const FAULTS: readonly Event[] = ['windows', 'reloads', 'rotations', 'flushes', 'refusals', 'kills', 'stops'];
const JUNK_AT_ONCE = 20;
const BURST = 2000;

/** How much each may rise in what is measured of the hour. Marks of the ledger are kept: 32 bytes for each knock that was ever heard. */
const MOST_RISE: Readonly<Record<Exclude<keyof Weight, 'ledger' | 'journal'>, number>> = {
  heap: 2 * 1024 * 1024,
  rss: 12 * 1024 * 1024,
  descriptors: 2,
  openings: 25,
  tags: 250,
};
/** The journal of grants is written anew when most of its lines are history. */
const MOST_JOURNAL_BYTES = 1024 * 1024;
const MARK_BYTES = 32;
const LEDGER_HEAD_BYTES = 16_384;

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '8' } } });
const minutes = Number(values.minutes);
if (!(minutes >= 1 && minutes <= 60)) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}
const lengthMs = minutes * 60_000;
const say = (line: string) => process.stdout.write(`${line}\n`);
const ground = await Ground.create(lengthMs + 180_000);
const faults = new Faults(ground);
const traffic = new Traffic(ground, faults);
const wrong = traffic.wrong;
const weights: (Weight & { readonly atMs: number })[] = [];
try {
  await ground.start();
  const began = performance.now();
  say(`soak: an hour in ${minutes} min`);
  const underWay = new Set<Promise<unknown>>();
  const begin = (work: Promise<unknown>) => {
    const settled = work.catch((error: unknown) => wrong.push(String(error))).finally(() => underWay.delete(settled));
    underWay.add(settled);
  };
  const traffics: Partial<Record<Event, () => Promise<unknown>>> = {
    knocks: () => traffic.knock(),
    junk: () => traffic.junk(JUNK_AT_ONCE),
    replays: () => traffic.replay(),
    bursts: () => traffic.junk(BURST),
    status: async () => {
      const from = performance.now();
      await ground.status().catch((error: unknown) => {
        if (!faults.excuses(from - 1000, performance.now())) wrong.push(`status: ${String(error)}`);
      });
    },
  };
  const play = async (events: readonly Event[], act: (event: Event) => Promise<void> | void) => {
    for (const { atMs, event } of momentsOf(events, lengthMs)) {
      const early = began + atMs - performance.now();
      if (early > 0) await moment(early);
      await act(event);
    }
  };
  let over = false;
  const loop = async (pauseMs: number, act: () => Promise<unknown>) => {
    try {
      while (!over) {
        await act();
        await moment(pauseMs);
      }
    } catch (error) {
      wrong.push(`a watcher ended: ${String(error)}`);
    }
  };
  const watching = [
    loop(100, () => traffic.stranger()),
    loop(SAMPLE_MS, async () => {
      const kernel = await traffic.look();
      const weight = kernel === undefined || ground.postern.daemon.ended ? undefined : ground.weigh(kernel);
      if (weight !== undefined) weights.push({ ...weight, atMs: performance.now() - began });
    }),
  ];
  let junk = 0;
  await Promise.all([
    play(TRAFFIC, (event) => {
      if (event === 'junk' && junk++ % JUNK_AT_ONCE !== 0) return;
      begin(traffics[event]?.() ?? Promise.resolve());
    }),
    play(FAULTS, (event) => faults.bring(event)),
  ]);
  await Promise.all(underWay);
  over = true;
  await Promise.all(watching);
  await waitFor(async () => (await ground.kernel())?.openings.size === 0, { deadlineMs: 20_000, what: 'the last grant to end' }).catch(
    (error: unknown) => wrong.push(String(error)),
  );
  const status = await ground.status();
  const verified = await ground.postern.posternd(['log', 'verify'], { mayFail: true });
  if (verified.code !== 0) wrong.push(`posternd log verify: exit ${verified.code}: ${verified.stderr.trim()}`);
  if (status.capture.lost > 0) wrong.push(`${status.capture.lost} knocks were lost by the kernel`);
  if ((status.audit?.lost ?? 1) > 0) wrong.push(`${status.audit?.lost} entries of the audit log were lost`);
  const dropped = Object.entries(status.knocks.dropped).filter(([, count]) => count > 0);
  say(`what the last process refused: ${dropped.map(([reason, count]) => `${count} ${reason}`).join(', ') || 'nothing'}`);
  if (wrong.length > 0) writeFileSync(LOG, ground.postern.daemon.stdout);
  report(status.ledger.marks, await machineLines(`sudo npm run soak -- --minutes ${minutes}`));
} finally {
  await ground.close();
}

function report(marks: number, head: readonly string[]): void {
  const list = (counts: Iterable<readonly [string, number]>) => [...counts].map(([name, count]) => `${count} ${name}`).join(', ');
  for (const line of head) say(line);
  say(`an hour has: ${list(Object.entries(HOUR))}`);
  say(`faults: ${list(faults.counts)}`);
  say(`traffic: ${list(Object.entries(traffic.counts))}`);
  const took = traffic.tookMs.toSorted((a, b) => a - b);
  const part = (share: number) => (took[Math.floor(took.length * share)] ?? Number.NaN).toFixed(1);
  say(`from a knock to its open door, no fault in flight: median ${part(0.5)} ms, p99 ${part(0.99)} ms, ${took.length} knocks`);
  const since = (ENDS_BY + (1 - ENDS_BY) * WARM_UP) * lengthMs;
  const measured = weights.filter(({ atMs }) => atMs >= since);
  say(`of the last process, after its warm-up: ${measured.length} samples`);
  say('| what | first | last | most | rise of the line | at most |');
  say('|---|---|---|---|---|---|');
  for (const [what, most] of Object.entries(MOST_RISE) as [keyof typeof MOST_RISE, number][]) {
    const trend = trendOf(measured.map((weight) => ({ atMs: weight.atMs, value: weight[what] })));
    say(`| ${what} | ${trend.first} | ${trend.last} | ${trend.most} | ${Math.round(trend.rise)} | ${most} |`);
    if (trend.rise > most) wrong.push(`${what} rises by ${Math.round(trend.rise)}, more than ${most}`);
  }
  const journal = Math.max(...weights.map((weight) => weight.journal));
  say(`| journal | ${measured[0]?.journal} | ${measured.at(-1)?.journal} | ${journal} | | ${MOST_JOURNAL_BYTES} in all |`);
  if (journal > MOST_JOURNAL_BYTES) wrong.push(`the journal of grants has ${journal} bytes`);
  const ledger = weights.at(-1)?.ledger ?? 0;
  say(`| ledger | ${measured[0]?.ledger} | ${ledger} | ${ledger} | ${marks} marks | |`);
  if (marks > 0 && ledger > 2 * (LEDGER_HEAD_BYTES + marks * MARK_BYTES) + 65_536)
    wrong.push(`the ledger has ${ledger} bytes for ${marks} marks`);
  for (const line of wrong.slice(0, 40)) say(`WRONG: ${line}`);
  say(wrong.length === 0 ? 'passed: nothing open that should not be, nothing lost, nothing grows' : `FAILED: ${wrong.length} findings`);
  process.exitCode = wrong.length === 0 ? 0 : 1;
}
