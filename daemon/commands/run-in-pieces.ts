// Loads what `posternd run` needs, piece by piece: evaluated in one go it would be the longest time for which the event loop stands still.
// Nobody can knock yet; but systemd is told that the daemon starts, and the machine may be ten times as slow as ours. Decides nothing.
import { setImmediate as nextTurn } from 'node:timers/promises';

/**
 * What takes longest to evaluate without V8's compiler, before what needs it: each piece in a turn of its own. `yaml/util` is half of `yaml`. Leaving one
 * out costs a longer stall and nothing else.
 */
const PIECES: readonly (() => Promise<unknown>)[] = [
  () => import('zod/v4/core'),
  () => import('zod'),
  () => import('yaml/util'),
  () => import('yaml'),
  () => import('pino'),
  () => import('tweetnacl'),
  () => import('../config/load.ts'),
  () => import('../reading/read-rules.ts'),
  () => import('../firewall/choose.ts'),
  () => import('../ledger/open.ts'),
  () => import('../capture/auto.ts'),
];

/** The module of the command, with everything that it needs evaluated. */
export async function loadRun(): Promise<typeof import('./run.ts')> {
  for (const load of PIECES) {
    await load();
    await nextTurn();
  }
  return import('./run.ts');
}
