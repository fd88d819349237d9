// Which boot of this host it is: what was promised for the length of a boot is worthless in the next one.
import { readFileSync } from 'node:fs';

/** random(4): changes with each boot and never within one. */
export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
