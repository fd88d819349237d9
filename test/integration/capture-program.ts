// A process with one running capture, for the tests: tells what it sees on stdout, one JSON line each, and obeys over IPC.
import { type CaptureWish, startCapture } from '../../daemon/capture/auto.ts';
import type { Capture } from '../../daemon/capture/capture.ts';

export type ProgramOptions = {
  readonly wish: CaptureWish;
  readonly canLog?: boolean;
  readonly marks?: boolean;
  readonly unmatched?: 'drop' | 'pass';
  readonly port: number;
  readonly group: number;
};
export type Seen = { readonly payload: string; readonly source: string; readonly sourcePort: number; readonly atNs: string };

const options = JSON.parse(process.argv[2] ?? '{}') as ProgramOptions;
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

try {
  const { capture, sieve, sentence } = await startCapture({
    unmatched: options.marks === true ? 'drop' : 'pass',
    table: 'postern',
    ...options,
    sieve: options.canLog === false ? { canLog: false, why: 'this firewall cannot log' } : { canLog: true, marks: options.marks ?? false },
    prefix: 'postern',
    onDatagram: ({ payload, source, sourcePort }) => {
      const text = Buffer.from(payload).toString('latin1');
      if (text === 'throw') throw new Error('the test wanted it');
      // Only counted: a test sends more of these than it wants to read.
      if (text.startsWith('flood')) return;
      say({ payload: text, source: source.text, sourcePort, atNs: String(process.hrtime.bigint()) });
    },
    onTrouble: (trouble) => say({ trouble }),
  });
  say({ started: capture.name, sieve, sentence });
  process.on('message', (message) => void obey(capture, message));
} catch (error) {
  say({ failed: error instanceof Error ? error.message : String(error), fault: Object(error).fault });
  process.disconnect?.();
}

async function obey(capture: Capture, message: unknown): Promise<void> {
  if (message === 'counters') process.send?.(capture.counters());
  if (message !== 'stop') return;
  await capture.stop();
  say({ stopped: true, resources: process.getActiveResourcesInfo() });
  // Only the channel to the test is left: the process has to end by itself.
  process.disconnect?.();
}
