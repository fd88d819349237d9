// What a process and its children have cost so far: memory and processor time, from proc(5).
import { readdirSync, readFileSync } from 'node:fs';

/** Resident memory now, in MiB. */
export function residentMiB(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1024;
}

/** Processor time of the process and of the children that it has waited for, in milliseconds; in steps of 10 ms where children or past threads are in it. */
export function processorMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  const children = ((fields[13] ?? 0) + (fields[14] ?? 0)) * 10;
  const threads = readdirSync(`/proc/${pid}/task`).map((thread) => {
    try {
      return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
    } catch {
      return 0; // it ended meanwhile
    }
  });
  return children + threads.reduce((sum, ms) => sum + ms, 0);
}
