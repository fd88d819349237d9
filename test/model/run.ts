// Runs histories by chance against the real daemon, makes one that fails shorter, and says how to repeat it.
import fc from 'fast-check';
import { hideTimeMatch, useBackend } from '../lab/backend.ts';
import type { Backend } from '../lab/backend-table.ts';
import { histories } from './commands.ts';
import { Model } from './model.ts';
import { World } from './world.ts';

export type RunOptions = {
  /** One for each process. */
  readonly backend: Backend;
  readonly runs: number;
  readonly mostCommands: number;
  readonly seed: number;
  readonly deadlineMs: number;
  /** As a failure printed them. */
  readonly path?: string | undefined;
  readonly replayPath?: string | undefined;
  /** Whether a failing history is made shorter, which takes minutes. */
  readonly shrinks: boolean;
  readonly onRun?: (number: number) => void;
  /** Each history that fails, while it is made shorter. */
  readonly onFailure?: (history: string, error: unknown) => void;
};

/** Fails with the history, its seed and its path. */
export async function runHistories({
  backend,
  runs,
  mostCommands,
  seed,
  deadlineMs,
  path,
  replayPath,
  shrinks,
  onRun,
  onFailure,
}: RunOptions): Promise<void> {
  useBackend(backend);
  // There the kernel ends rules by its own wall clock, and only the daemon's is set here.
  if (backend !== 'nftables') hideTimeMatch();
  const world = await World.create(deadlineMs);
  let number = 0;
  try {
    const property = fc.asyncProperty(histories(world.abilities, mostCommands, replayPath), async (history) => {
      number += 1;
      onRun?.(number);
      try {
        await fc.asyncModelRun(async () => {
          await world.begin();
          return { model: new Model(world.addresses, world.abilities), real: world };
        }, history);
      } catch (error) {
        onFailure?.([...history].map(String).join('\n'), error);
        throw error;
      }
    });
    await fc.assert(property, {
      numRuns: runs,
      seed,
      endOnFailure: !shrinks,
      // Else most histories are short.
      unbiased: true,
      ...(path === undefined ? {} : { path }),
      verbose: 1,
      includeErrorInReport: true,
    });
  } finally {
    await world.close();
  }
}
