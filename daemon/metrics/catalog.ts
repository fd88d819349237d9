// Every metric that posternd gives: its name, type and meaning. docs/metrics.md lists the same (a test compares both). Pure.

export type MetricType = 'counter' | 'gauge' | 'histogram';

export type Metric = {
  readonly name: `postern_${string}`;
  readonly type: MetricType;
  readonly help: string;
  readonly labels?: readonly string[];
};

export const METRICS = {
  running: { name: 'postern_running', type: 'gauge', help: '1 while the daemon runs, 0 after it stopped in order.' },
  build: {
    name: 'postern_build_info',
    type: 'gauge',
    help: 'Always 1: the version, the firewall backend and the capture in use.',
    labels: ['version', 'gate', 'capture'],
  },
  started: { name: 'postern_start_time_seconds', type: 'gauge', help: 'When the daemon started, in seconds since the Unix epoch.' },
  gate: { name: 'postern_gate_up', type: 'gauge', help: '1 while the gate stands, 0 while every port is open.' },
  granted: { name: 'postern_knocks_granted_total', type: 'counter', help: 'Knocks that opened something.' },
  dropped: {
    name: 'postern_knocks_dropped_total',
    type: 'counter',
    help: 'Packets and knocks that opened nothing, by reason.',
    labels: ['reason'],
  },
  ended: {
    name: 'postern_grants_ended_total',
    type: 'counter',
    help: 'Ends of grants: closed by the client (counted by knock), revoked, or over.',
    labels: ['how'],
  },
  grants: { name: 'postern_grants', type: 'gauge', help: 'Live grants.' },
  latency: {
    name: 'postern_knock_to_grant_seconds',
    type: 'histogram',
    help: 'Time from a packet in the daemon to the opening in the kernel, of knocks that opened something.',
  },
  sieve: {
    name: 'postern_sieve_packets_total',
    type: 'counter',
    help: 'Packets to the knock port as the kernel counts them: knock (a valid tag) or junk.',
    labels: ['kind'],
  },
  refused: {
    name: 'postern_gate_refused_packets_total',
    type: 'counter',
    help: 'Packets to protected ports without a grant, as the kernel counts them.',
  },
  cut: {
    name: 'postern_gate_cut_packets_total',
    type: 'counter',
    help: 'Packets of connections that ended with their grant, as the kernel counts them.',
  },
  capture: {
    name: 'postern_capture_datagrams_total',
    type: 'counter',
    help: 'Datagrams by what became of them on the way into the daemon: seen, lost, foreign, malformed.',
    labels: ['result'],
  },
  tags: { name: 'postern_tags_armed', type: 'gauge', help: 'One-time tags that are valid now.' },
  clients: { name: 'postern_clients', type: 'gauge', help: 'Clients in the rules that hold.' },
  reloadOk: {
    name: 'postern_last_reload_successful',
    type: 'gauge',
    help: '1 when the last reading of the rules worked, 0 when the old ones hold.',
  },
  rulesLoaded: {
    name: 'postern_rules_loaded_timestamp_seconds',
    type: 'gauge',
    help: 'When the rules that hold were read, in seconds since the Unix epoch.',
  },
  ledgerMarks: { name: 'postern_ledger_marks', type: 'gauge', help: 'Used knocks that the replay ledger holds.' },
  ledgerPlace: {
    name: 'postern_ledger_place',
    type: 'gauge',
    help: '1 for the place that the next mark goes to: state, runtime (the state folder cannot be written), none (no knock is accepted).',
    labels: ['place'],
  },
  auditOk: {
    name: 'postern_audit_writable',
    type: 'gauge',
    help: '1 while the audit log can be written, 0 while entries wait or are lost.',
  },
  auditLines: { name: 'postern_audit_lines', type: 'gauge', help: 'Number of the last line of the audit log.' },
  auditWaiting: { name: 'postern_audit_waiting', type: 'gauge', help: 'Entries of the audit log that wait to be written.' },
  auditLost: {
    name: 'postern_audit_lost_total',
    type: 'counter',
    help: 'Entries of the audit log that could not be written and not wait either.',
  },
} as const satisfies Readonly<Record<string, Metric>>;
