// Ends a run that does not end: a second thread that sees the same memory. The loop writes down each input before it runs it; when the count stands
// still for too long, the thread saves that input, says where the loop is (by the inspector), and ends the process.
import { writeFileSync } from 'node:fs';
import { type Debugger, Session } from 'node:inspector/promises';
import { isMainThread, Worker, workerData } from 'node:worker_threads';

// Tunable.
const ENDLESS_MS = 20_000;
const LOOK_MS = 1000;
const PAUSE_MS = 5000;
const ROOM_BYTES = 256 * 1024;
/** Count of runs, length of the input; then the input. */
const HEAD_BYTES = 8;

export type Watchdog = { readonly before: (input: Uint8Array) => void; readonly stop: () => Promise<number> };

/** `file`: where the input is saved. `command` is what is printed to run it again. */
export function watchdog(file: string, command: string): Watchdog {
  const memory = new SharedArrayBuffer(HEAD_BYTES + ROOM_BYTES);
  const head = new Int32Array(memory, 0, 2);
  const room = new Uint8Array(memory, HEAD_BYTES);
  const worker = new Worker(new URL(import.meta.url), { workerData: { memory, file, command } });
  worker.unref();
  return {
    before: (input) => {
      const shown = input.length > ROOM_BYTES ? input.subarray(0, ROOM_BYTES) : input;
      room.set(shown);
      head[1] = shown.length;
      head[0] = ((head[0] ?? 0) + 1) | 0;
    },
    stop: () => worker.terminate(),
  };
}

type Watched = { readonly memory: SharedArrayBuffer; readonly file: string; readonly command: string };

function watch({ memory, file, command }: Watched): void {
  const head = new Int32Array(memory, 0, 2);
  let last = 0;
  let stillMs = 0;
  const looking = setInterval(() => {
    const now = Atomics.load(head, 0);
    stillMs = now === last && now !== 0 ? stillMs + LOOK_MS : 0;
    last = now;
    if (stillMs < ENDLESS_MS) return;
    clearInterval(looking);
    writeFileSync(file, new Uint8Array(memory, HEAD_BYTES, Atomics.load(head, 1)).slice());
    process.stderr.write(`\nFINDING: no end after ${ENDLESS_MS / 1000} s. Again: ${command}\n`);
    setTimeout(end, PAUSE_MS);
    void whereItIs().then((place) => {
      process.stderr.write(`${place}\n`);
      end();
    });
  }, LOOK_MS);
}

function end(): void {
  process.kill(process.pid, 'SIGKILL');
}

/** The innermost functions that the main thread is in. It stays stopped there. */
async function whereItIs(): Promise<string> {
  const session = new Session();
  session.connectToMainThread();
  const paused = new Promise<readonly Debugger.CallFrame[]>((resolve) => {
    session.once('Debugger.paused', ({ params }) => resolve(params.callFrames));
  });
  await session.post('Debugger.enable');
  await session.post('Debugger.pause');
  const frames = await paused;
  return frames
    .slice(0, 10)
    .map(({ functionName, url, location }) => `    in ${functionName || '(no name)'} ${url}:${location.lineNumber + 1}`)
    .join('\n');
}

if (!isMainThread && workerData?.memory instanceof SharedArrayBuffer) watch(workerData);
