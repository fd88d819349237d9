// What a running daemon cannot change: it stands on these parts of its configuration. Pure.
import type { Config } from './config/config.ts';
import type { Sieve } from './firewall/firewall.ts';

/** Where the file calls it otherwise. */
const NAMES_IN_FILE: Readonly<Record<string, string>> = { audit: 'log.audit', metricsFile: 'metrics.textfile' };

export function fixedParts(config: Config, sieve: Sieve) {
  const { state, control, table, nflogGroup, capture, firewall, clockToleranceMs, audit, metricsFile } = config;
  // A socket is bound to its port; a rule of the sieve is not.
  const port = sieve.kind === 'log' ? {} : { port: config.port };
  // What a raw socket lets through is settled when it is opened.
  const unmatched = sieve.kind === 'pass' && sieve.to === 'raw' ? { unmatched: config.unmatched } : {};
  return { state, control, table, nflogGroup, capture, firewall, clockToleranceMs, audit, metricsFile, ...port, ...unmatched };
}

/** One sentence for each that the next configuration has otherwise. */
export function fixedDifferences(running: Readonly<Record<string, unknown>>, next: Readonly<Record<string, unknown>>): readonly string[] {
  return Object.entries(running)
    .filter(([key, value]) => JSON.stringify(next[key]) !== JSON.stringify(value))
    .map(([key]) => `a change of "${NAMES_IN_FILE[key] ?? key}" needs a restart: until then the old value holds`);
}
