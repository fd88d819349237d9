// `posternd status` and `posternd grants`: what the daemon sees, for people and as JSON.
import { assertNever } from '../../protocol/brand.ts';
import { formatDuration } from '../../protocol/duration.ts';
import { loadConfig } from '../config/load.ts';
import { askDaemon } from '../control/ask.ts';
import { type GrantLine, GrantsReport, type StatusReport, StatusReport as StatusShape } from '../control/messages.ts';
import type { CommonOptions, Output } from './options.ts';
import { requireConfig } from './require.ts';
import { table } from './table.ts';

export async function statusCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  const report = await askDaemon(config.control, { command: 'status' }, StatusShape);
  output.out(options.json ? JSON.stringify(report, null, 2) : describeStatus(report));
}

export async function grantsCommand(options: CommonOptions, output: Output): Promise<void> {
  const config = requireConfig(await loadConfig(options.config));
  const report = await askDaemon(config.control, { command: 'grants' }, GrantsReport);
  output.out(options.json ? JSON.stringify(report, null, 2) : describeGrants(report.grants));
}

function describeGate({ state, backend, table: name, protected: ports }: StatusReport['gate']): string {
  const list = ports.join(' ') || 'nothing';
  const where = `(${backend}, table ${name})`;
  switch (state) {
    case 'up':
      return `up ${where}, closed unless granted: ${list}`;
    case 'down':
      return `DOWN: every port is open ${where}; "posternd gate up" closes unless granted: ${list}`;
    case 'changed':
      return `NOT IN PLACE: flushed or changed by somebody, ports may be open ${where}; it is being loaded again, see the log`;
    case 'none':
      return `NONE: every port is open ("firewall: none" only decides and logs)`;
    default:
      return assertNever(state);
  }
}

/** For people. */
export function describeStatus(report: StatusReport): string {
  const { gate, capture, kernel, knocks, ledger } = report;
  const dropped = Object.entries(knocks.dropped).filter(([, count]) => count > 0);
  const lines = [
    `posternd ${report.version}, pid ${report.pid}, up ${formatUptime(report.uptime_seconds)}`,
    `gate     ${describeGate(gate)}`,
    `capture  ${capture.why.replace(/^capture /, '')}`,
    `         ${capture.seen} seen, ${capture.lost} lost, ${capture.foreign} not ours, ${capture.malformed} malformed`,
    ...(kernel === null
      ? ['kernel   counters cannot be read now']
      : [
          `kernel   ${kernel.knocks} knocks let in by the sieve, ${kernel.junk} junk dropped`,
          `         ${kernel.refused} packets to closed ports refused, ${kernel.ended} packets of ended connections cut`,
        ]),
    `knocks   ${knocks.granted} granted, ${knocks.closed} closed by clients${dropped.length === 0 ? ', none dropped' : ''}`,
    ...dropped.map(([reason, count]) => `         ${count} dropped: ${reason}`),
    `clients  ${report.clients}, with ${report.tags} tags armed; rules read ${report.rules_loaded_at}`,
    `ledger   ${ledger.marks} marks, written to the ${ledger.place} folder${ledger.note === '' ? '' : `: ${ledger.note}`}`,
    ...describeAudit(report.audit),
    '',
    describeGrants(report.grants),
  ];
  return lines.join('\n');
}

function describeAudit(audit: StatusReport['audit']): readonly string[] {
  if (audit === null) return ['audit    none, by the configuration'];
  const lost = audit.lost === 0 ? '' : `, ${audit.lost} LOST since the start`;
  if (audit.state === 'written') return [`audit    ${audit.lines} lines in ${audit.file}${lost}`];
  return [`audit    CANNOT BE WRITTEN (${audit.note}): ${audit.file}, ${audit.waiting} entries wait${lost}`];
}

function describeGrants(grants: readonly GrantLine[]): string {
  if (grants.length === 0) return 'no live grants';
  const rows = grants.map((grant) => [
    grant.id,
    grant.by === 'administrator' ? `${grant.client} (by hand)` : grant.client,
    grant.address,
    `${grant.service}${grant.kind.startsWith('once') ? ' (once)' : ''}${grant.source_port === null ? '' : ` (from port ${grant.source_port})`}`,
    grant.ports.join(','),
    `${grant.remaining_seconds} s`,
  ]);
  return table([['GRANT', 'CLIENT', 'ADDRESS', 'SERVICE', 'PORTS', 'TIME LEFT'], ...rows]);
}

function formatUptime(seconds: number): string {
  const whole = Math.floor(seconds);
  if (whole < 120) return formatDuration(whole);
  const parts = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  return parts.map((value, at) => (value > 0 ? `${value}${'dhm'[at]}` : '')).join('');
}
