// Up to which rate a system keeps up: what follows from how many knocks opened their door, and when.

export type RateRow = {
  readonly key: string;
  readonly perSecond: number;
  readonly sent: number;
  readonly opened: number;
  /** Not yet open when the last knock was sent. */
  readonly behind: number;
  readonly cpuMsEach: number;
};

/** The highest rate at which less than a tenth of a second's knocks were still waiting at the end, and up to which every knock opened its door. */
export function sustained(rows: readonly RateRow[]): number {
  const lossless = rows.slice(0, rows.findIndex(({ sent, opened }) => opened < sent) >>> 0);
  return Math.max(0, ...lossless.filter(({ behind, perSecond }) => behind <= perSecond / 10).map(({ perSecond }) => perSecond));
}

/** One that loses a fifth, or lags by half of what was sent, is not asked for more. */
export function isWorthMore({ sent, opened, behind }: RateRow): boolean {
  return opened >= sent * 0.8 && behind <= sent / 2;
}
