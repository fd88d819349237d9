// Whether something grows: a straight line through samples, and how much it rises in the time that they cover. Pure.

export type Sample = { readonly atMs: number; readonly value: number };
export type Trend = { readonly first: number; readonly last: number; readonly most: number; readonly rise: number };

/** Least squares. `rise`: how much higher the line ends than it begins. */
export function trendOf(samples: readonly Sample[]): Trend {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || samples.length < 3) throw new RangeError(`no trend in ${samples.length} samples`);
  const meanAt = samples.reduce((sum, { atMs }) => sum + atMs, 0) / samples.length;
  const mean = samples.reduce((sum, { value }) => sum + value, 0) / samples.length;
  const covariance = samples.reduce((sum, { atMs, value }) => sum + (atMs - meanAt) * (value - mean), 0);
  const variance = samples.reduce((sum, { atMs }) => sum + (atMs - meanAt) ** 2, 0);
  return {
    first: first.value,
    last: last.value,
    most: Math.max(...samples.map(({ value }) => value)),
    rise: (covariance / variance) * (last.atMs - first.atMs),
  };
}
