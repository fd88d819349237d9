// Work that is done again and again, by a clock that nobody sets. Decides nothing about the work.
// Not by node-cron: after a step of the wall clock it stands still, forward until it has gone through every minute that never was, back until
// the clock is where it had been before (docs/decisions/130-periodic-work.md).

/** Begins in `everyMs`; while one turn is under way the next ones are left out. Returns what ends it. */
export function periodically(everyMs: number, work: () => Promise<void>, onFailure: (error: unknown) => void): () => void {
  let isBusy = false;
  const timer = setInterval(() => {
    if (isBusy) return;
    isBusy = true;
    // A `work` that throws at once is a rejection too.
    Promise.resolve()
      .then(work)
      .catch(onFailure)
      .finally(() => {
        isBusy = false;
      });
  }, everyMs);
  // What else the process has to do keeps it alive.
  timer.unref();
  return () => clearInterval(timer);
}
