// The whole life of an installed gate, for tests of what it leaves alone: start, knocks, revocation, stop, kill -9, removal, and all over.
import type { Stage } from './stage.ts';

/** Calls back after each step; `nothingLeft` once, when the gate has been removed. Ends with a daemon that runs. */
export async function liveThrough(
  stage: Stage,
  unchanged: (after: string) => Promise<void>,
  nothingLeft: (after: string) => Promise<void>,
): Promise<void> {
  const { postern, server } = stage;
  await postern.start();
  await unchanged('start');
  for (const address of server.addresses()) await stage.knock(address);
  await unchanged('knocks');
  await postern.posternd(['revoke', 'alice']);
  await postern.posternd(['reload']);
  await unchanged('revoke and reload');
  await postern.stop();
  await unchanged('stop');
  await postern.start();
  await postern.killHard();
  await unchanged('kill -9');
  await postern.posternd(['gate', 'down']);
  await unchanged('removal');
  await nothingLeft('removal');
  await postern.posternd(['gate', 'up']);
  await unchanged('gate up');
  await postern.start();
  await unchanged('start over');
}
