// Somebody who tries a closed door all the time, several times in every hundredth of a second, and writes down each time that it was open.
import { once } from 'node:events';
import type { Host } from '../lab/host.ts';

/** Runs on the host: connects without end, a few tries at once, and prints a line for each door that opened. */
const PROGRAM = `
  const { connect } = require('node:net');
  const [address, ...ports] = process.argv.slice(1);
  let tries = 0;
  function attempt(port) {
    tries += 1;
    const socket = connect({ host: address, port });
    // A dropped SYN is repeated after a second: each try is given up long before, so that the next one looks at a new moment.
    const timer = setTimeout(() => again(), 15);
    const again = () => { clearTimeout(timer); socket.destroy(); attempt(port); };
    socket.once('connect', () => { console.log('open ' + port + ' after ' + Math.round(performance.now()) + ' ms'); again(); });
    socket.once('error', () => undefined);
  }
  for (const port of ports) for (let at = 0; at < 4; at += 1) setTimeout(attempt, at * 4, Number(port));
  setInterval(() => console.error('tries ' + tries), 20);
`;

export type Probe = {
  /** How many connections were tried so far. */
  readonly tries: () => number;
  /** A line for each time that a door was open, so far. */
  readonly opened: () => readonly string[];
  /** Ends it; a line for each time that a door was open. */
  readonly stop: () => Promise<readonly string[]>;
};

export async function startProbing(from: Host, address: string, ports: readonly number[]): Promise<Probe> {
  const running = from.start([process.execPath, '-e', PROGRAM, address, ...ports.map(String)]);
  await running.waitForOutput(/tries [1-9]/);
  const tries = () => Number(/tries (\d+)\s*$/.exec(running.stderr)?.[1] ?? 0);
  const opened = () => running.stdout.split('\n').filter(Boolean);
  return {
    tries,
    opened,
    stop: async () => {
      const before = tries();
      while (tries() === before && !running.ended) await once(running.child.stderr ?? running.child, 'data');
      await running.stop();
      return opened();
    },
  };
}

/** Tries come several in a hundredth of a second: when none got in for this long, the door was shut in between. */
const SHUT_MS = 150;

/** The longest time that a door stood open by a probe's lines. */
export function openMs(lines: readonly string[]): number {
  const times = lines.map((line) => Number(/after (\d+) ms/.exec(line)?.[1])).toSorted((a, b) => a - b);
  let [longest, since] = [0, times[0] ?? 0];
  for (const [at, time] of times.entries()) {
    if (time - (times[at - 1] ?? time) > SHUT_MS) since = time;
    longest = Math.max(longest, time - since);
  }
  return longest;
}
