// Notices what makes a grant worthless before its time: another address of this machine towards the host, or a long sleep.
import type { IpAddress } from '../protocol/address.ts';
import { openPath } from './path.ts';
import type { World } from './world.ts';

// Tunable. Asking the kernel for a route costs two system calls for each address, and sends nothing.
const LOOK_EVERY_MS = 1000;
// Timers stand still while a machine sleeps and its clock goes on; less than this may be a correction of the clock.
const SLEPT_MS = 5000;

export type Change =
  | { readonly kind: 'moved'; readonly from: string; readonly to: string }
  | { readonly kind: 'slept'; readonly ms: number };

/** Calls `onChange` until the signal comes. `routes` gives the text of this machine's addresses towards the host. */
export async function watchChanges(
  routes: () => Promise<string>,
  world: Pick<World, 'now' | 'monotonicMs'>,
  signal: AbortSignal,
  onChange: (change: Change) => void,
  everyMs = LOOK_EVERY_MS,
): Promise<void> {
  let route = await routes();
  let [wallMs, steadyMs] = [world.now() as number, world.monotonicMs()];
  while (!signal.aborted) {
    await pause(everyMs, signal);
    const [nowMs, nowSteadyMs] = [world.now(), world.monotonicMs()];
    // Either clock may stand still in a sleep: a stopped process sees a late timer, a sleeping machine a jump of the wall clock.
    const sleptMs = Math.max(nowMs - wallMs, nowSteadyMs - steadyMs) - LOOK_EVERY_MS;
    [wallMs, steadyMs] = [nowMs, nowSteadyMs];
    const next = await routes();
    if (signal.aborted) return;
    if (next !== route) onChange({ kind: 'moved', from: route, to: next });
    else if (sleptMs > SLEPT_MS) onChange({ kind: 'slept', ms: sleptMs });
    route = next;
  }
}

/** From which address the system would send to each target: `192.0.2.7 2001:db8::7`, with `none` where no route leads. */
export async function routesTo(targets: readonly IpAddress[], port: number): Promise<string> {
  const locals = await Promise.all(
    targets.map(async (target) => {
      try {
        const path = await openPath(target, port, undefined);
        path.close();
        return path.local.text;
      } catch {
        return 'none';
      }
    }),
  );
  return [...new Set(locals)].join(' ');
}

/** Ends early on the signal; never rejects. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, Math.max(0, ms));
    signal.addEventListener('abort', finish);
    if (signal.aborted) finish();
  });
}
