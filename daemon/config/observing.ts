// What the configuration says about those who only watch: the audit log and the metrics.
import { resolve } from 'node:path';
import { type Problem, problemAt, quoted } from '../problem.ts';
import type { AuditSettings } from './config.ts';
import type { YamlSource } from './yaml-source.ts';

type AuditFields =
  | string
  | { readonly file?: string | undefined; readonly max_size?: number | undefined; readonly keep?: number | undefined };

export function auditSettings(base: string, given: AuditFields | undefined): AuditSettings | undefined {
  if (given === 'none') return undefined;
  const {
    file = '/var/log/postern/audit.jsonl',
    max_size = 64 * 2 ** 20,
    keep = 16,
  } = typeof given === 'string' ? { file: given } : (given ?? {});
  return { file: resolve(base, file), maxBytes: max_size, keep };
}

/** node_exporter reads no file with another ending. */
export function metricsFile(source: YamlSource, base: string, given: string | undefined, problems: Problem[]): string | undefined {
  if (given !== undefined && !given.endsWith('.prom'))
    problems.push(
      problemAt(source.placeOf(['metrics', 'textfile']), `node_exporter does not read ${quoted(given)}`, 'let its name end in .prom'),
    );
  return given === undefined ? undefined : resolve(base, given);
}
