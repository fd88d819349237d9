// What the probe inside a daemon tells about the time since it was asked last. Types only.
export type StallReport = {
  /** The longest spans for which the event loop could not turn, longest first. */
  readonly stallsMs: readonly number[];
  /** The longest that the daemon itself worked without a turn: processor time, so that what else the machine did is not in it. */
  readonly workedMs: number;
  /** The longest pause of V8's collector: it may be one of them, or part of one. */
  readonly longestCollectionMs: number;
  readonly rssMiB: number;
  /** Used by objects, and by the buffers that hang on them. */
  readonly heapMiB: number;
  readonly buffersMiB: number;
  /** The most that was seen since the last report. */
  readonly peakMiB: number;
  /** Processor time of all threads of the daemon. */
  readonly cpuMs: number;
  readonly elapsedMs: number;
};
