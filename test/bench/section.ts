// What a part of the benchmark hands over: figures as data, for the results folder, the documents and the README. Types only.

/** Cells are printed as they are; `head` names the columns. */
export type Table = { readonly title: string; readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] };

/** x in the order given; a missing point (null) is a gap. */
export type Series = { readonly name: string; readonly points: readonly { readonly x: number; readonly y: number | null }[] };

export type Axis = { readonly label: string; readonly scale: 'linear' | 'log' };

export type Chart =
  | {
      readonly kind: 'lines';
      /** The file's name without .svg. */
      readonly name: string;
      readonly title: string;
      readonly x: Axis;
      readonly y: Axis;
      readonly series: readonly Series[];
    }
  | {
      readonly kind: 'bars';
      readonly name: string;
      readonly title: string;
      readonly x: Axis;
      /** `mark`: a second, thinner figure of the same bar, the p99 beside the median say. */
      readonly bars: readonly { readonly name: string; readonly value: number; readonly mark?: number; readonly text: string }[];
    };

/** A line of the README's table. */
export type Headline = { readonly figure: string; readonly goal: string; readonly ours: string; readonly peers: string };

export type Section = {
  /** `npm run bench -- KEY` runs it. */
  readonly key: string;
  readonly title: string;
  readonly command: string;
  /** Paragraphs: what was measured, and how. */
  readonly about: readonly string[];
  readonly tables: readonly Table[];
  readonly charts: readonly Chart[];
  readonly headlines: readonly Headline[];
  /** Systems or steps that did not run, each with its reason. */
  readonly leftOut: readonly string[];
  /** Everything that was measured, for whoever wants to count again. */
  readonly raw: unknown;
};

/** A section with the circumstances of its run. */
export type Result = Section & {
  readonly date: string;
  readonly revision: string;
  readonly machine: readonly string[];
  readonly isQuick: boolean;
};
