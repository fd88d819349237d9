// Tells the programs that rules name of grants that begin and end. An observer: a knock never waits for it, and what goes wrong here is a
// line in the log and nothing else. A flood of grants runs few programs at once, and leaves out what it cannot keep up with.
import type { MonotonicMs } from '../clock.ts';
import type { Decision } from '../decision.ts';
import type { Grant } from '../grants/grant-book.ts';
import { safeText } from '../safe-text.ts';
import { type Confined, runConfined } from '../spawn.ts';
import { fillHook, type Hook, type HookFacts } from './hook.ts';
import type { HookUser } from './hook-user.ts';
import { judgeProgram } from './trusted-program.ts';

// Tunable
const TIME_LIMIT_MS = 10_000;
const MOST_AT_ONCE = 4;
const MOST_WAITING = 256;
/** Starting a program holds up everything else for a millisecond or three (a fork of the whole daemon): then knocks have this many times as long. */
const REST = 4;
/** What runs when the daemon stops has this long to end. */
const GRACE_MS = 1000;
/** One line a minute says how many were left out. */
const LEFT_OUT_PERIOD_MS = 60_000;

export type HookRunnerOptions = {
  readonly user: HookUser | undefined;
  readonly now: () => MonotonicMs;
  readonly log: HookLog;
  readonly timeLimitMs?: number;
};

export type HookLog = {
  readonly debug: (fields: object, message: string) => void;
  readonly warn: (fields: object, message: string) => void;
};

type Job = { readonly argv: readonly string[]; readonly facts: HookFacts };

export class HookRunner {
  readonly #options: HookRunnerOptions;
  /** Grants whose beginning was told, or that began before this process: only these end. */
  readonly #told = new Set<string>();
  readonly #waiting: Job[] = [];
  readonly #running = new Map<Confined, Promise<void>>();
  #starting = 0;
  #rest: NodeJS.Timeout | undefined;
  #leftOut = 0;
  #leftOutToldAt: MonotonicMs | undefined;
  #isStopped = false;

  constructor(options: HookRunnerOptions) {
    this.#options = options;
  }

  /** Grants that an earlier daemon began: they end here, and do not begin again. */
  adopt(grants: Iterable<Grant>): void {
    for (const { id, hooks } of grants) if (hooks.onOpen !== undefined || hooks.onClose !== undefined) this.#told.add(id);
  }

  /** An Observer, as a method. */
  observe(decision: Decision): void {
    if (decision.kind === 'dropped') return;
    for (const grant of decision.grants) {
      const { onOpen, onClose } = grant.hooks;
      if (onOpen === undefined && onClose === undefined) continue;
      if (decision.kind === 'granted') {
        // A repeated knock makes a grant last longer: nothing was opened.
        if (this.#told.has(grant.id)) continue;
        this.#told.add(grant.id);
        this.#add(onOpen, grant, 'open');
      } else if (this.#told.delete(grant.id)) this.#add(onClose, grant, decision.kind);
    }
  }

  /** What waits is left out, what runs is given a moment, then killed. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#rest);
    this.#leftOut += this.#waiting.splice(0).length;
    this.#tellLeftOut();
    const timer = setTimeout(() => {
      for (const child of this.#running.keys()) child.kill();
    }, GRACE_MS);
    await Promise.all(this.#running.values());
    clearTimeout(timer);
  }

  #add(hook: Hook | undefined, grant: Grant, event: HookFacts['event']): void {
    if (hook === undefined || this.#isStopped) return;
    const { id, client, address, label, ports, deadlineMs } = grant;
    const left = event === 'open' ? Math.max(0, Math.round((deadlineMs - this.#options.now()) / 1000)) : 0;
    const facts = { event, grant: id, client, address: address.text, service: label, ports, lifetimeSeconds: left };
    if (this.#waiting.length >= MOST_WAITING) {
      this.#leftOut += 1;
      if (this.#leftOutToldAt === undefined || this.#options.now() - this.#leftOutToldAt >= LEFT_OUT_PERIOD_MS) this.#tellLeftOut();
      return;
    }
    this.#waiting.push({ argv: fillHook(hook, facts), facts });
    this.#next();
  }

  #next(): void {
    if (this.#isStopped || this.#rest !== undefined || this.#starting + this.#running.size >= MOST_AT_ONCE) return;
    const job = this.#waiting.shift();
    if (job === undefined) {
      this.#tellLeftOut();
      return;
    }
    this.#starting += 1;
    void this.#start(job);
  }

  /** Never rejects. */
  async #start(job: Job): Promise<void> {
    const { user, timeLimitMs = TIME_LIMIT_MS } = this.#options;
    const untrusted = await judgeProgram(job.argv[0] ?? '');
    this.#starting -= 1;
    if (this.#isStopped) return;
    if (untrusted === undefined) {
      const began = this.#options.now();
      const child = runConfined(job.argv, { user, timeoutMs: timeLimitMs });
      this.#restFor(REST * Math.max(1, this.#options.now() - began));
      const ended = child.ended.then(
        ({ code, stderr }) => this.#tell(job, code === 0 ? undefined : `exit code ${code}`, stderr),
        (error: unknown) => this.#tell(job, error instanceof Error ? error.message : 'could not be run', ''),
      );
      this.#running.set(child, ended);
      await ended;
      this.#running.delete(child);
    } else this.#tell(job, `not run: ${untrusted.why}`, '');
    this.#next();
  }

  #restFor(ms: number): void {
    clearTimeout(this.#rest);
    this.#rest = setTimeout(() => {
      this.#rest = undefined;
      for (let free = 0; free < MOST_AT_ONCE; free += 1) this.#next();
    }, ms);
  }

  #tell({ argv, facts }: Job, failure: string | undefined, stderr: string): void {
    const { event, grant, client, address, service } = facts;
    const fields = { hook: argv[0], event, grant, client, address, service };
    if (failure === undefined) this.#options.log.debug(fields, 'hook ran');
    else {
      const said = safeText(stderr.trim().split('\n')[0] ?? '', 200);
      this.#options.log.warn({ ...fields, why: failure, ...(said === '' ? {} : { said }) }, 'hook failed');
    }
  }

  #tellLeftOut(): void {
    if (this.#leftOut === 0) return;
    this.#options.log.warn({ count: this.#leftOut }, 'hooks left out');
    this.#leftOut = 0;
    this.#leftOutToldAt = this.#options.now();
  }
}
