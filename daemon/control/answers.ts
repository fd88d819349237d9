// What the daemon answers to each request. Reads the parts, or passes an order on; holds no state of its own.
import { assertNever } from '../../protocol/brand.ts';
import { formatPortRange } from '../../protocol/ports.ts';
import type { AuditLog } from '../audit/audit-log.ts';
import type { Capture } from '../capture/capture.ts';
import type { Clock, MonotonicMs } from '../clock.ts';
import type { Counters } from '../counters.ts';
import type { EventObserver } from '../events.ts';
import { asCommandError } from '../firewall/as-command-error.ts';
import type { Firewall } from '../firewall/firewall.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { pacing } from '../pacing.ts';
import type { Postern } from '../postern.ts';
import type { Recent } from '../recent.ts';
import { grantLine, grantLines } from '../reports.ts';
import type { Trial } from '../trial.ts';
import { VERSION } from '../version.ts';
import type { GrantLine, Request, StatusReport } from './messages.ts';
import { orderOf } from './order.ts';
import { LEFT_OUT } from './pieces.ts';
import type { Answer } from './server.ts';

export type Answering = {
  readonly postern: Postern;
  readonly firewall: Firewall;
  readonly ledger: Ledger;
  readonly capture: Capture;
  /** Why this capture was chosen. */
  readonly captureWhy: string;
  readonly counters: Counters;
  readonly audit: AuditLog | undefined;
  readonly recent: Recent;
  readonly note: EventObserver;
  readonly trial: Trial;
  readonly clock: Clock;
  readonly startedAt: MonotonicMs;
};

export function answering(parts: Answering): Answer {
  return async (request, user) => {
    // Before it is done: also an order that fails was given.
    const order = orderOf(request);
    if (order !== undefined) parts.note({ kind: 'order', user: user ?? null, command: order });
    try {
      return await answer(parts, request);
    } catch (error) {
      throw asCommandError(error);
    }
  };
}

async function answer(parts: Answering, request: Request): Promise<unknown> {
  const { postern, clock } = parts;
  switch (request.command) {
    case 'status':
      return status(parts);
    case 'watch':
      return watched(parts, request.grants);
    case 'grants':
      return { grants: await liveGrants(parts) };
    case 'grant': {
      const { who, from, services, ttlSeconds, once } = request;
      const order = { who, from: from ?? undefined, services, ttlSeconds: ttlSeconds ?? undefined, once };
      const { grants, notes } = await postern.grantByHand(order);
      return { granted: grants.map((grant) => grantLine(grant, clock.monotonic())), notes };
    }
    case 'revoke': {
      const revoked = await postern.revoke(request.who, request.keepSessions);
      return { revoked: revoked.map((grant) => grantLine(grant, clock.monotonic())) };
    }
    case 'reload':
      return postern.reload();
    case 'try':
      return parts.trial.answer(request.ask);
    case 'gate':
      parts.trial.refuseWhileRunning();
      if (request.action === 'up') await postern.gate.up();
      else await postern.gate.down();
      return { state: postern.gate.state() };
    default:
      return assertNever(request);
  }
}

/** Those that end first at the top. */
async function liveGrants({ postern, clock }: Answering): Promise<Iterable<GrantLine | typeof LEFT_OUT>> {
  await postern.noteSpent();
  return grantLines(postern.grants.soonestFirst(), clock.monotonic());
}

/** As it is in the kernel, not as it should be. */
async function gateState({ postern, firewall }: Answering): Promise<StatusReport['gate']['state']> {
  if (firewall.name === 'none') return 'none';
  if (postern.gate.state() === 'down') return 'down';
  return (await firewall.intact().catch(() => false)) ? 'up' : 'changed';
}

async function status(
  parts: Answering,
): Promise<Omit<StatusReport, 'grants'> & { readonly grants: Iterable<GrantLine | typeof LEFT_OUT> }> {
  const { postern, firewall, ledger, capture, counters, clock } = parts;
  const grants = await liveGrants(parts);
  const health = ledger.health();
  const snapshot = counters.snapshot();
  return {
    pid: process.pid,
    version: VERSION,
    uptime_seconds: Math.round((clock.monotonic() - parts.startedAt) / 1000),
    gate: {
      state: await gateState(parts),
      backend: firewall.name,
      table: postern.config().table,
      protected: postern.config().protect.map(formatPortRange),
    },
    capture: { name: capture.name, why: parts.captureWhy, ...capture.counters() },
    kernel: await firewall.counters().catch(() => null),
    knocks: { granted: snapshot.granted, closed: snapshot.closed, dropped: snapshot.dropped },
    ledger: { place: health.place, marks: health.marks, note: health.note },
    audit: auditReport(parts.audit),
    tags: postern.tagBook.size(),
    clients: postern.clientCount(),
    rules_loaded_at: new Date(postern.rulesLoadedAtMs()).toISOString(),
    grants,
  };
}

async function watched(parts: Answering, most: number): Promise<object> {
  const { grants, ...rest } = await status(parts);
  const shown: GrantLine[] = [];
  const pace = pacing();
  for (const grant of grants) {
    if (shown.length === most) break;
    if (grant !== LEFT_OUT) shown.push(grant);
    await pace();
  }
  return { ...rest, grants: shown, grants_total: parts.postern.grants.size, recent: parts.recent.lines() };
}

function auditReport(audit: AuditLog | undefined): StatusReport['audit'] {
  if (audit === undefined) return null;
  const { file, state, head, waiting, lost, note } = audit.state();
  return { file, state, lines: head?.n ?? 0, head: head?.hash ?? null, waiting, lost, note };
}
