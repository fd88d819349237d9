// While a trial runs the gate must not outlive it. No table of iptables belongs to a process, so another process waits for the end of ours.
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launchListening } from '../../spawn.ts';

/** What the program is told when there is nothing to guard any more. */
export const STAYS = 'stays';

export type Guard = {
  /** The gate is gone, or stays by somebody's word. */
  readonly dismiss: () => void;
};

export function startGuard(table: string, runtimeFolder: string, onTrouble: (text: string) => void): Guard {
  let dismissed = false;
  // --jitless: the unit forbids memory that is writable and executable, and hands none of its environment to children.
  const program = fileURLToPath(new URL(`./guard-program${extname(import.meta.url)}`, import.meta.url));
  const process_ = launchListening([process.execPath, '--jitless', program, table, runtimeFolder], () => {
    if (!dismissed)
      onTrouble('the process that takes the gate down when this one is killed has ended: after a kill "posternd gate down" does it');
  });
  return {
    dismiss: () => {
      dismissed = true;
      process_.tell(STAYS);
    },
  };
}
