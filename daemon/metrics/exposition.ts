// Samples as the text that node_exporter's textfile collector reads (the Prometheus exposition format, version 0.0.4). Pure.
import type { Metric } from './catalog.ts';
import type { HistogramSnapshot } from './histogram.ts';

export type Sample = { readonly labels?: Readonly<Record<string, string>>; readonly value: number };
export type Family = { readonly metric: Metric; readonly samples: readonly Sample[] | HistogramSnapshot };

/** The whole text. A family without samples is left out. */
export function exposition(families: readonly Family[]): string {
  return families.map(({ metric, samples }) => familyText(metric, samples)).join('');
}

function familyText(metric: Metric, samples: Family['samples']): string {
  const lines =
    'buckets' in samples ? histogramLines(metric.name, samples) : samples.map(({ labels, value }) => line(metric.name, labels, value));
  if (lines.length === 0) return '';
  return `# HELP ${metric.name} ${metric.help.replaceAll('\\', '\\\\')}\n# TYPE ${metric.name} ${metric.type}\n${lines.join('')}`;
}

function histogramLines(name: string, { buckets, count, sum }: HistogramSnapshot): readonly string[] {
  return [
    ...buckets.map(({ bound, count: below }) => line(`${name}_bucket`, { le: String(bound) }, below)),
    line(`${name}_bucket`, { le: '+Inf' }, count),
    line(`${name}_sum`, undefined, sum),
    line(`${name}_count`, undefined, count),
  ];
}

function line(name: string, labels: Readonly<Record<string, string>> | undefined, value: number): string {
  const inside = Object.entries(labels ?? {}).map(([key, text]) => `${key}="${escaped(text)}"`);
  return `${name}${inside.length === 0 ? '' : `{${inside.join(',')}}`} ${value}\n`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
