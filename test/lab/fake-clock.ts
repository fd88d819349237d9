// A wall clock that a test can set for some processes: libfaketime, preloaded, reads the difference from a file at every call. The machine's own
// clock is never touched; CLOCK_MONOTONIC and CLOCK_BOOTTIME stay what they are, as when an administrator or NTP sets the time.
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runNow } from './process.ts';
import { removeScratch, scratchFolder } from './scratch.ts';

/** Why no clock can be set here, or undefined. For `test(…, { skip })`. */
export function fakeClockMissing(): string | undefined {
  return preload() === '' ? 'the command faketime is missing: scripts/install-needs test' : undefined;
}

export class FakeClock {
  readonly #folder = scratchFolder('clock');
  readonly #file = join(this.#folder, 'offset');
  #offsetSeconds = 0;
  /** For every process that shall live by this clock. */
  readonly env: Readonly<Record<string, string>>;

  constructor() {
    this.step(0);
    this.env = { LD_PRELOAD: preload(), FAKETIME_TIMESTAMP_FILE: this.#file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' };
  }

  step(bySeconds: number): void {
    this.#offsetSeconds += bySeconds;
    const next = `${this.#file}.new`;
    writeFileSync(next, `${this.#offsetSeconds < 0 ? '' : '+'}${this.#offsetSeconds}\n`);
    renameSync(next, this.#file);
  }

  close(): void {
    removeScratch(this.#folder);
  }
}

function preload(): string {
  return runNow(['faketime', '-m', '-f', '+0', 'sh', '-c', 'printf %s "$LD_PRELOAD"']);
}
