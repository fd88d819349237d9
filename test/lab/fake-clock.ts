// A wall clock that a test can set for some processes: libfaketime, preloaded, reads the difference from a file at every call. The machine's own
// clock is never touched; CLOCK_MONOTONIC and CLOCK_BOOTTIME stay what they are, as when an administrator or NTP sets the time.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { removeScratch, scratchFolder } from './scratch.ts';

const HOUR_S = 3600;

/** Why no clock can be set here, or undefined. For `test(…, { skip })`. */
export function fakeClockMissing(): string | undefined {
  if (library() === undefined) return 'libfaketime is missing: scripts/install-needs test';
  const clock = new FakeClock();
  try {
    return clock.flaw();
  } finally {
    clock.close();
  }
}

export class FakeClock {
  readonly #folder = scratchFolder('clock');
  readonly #file = join(this.#folder, 'offset');
  #offsetSeconds = 0;
  /** For every process that shall live by this clock. */
  readonly env: Readonly<Record<string, string>>;

  constructor() {
    const preload = library();
    if (preload === undefined) throw new Error('libfaketime is missing');
    this.step(0);
    this.env = { LD_PRELOAD: preload, FAKETIME_TIMESTAMP_FILE: this.#file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' };
  }

  step(bySeconds: number): void {
    this.#offsetSeconds += bySeconds;
    const next = `${this.#file}.new`;
    writeFileSync(next, `${this.#offsetSeconds < 0 ? '' : '+'}${this.#offsetSeconds}\n`);
    renameSync(next, this.#file);
  }

  /** What keeps a process of this machine from living by such a clock: one that runs while the clock is set tells the time before and after. */
  flaw(): string | undefined {
    const script = `const fs = require('node:fs'), file = process.env.FAKETIME_TIMESTAMP_FILE, before = Date.now();
fs.writeFileSync(file, '+${2 * HOUR_S}'); process.stdout.write(before + ' ' + Date.now());`;
    const offset = this.#offsetSeconds;
    this.step(HOUR_S - offset);
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], {
      encoding: 'utf8',
      env: { ...process.env, ...this.env },
      timeout: 10_000,
    });
    const now = Date.now();
    this.step(offset - HOUR_S);
    const aheadHours = stdout.split(' ').map((ms) => Math.round((Number(ms) - now) / 1000 / HOUR_S));
    return aheadHours.join(' ') === '1 2'
      ? undefined
      : `libfaketime does not set the clock of a process here (it is ${aheadHours.join(', then ')} h ahead instead of 1, then 2): ${stderr.slice(0, 500)}`;
  }

  close(): void {
    removeScratch(this.#folder);
    sweepSharedMemory();
  }
}

/** Found by its file: the command `faketime` would have to run, and fails where a killed process left shared memory under its own process number. */
function library(): string | undefined {
  return readdirSync('/usr/lib', { withFileTypes: true })
    .map(({ name }) => `/usr/lib/${name}/faketime/libfaketimeMT.so.1`)
    .find((path) => existsSync(path));
}

/** Each preloaded process makes a semaphore and a page of memory of its own; of one that is killed they stay, and whoever gets its number trips over them. */
function sweepSharedMemory(): void {
  if (!existsSync('/dev/shm')) return;
  for (const name of readdirSync('/dev/shm')) {
    const pid = /^(?:sem\.)?faketime_(?:shm|sem)_(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) rmSync(join('/dev/shm', name), { force: true });
  }
}
