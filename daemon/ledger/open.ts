// Starts the ledger: finds what earlier daemons left in both places, decides which windows stay shut, and mends or replaces what is damaged.
import fs from 'node:fs';
import { join, resolve } from 'node:path';
import type { Clock } from '../clock.ts';
import type { Problem } from '../problem.ts';
import { FileLedger } from './file-ledger.ts';
import { bootIdBytes, type Status } from './format.ts';
import { ageOf, barsOf, exposedOf, findLedger, leftBehind, lossOf, marksOf, sequenceOf } from './found.ts';
import { HeldMarks } from './held-marks.ts';
import type { Ledger, WindowRange } from './ledger.ts';
import { createLedgerFile, reasonOf, syncFolder } from './ledger-file.ts';
import { takeLock } from './lock.ts';
import { mendLedger, moveAside } from './mend.ts';
import { MarkPlaces } from './places.ts';
import { mergeRanges } from './windows.ts';

const NAME = 'ledger';
// For a configuration whose runtime and state folder are the same.
const RUNTIME_NAME_BESIDE = 'ledger.runtime';

export type LedgerOptions = {
  /** Survives a reboot. */
  readonly stateDir: string;
  /** A tmpfs as a rule: takes the marks while the state folder cannot. Both are made if they are missing. */
  readonly runtimeDir: string;
  /** See readBootId. */
  readonly bootId: string;
  /**
   * All windows of which a tag may have been accepted or armed up to this moment: the accepted windows by the wall clock, with the whole clock
   * tolerance to both sides, and those armed ahead. They are barred when the ledger cannot tell what was used.
   */
  readonly acceptable: WindowRange;
  readonly clock: Pick<Clock, 'boot'>;
  /** One sentence each time the place of the marks changes or something could not be done. */
  readonly report?: (text: string) => void;
};

/** A name for this boot of the kernel, another one after each reboot. */
export function readBootId(): string {
  return fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

/** For `init`: a new, empty ledger in `stateDir`, which must exist. Rejects with code EEXIST if anything stands there already. */
export async function createLedger(stateDir: string): Promise<void> {
  const path = join(stateDir, NAME);
  if (fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
    throw Object.assign(new Error(`${path} exists already: a ledger is never overwritten, its marks are what keeps old knocks dead`), {
      code: 'EEXIST',
    });
  }
  const temporary = `${path}.init`;
  fs.rmSync(temporary, { force: true });
  const status: Status = { sequence: 1, state: 'clean', bootId: new Uint8Array(16), exposed: [], ageMinutes: 0, durableRecords: 0 };
  const file = createLedgerFile(temporary, status);
  try {
    await file.sync();
    // Unlike a rename, a link fails if somebody was faster.
    fs.linkSync(temporary, path);
  } finally {
    file.close();
    fs.rmSync(temporary, { force: true });
  }
  await syncFolder(stateDir);
}

/** Opens the ledger in whatever condition it is, and says in `problems` what that was. Rejects with LedgerHeldError if another daemon has it. */
export async function openLedger(options: LedgerOptions): Promise<{ readonly ledger: Ledger; readonly problems: readonly Problem[] }> {
  for (const folder of [options.stateDir, options.runtimeDir]) makeFolder(folder);
  const lock = takeLock([options.stateDir, options.runtimeDir], options.bootId);
  try {
    const bootId = bootIdBytes(options.bootId);
    const statePath = join(options.stateDir, NAME);
    const runtimePath = join(options.runtimeDir, resolve(options.runtimeDir) === resolve(options.stateDir) ? RUNTIME_NAME_BESIDE : NAME);
    const held = new HeldMarks(options.acceptable);
    const state = await findLedger(statePath, bootId, held);
    const runtime = await findLedger(runtimePath, bootId, held);
    const problems: Problem[] = [];

    const loss = lossOf(state, statePath) ?? (runtime.kind === 'absent' ? leftBehind(state, runtimePath) : lossOf(runtime, runtimePath));
    const newBars = loss === undefined ? [] : [...exposedOf(state), ...exposedOf(runtime), options.acceptable];
    const bars = mergeRanges([...barsOf(state), ...barsOf(runtime), ...newBars]);
    if (loss !== undefined) problems.push(loss);

    const startAge = Math.max(ageOf(state), ageOf(runtime));
    const startMs = options.clock.boot();
    const ageMinutes = () => startAge + Math.max(0, Math.floor((options.clock.boot() - startMs) / 60_000));
    let sequence = Math.max(sequenceOf(state), sequenceOf(runtime));
    const status = (durableRecords: number): Status => {
      sequence++;
      return { sequence, state: 'running', bootId, exposed: [], ageMinutes: startAge, durableRecords };
    };

    const mend = { bars, ageMinutes: startAge, status };
    const runtimeFile = runtime.kind === 'found' ? runtime.file : undefined;
    let stateFile = state.kind === 'found' ? state.file : undefined;
    let kept = runtimeFile;
    let stateFault = '';
    try {
      stateFile = await mendLedger({ ...mend, path: statePath, found: state, extra: runtimeFile });
      kept = undefined;
      runtimeFile?.remove();
      runtimeFile?.close();
      if (runtime.kind === 'unusable') moveAside(runtimePath);
    } catch (error) {
      stateFault = reasonOf(error);
      problems.push({
        severity: 'warning',
        place: undefined,
        message: `the replay ledger ${statePath} cannot be written (${stateFault}), marks go to ${runtimePath}`,
        cure: 'make the state folder writable for the user that posternd runs as',
      });
      kept = await mendLedger({ ...mend, path: runtimePath, found: runtime, extra: undefined }).catch(() => undefined);
    }
    const report = options.report ?? (() => undefined);
    const places = new MarkPlaces({
      statePath,
      runtimePath,
      state: stateFile,
      stateFault,
      isStateSound:
        stateFault === '' || (state.kind === 'found' && state.assessment.damagedRecords === 0 && state.assessment.verdict !== 'corrupt'),
      runtime: kept,
      bars,
      bootId,
      sequence,
      oldestAgeMinutes: state.kind === 'found' ? state.assessment.oldestAgeMinutes : startAge,
      marks: marksOf(state) + marksOf(runtime),
      ageMinutes,
      report,
    });
    return { ledger: new FileLedger({ places, held, bars, lock, ageMinutes, report }), problems };
  } catch (error) {
    lock?.release();
    throw error;
  }
}

function makeFolder(path: string): void {
  try {
    fs.mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch {
    // What follows from it is found and said when the folder is used.
  }
}
