// What earlier daemons left at one of the two places, and what it says: which windows must stay shut, and what to tell the administrator.
import type { Problem } from '../problem.ts';
import { type Assessment, assessLedger } from './assess.ts';
import type { HeldMarks } from './held-marks.ts';
import type { WindowRange } from './ledger.ts';
import { findLedgerFile, type LedgerFile, reasonOf } from './ledger-file.ts';

/** What was found at one of the two places. */
export type FoundLedger =
  | { readonly kind: 'absent' }
  | { readonly kind: 'unusable'; readonly why: string }
  | { readonly kind: 'found'; readonly file: LedgerFile; readonly assessment: Assessment };

/** Looks at the file and puts its marks into `held`. */
export async function findLedger(path: string, bootId: Uint8Array, held: HeldMarks): Promise<FoundLedger> {
  const found = findLedgerFile(path);
  if (found.kind !== 'found') return found;
  try {
    return { kind: 'found', file: found.file, assessment: await assessLedger(found.file, bootId, held) };
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
export function lossOf(found: FoundLedger, path: string): Problem | undefined {
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
export function leftBehind(state: FoundLedger, runtimePath: string): Problem | undefined {
  if (state.kind !== 'found' || !state.assessment.isElsewhere) return undefined;
  return warning(`marks of the replay ledger that were in ${runtimePath} are gone: ${SHUT}`, 'see that the state folder can be written');
}

export function barsOf(found: FoundLedger): readonly WindowRange[] {
  return found.kind === 'found' ? found.assessment.bars : [];
}

export function exposedOf(found: FoundLedger): readonly WindowRange[] {
  return found.kind === 'found' ? found.assessment.exposed : [];
}

export function ageOf(found: FoundLedger): number {
  return found.kind === 'found' ? found.assessment.ageMinutes : 0;
}

export function sequenceOf(found: FoundLedger): number {
  return found.kind === 'found' ? found.assessment.sequence : 0;
}

export function marksOf(found: FoundLedger): number {
  return found.kind === 'found' ? found.assessment.marks : 0;
}
