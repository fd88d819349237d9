// Numbers for tables: quantiles, and as many digits as they deserve.

/** Nearest rank: the smallest of the values that at least this share of them does not exceed. NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** `0.85 ms`, `28 ms`, `1.2 s`; `–` for what is not there. */
export function asTime(ms: number): string {
  if (!Number.isFinite(ms)) return '–';
  if (ms >= 9_950) return `${(ms / 1000).toFixed(0)} s`;
  if (ms >= 995) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 0.0995) return `${(ms * 1000).toFixed(ms < 0.00995 ? 1 : 0)} µs`;
  return `${digits(ms)} ms`;
}

/** Three digits that count: `0.85`, `8.20`, `28.1`, `117`. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size >= 99.95) return value.toFixed(0);
  return value.toFixed(size >= 9.995 ? 1 : 2);
}

/** `350,000` */
export function asCount(value: number): string {
  return Number.isFinite(value) ? Math.round(value).toLocaleString('en-US') : '–';
}

export function asMiB(value: number): string {
  return Number.isFinite(value) ? `${value.toFixed(value < 9.95 ? 1 : 0)} MiB` : '–';
}
