// Everybody who is told of decisions and events: counters, log, audit log, hooks. None of them calls back into the flow, and none can stop it.
import { AuditLog } from './audit/audit-log.ts';
import { systemClock } from './clock.ts';
import type { Config } from './config/config.ts';
import { Counters } from './counters.ts';
import type { Decision, Observer } from './decision.ts';
import { logDecisions } from './decision-log.ts';
import type { DaemonEvent, EventObserver } from './events.ts';
import { HookRunner } from './hooks/hook-runner.ts';
import { hookUser } from './hooks/hook-user.ts';
import type { Logger } from './log.ts';
import { Histogram } from './metrics/histogram.ts';
import { Recent } from './recent.ts';

export type Observers = {
  readonly observe: Observer;
  readonly note: EventObserver;
  readonly counters: Counters;
  readonly hooks: HookRunner;
  /** Seconds from packet to opening. */
  readonly latency: Histogram;
  readonly lastReload: () => 'done' | 'refused';
  /** Undefined: the configuration wants none. */
  readonly audit: AuditLog | undefined;
  readonly recent: Recent;
  /** Tells what was summed up; call it each second. */
  readonly flush: (everything?: boolean) => void;
  /** Call it each minute. */
  readonly eachMinute: () => Promise<void>;
  /** When nothing more will be decided. */
  readonly end: () => Promise<void>;
};

export async function startObservers(config: Config, log: Logger): Promise<Observers> {
  const counters = new Counters();
  const tell = logDecisions(log, systemClock);
  const hooks = new HookRunner({ user: await hookUser(), now: systemClock.monotonic, log });
  const audit = config.audit === undefined ? undefined : new AuditLog(config.audit, systemClock, log);
  const latency = new Histogram();
  const recent = new Recent();
  let lastReload: 'done' | 'refused' = 'done';
  let isStarted = false;
  return {
    observe: contained<Decision>(log, [
      (decision) => counters.observe(decision),
      (decision) => decision.kind === 'granted' && decision.tookMs !== undefined && latency.add(decision.tookMs / 1000),
      tell,
      (decision) => audit?.observe(decision),
      (decision) => recent.observe(decision, systemClock.wall()),
      (decision) => hooks.observe(decision),
    ]),
    note: contained<DaemonEvent>(log, [
      (event) => {
        isStarted = true;
        if (event.kind === 'reload') lastReload = 'done';
        if (event.kind === 'reload-failed') lastReload = 'refused';
        audit?.note(event);
      },
    ]),
    counters,
    hooks,
    latency,
    lastReload: () => lastReload,
    audit,
    recent,
    flush: tell.flush,
    eachMinute: async () => audit?.tellHead(),
    end: async () => {
      await hooks.stop();
      if (isStarted) audit?.note({ kind: 'stop' });
      await audit?.close();
    },
  };
}

/** An observer that throws must not take the flow down with it. */
function contained<T>(log: Logger, observers: readonly ((what: T) => unknown)[]): (what: T) => void {
  return (what) => {
    for (const observer of observers) {
      try {
        observer(what);
      } catch (error) {
        log.error({ err: error }, 'an observer failed');
      }
    }
  };
}
