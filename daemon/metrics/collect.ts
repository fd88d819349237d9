// The figures of this moment, from the daemon's parts. Reads only.
import type { AuditLog } from '../audit/audit-log.ts';
import type { Capture } from '../capture/capture.ts';
import type { Counters } from '../counters.ts';
import type { Firewall, GateCounters } from '../firewall/firewall.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Postern } from '../postern.ts';
import { VERSION } from '../version.ts';
import { METRICS } from './catalog.ts';
import type { Family, Sample } from './exposition.ts';
import type { Histogram } from './histogram.ts';

export type Measured = {
  readonly postern: Postern;
  readonly firewall: Firewall;
  readonly ledger: Ledger;
  readonly capture: Capture;
  readonly counters: Counters;
  readonly audit: AuditLog | undefined;
  readonly latency: Histogram;
  readonly lastReload: () => 'done' | 'refused';
  readonly startedAtMs: number;
};

/** What the kernel does not tell now is left out: a zero would look like a new start. */
export async function collect(parts: Measured, running: boolean): Promise<readonly Family[]> {
  const { postern, firewall, ledger, capture, counters, audit, latency } = parts;
  const kernel = await firewall.counters().catch(() => undefined);
  const { granted, closed, revoked, ended, dropped } = counters.snapshot();
  const { seen, lost, foreign, malformed } = capture.counters();
  const health = ledger.health();
  return [
    { metric: METRICS.running, samples: one(running ? 1 : 0) },
    { metric: METRICS.build, samples: [{ labels: { version: VERSION, gate: firewall.name, capture: capture.name }, value: 1 }] },
    { metric: METRICS.started, samples: one(parts.startedAtMs / 1000) },
    { metric: METRICS.gate, samples: one(postern.gate.state() === 'up' ? 1 : 0) },
    { metric: METRICS.granted, samples: one(granted) },
    { metric: METRICS.dropped, samples: each('reason', dropped) },
    { metric: METRICS.ended, samples: each('how', { closed, revoked, ended }) },
    { metric: METRICS.grants, samples: one(postern.grants.size) },
    { metric: METRICS.latency, samples: latency.snapshot() },
    ...kernelFamilies(kernel),
    { metric: METRICS.capture, samples: each('result', { seen, lost, foreign, malformed }) },
    { metric: METRICS.tags, samples: one(postern.tagBook.size()) },
    { metric: METRICS.clients, samples: one(postern.clientCount()) },
    { metric: METRICS.reloadOk, samples: one(parts.lastReload() === 'done' ? 1 : 0) },
    { metric: METRICS.rulesLoaded, samples: one(postern.rulesLoadedAtMs() / 1000) },
    { metric: METRICS.ledgerMarks, samples: one(health.marks) },
    {
      metric: METRICS.ledgerPlace,
      samples: (['state', 'runtime', 'none'] as const).map((place) => ({ labels: { place }, value: place === health.place ? 1 : 0 })),
    },
    ...(audit === undefined ? [] : auditFamilies(audit)),
  ];
}

function kernelFamilies(kernel: GateCounters | undefined): readonly Family[] {
  if (kernel === undefined) return [];
  return [
    { metric: METRICS.sieve, samples: each('kind', { knock: kernel.knocks, junk: kernel.junk }) },
    { metric: METRICS.refused, samples: one(kernel.refused) },
    { metric: METRICS.cut, samples: one(kernel.ended) },
  ];
}

function auditFamilies(audit: AuditLog): readonly Family[] {
  const { state, head, waiting, lost } = audit.state();
  return [
    { metric: METRICS.auditOk, samples: one(state === 'written' ? 1 : 0) },
    { metric: METRICS.auditLines, samples: one(head?.n ?? 0) },
    { metric: METRICS.auditWaiting, samples: one(waiting) },
    { metric: METRICS.auditLost, samples: one(lost) },
  ];
}

function one(value: number): readonly Sample[] {
  return [{ value }];
}

function each(label: string, values: Readonly<Record<string, number>>): readonly Sample[] {
  return Object.entries(values).map(([name, value]) => ({ labels: { [label]: name }, value }));
}
