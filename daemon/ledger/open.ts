// Starts the ledger: finds what earlier daemons left in both places, decides which windows stay shut, and mends or replaces what is damaged.
import fs from 'node:fs';
import { join, resolve } from 'node:path';
import type { Clock } from '../clock.ts';
import type { Problem } from '../problem.ts';
import { type Assessment, assessLedger, type MarkVisitor } from './assess.ts';
import { FileLedger } from './file-ledger.ts';
import { bootIdBytes, type Status } from './format.ts';
import { HeldMarks } from './held-marks.ts';
import type { Ledger, WindowRange } from './ledger.ts';
import { createLedgerFile, findLedgerFile, type LedgerFile, reasonOf, syncFolder } from './ledger-file.ts';
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

/** What was found at one of the two places. */
export type FoundLedger =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string }
  | { readonly kind: 'found'; readonly file: LedgerFile; readonly assessment: Assessment };

/** Opens the ledger in whatever condition it is, and says in `problems` what that was. Rejects with LedgerHeldError if another daemon has it. */
export async function openLedger(options: LedgerOptions): Promise<{ readonly ledger: Ledger; readonly problems: readonly Problem[] }> {
  for (const folder of [options.stateDir, options.runtimeDir]) makeFolder(folder);
  const lock = takeLock([options.stateDir, options.runtimeDir], options.bootId);
  try {
    const bootId = bootIdBytes(options.bootId);
    const statePath = join(options.stateDir, NAME);
    const runtimePath = join(options.runtimeDir, resolve(options.runtimeDir) === resolve(options.stateDir) ? RUNTIME_NAME_BESIDE : NAME);
    const held = new HeldMarks(options.acceptable);
    const state = await find(statePath, bootId, held);
    const runtime = await find(runtimePath, bootId, held);
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

async function find(path: string, bootId: Uint8Array, held: HeldMarks): Promise<FoundLedger> {
  const visitor: MarkVisitor = {
    isHeld: (window) => held.isHeld(window),
    onWindow: (window) => held.noteWindow(window),
    onMark: (mark) => held.add(mark),
  };
  const found = findLedgerFile(path);
  if (found.kind !== 'found') return found;
  try {
    return { kind: 'found', file: found.file, assessment: await assessLedger(found.file, bootId, visitor) };
  } catch (error) {
    found.file.close();
    return { kind: 'unusable', why: reasonOf(error) };
  }
}

const SHUT = 'knocks of the last few minutes stay dead, so fresh ones may take up to a few minutes to be accepted';

function warning(message: string, cure: string): Problem {
  return { severity: 'warning', place: undefined, message, cure };
}

/** Undefined: every mark that was ever made is there. */
function lossOf(found: FoundLedger, path: string): Problem | undefined {
  if (found.kind === 'absent')
    return warning(
      `the replay ledger ${path} is missing, a new one is begun: ${SHUT}`,
      'restore it only together with its server key; `posternd init` makes the first one',
    );
  if (found.kind === 'unusable')
    return warning(
      `the replay ledger ${path} cannot be used (${found.why}), a new one is begun: ${SHUT}`,
      'look at the disk; the old file is kept beside it',
    );
  if (found.assessment.verdict === 'corrupt') {
    return warning(
      `the replay ledger ${path} is damaged (${found.assessment.why}); what is readable is kept: ${SHUT}`,
      'look at the disk; the old file is kept beside it',
    );
  }
  if (found.assessment.verdict === 'unclean') return warning(`${found.assessment.why} (${path}): ${SHUT}`, 'nothing needs to be done');
  return undefined;
}

/** The disk was full, and what went to the runtime folder instead is gone: with a reboot, or because somebody emptied it. */
function leftBehind(state: FoundLedger, runtimePath: string): Problem | undefined {
  if (state.kind !== 'found' || !state.assessment.isElsewhere) return undefined;
  return warning(`marks of the replay ledger that were in ${runtimePath} are gone: ${SHUT}`, 'see that the state folder can be written');
}

function barsOf(found: FoundLedger): readonly WindowRange[] {
  return found.kind === 'found' ? found.assessment.bars : [];
}

function exposedOf(found: FoundLedger): readonly WindowRange[] {
  return found.kind === 'found' ? found.assessment.exposed : [];
}

function ageOf(found: FoundLedger): number {
  return found.kind === 'found' ? found.assessment.ageMinutes : 0;
}

function sequenceOf(found: FoundLedger): number {
  return found.kind === 'found' ? found.assessment.sequence : 0;
}

function marksOf(found: FoundLedger): number {
  return found.kind === 'found' ? found.assessment.marks : 0;
}
