// The one line that tells a client all about a server (SPEC 12.1): prefix, base64url, length, checksum. What stands inside: invitation-body.ts.
import { createHash } from 'node:crypto';
import { bodyProblem, decodeInvitationBody, encodeInvitationBody, type Invitation } from './invitation-body.ts';
import { quoted } from './quoted.ts';

// Fixed by SPEC 12.1.
export const INVITATION_PREFIX = 'postern1:';
export const MAX_INVITATION_BYTES = 1024;
const LENGTH_BYTES = 2;
const CHECKSUM_BYTES = 4;

/**
 * Why a line is no invitation: not one at all, of another version, copied in part, changed on the way, or whole but not sound (whoever
 * made it made a mistake).
 */
export type InvitationFault = 'no-invitation' | 'other-version' | 'cut-short' | 'mistyped' | 'unsound';

export type ReadInvitation =
  | { readonly ok: true; readonly value: Invitation }
  | { readonly ok: false; readonly fault: InvitationFault; readonly why: string };

/** One sentence about why this cannot be an invitation, or undefined when it can. */
export function invitationProblem(invitation: Invitation): string | undefined {
  const problem = bodyProblem(invitation);
  if (problem !== undefined) return problem;
  const byteLength = LENGTH_BYTES + encodeInvitationBody(invitation).length + CHECKSUM_BYTES;
  if (byteLength <= MAX_INVITATION_BYTES) return undefined;
  return `the invitation would take ${byteLength} bytes, more than ${MAX_INVITATION_BYTES}: name fewer services`;
}

/** The line, without a line end. Throws a RangeError with the sentence of `invitationProblem`: ask that first about user input. */
export function formatInvitation(invitation: Invitation): string {
  const problem = invitationProblem(invitation);
  if (problem !== undefined) throw new RangeError(problem);
  const body = encodeInvitationBody(invitation);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt16BE(LENGTH_BYTES + body.length + CHECKSUM_BYTES);
  const covered = Buffer.concat([length, body]);
  return `${INVITATION_PREFIX}${Buffer.concat([covered, checksumOf(covered)]).toString('base64url')}`;
}

/** SPEC 12.3: reads one line, spaces around it left aside. Each invitation has exactly one form. The line is in no message: it may hold a secret. */
export function parseInvitation(line: string): ReadInvitation {
  const text = line.trim();
  if (!text.startsWith(INVITATION_PREFIX)) return withoutPrefix(text);
  const base64 = text.slice(INVITATION_PREFIX.length);
  const stray = /[^A-Za-z0-9_-]/u.exec(base64);
  if (stray !== null) return strayLetter(stray[0], INVITATION_PREFIX.length + stray.index + 1);
  if (base64.length > lettersOf(MAX_INVITATION_BYTES)) {
    return refused('mistyped', `this line is too long for an invitation: ${text.length} letters`);
  }
  const bytes = Buffer.from(base64, 'base64url');
  const stated = bytes.length < LENGTH_BYTES ? LENGTH_BYTES + 1 : bytes.readUInt16BE();
  if (stated > MAX_INVITATION_BYTES) return mistyped();
  if (bytes.length < stated) return cutShort(text.length, bytes.length < LENGTH_BYTES ? undefined : stated);
  if (bytes.length > stated) return refused('mistyped', 'the invitation goes on behind its end: was something pasted to it?');
  // Buffer skips bits that stand for nothing; another line with the same bytes is not the line that was made.
  if (stated < LENGTH_BYTES + CHECKSUM_BYTES || bytes.toString('base64url') !== base64) return mistyped();
  const covered = bytes.subarray(0, stated - CHECKSUM_BYTES);
  if (!checksumOf(covered).equals(bytes.subarray(covered.length))) return mistyped();
  const invitation = decodeInvitationBody(covered.subarray(LENGTH_BYTES));
  return invitation.ok ? invitation : refused('unsound', `this invitation is not sound: ${invitation.why}; ask for a new one`);
}

/** Finds slips of the hand and of the clipboard; protects against nobody: the line comes over a channel that its reader trusts. */
function checksumOf(covered: Uint8Array): Buffer {
  return createHash('sha256').update(INVITATION_PREFIX).update(covered).digest().subarray(0, CHECKSUM_BYTES);
}

function withoutPrefix(text: string): ReadInvitation {
  const other = /^postern(\d{1,9}):/.exec(text);
  if (other !== null) {
    return refused(
      'other-version',
      `this invitation is of version ${other[1]} and this program knows version 1: take a program as new as it`,
    );
  }
  if (text === '' || INVITATION_PREFIX.startsWith(text)) return cutShort(text.length, undefined);
  return refused('no-invitation', `not an invitation: it begins with "${INVITATION_PREFIX}", as "posternd client add" prints it`);
}

function strayLetter(letter: string, place: number): ReadInvitation {
  if (/\s/u.test(letter)) {
    return refused('mistyped', `the invitation has a space or a line end at letter ${place}: it is one line, join its parts`);
  }
  return refused('mistyped', `${quoted(letter)} at letter ${place} does not belong into an invitation: copy the line again`);
}

function cutShort(letters: number, stated: number | undefined): ReadInvitation {
  const of = stated === undefined ? `after ${letters} letters` : `${letters} of ${INVITATION_PREFIX.length + lettersOf(stated)} letters`;
  return refused('cut-short', `the invitation is cut short (${of}): copy the whole line`);
}

function mistyped(): ReadInvitation {
  return refused('mistyped', 'the invitation was changed on the way (its checksum does not fit): copy the line again');
}

function lettersOf(byteCount: number): number {
  return Math.ceil((byteCount * 4) / 3);
}

function refused(fault: InvitationFault, why: string): ReadInvitation {
  return { ok: false, fault, why };
}
