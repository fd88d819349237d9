// How V8 collects garbage in the daemon (docs/decisions/150-stalls.md). Decides nothing else.
import { setFlagsFromString } from 'node:v8';

/**
 * Call once, first. The frequent small collections are done by the thread that has to stop for them. By default it shares them with others and then
 * waits for those: where something else has the other processors, 60 ms instead of two. Larger collections go on being prepared by others meanwhile.
 */
export function collectAlone(): void {
  // Read at the beginning of each collection, so it may be set while the program runs.
  setFlagsFromString('--no-parallel-scavenge');
}
