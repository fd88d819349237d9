// The line that tells a client of a server. A change nearly always breaks the checksum, so inputs are of two kinds: a line as it is, and (after a
// byte 1) the body of one, which gets its prefix, length and checksum here.
import { createHash } from 'node:crypto';
import { secretFromSeed } from '../../../protocol/identity.ts';
import { formatInvitation, invitationProblem, parseInvitation } from '../../../protocol/invitation.ts';
import type { Invitation } from '../../../protocol/invitation-body.ts';
import { hold, holdPlain } from '../hold.ts';
import type { Random } from '../random.ts';
import type { FuzzTarget } from '../target.ts';

const SERVER = secretFromSeed(new Uint8Array(32).fill(1)).publicKey;
const SEED = new Uint8Array(32).fill(0x77);
const PREFIX = 'postern1:';

function lineOf(input: Uint8Array): string {
  if (input[0] !== 1) return Buffer.from(input).toString('utf8');
  const body = input.subarray(1);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(Math.min(0xffff, body.length + 6));
  const covered = Buffer.concat([head, body]);
  const sum = createHash('sha256').update(PREFIX).update(covered).digest().subarray(0, 4);
  return PREFIX + Buffer.concat([covered, sum]).toString('base64url');
}

function run(input: Uint8Array): string {
  const line = lineOf(input);
  const read = parseInvitation(line);
  if (!read.ok) {
    holdPlain(read.why, 'the reason');
    // 64 letters of a host, each an escape of six.
    hold(read.why.length < 600, 'a reason without end');
    if (line.trim().startsWith(PREFIX))
      holdSecret(line.trim().slice(PREFIX.length), read.why, input[0] === 1 ? Buffer.from(input).toString('latin1') : '');
    return read.fault;
  }
  hold(invitationProblem(read.value) === undefined, 'read, and could not be written');
  hold(formatInvitation(read.value) === line.trim(), 'another line says the same');
  return `read${read.value.seed === undefined ? '' : ' with a key'}`;
}

/** The line may hold a secret key: no piece of it may stand in a message. What reads as a word of the message is none. */
function holdSecret(secret: string, why: string, body: string): void {
  for (let at = 0; at + 8 <= secret.length; at += 8) {
    const piece = secret.slice(at, at + 8);
    // A host that is called like a piece of its own line may be named.
    hold(!/[A-Z0-9_-]/.test(piece) || body.includes(piece) || !why.includes(piece), 'a part of the line stands in the reason');
  }
}

function invitationOf(random: Random | undefined): Invitation {
  const below = (bound: number) => random?.below(bound) ?? 0;
  const services = Array.from({ length: below(4) + 1 }, (_, at) => ({
    name: below(3) === 2 ? undefined : `service-${at}`,
    ports: [{ protocol: below(2) === 0 ? ('tcp' as const) : ('udp' as const), first: 20 + at, last: 20 + at + below(50) }],
    once: below(2) === 1,
    byDefault: below(2) === 0,
  }));
  return {
    host: ['web1.example.org', '192.0.2.7', '2001:db8::7'][below(3)] ?? '',
    port: 1 + below(65_535),
    serverKey: SERVER,
    slots: 1 + below(64),
    source: (['auto', 'bound', 'none'] as const)[below(3)] ?? 'auto',
    needsPsk: below(2) === 1,
    services,
    seed: below(2) === 1 ? SEED : undefined,
  };
}

/** A body as `run` wants it. */
function bodyOf(invitation: Invitation): Uint8Array {
  return new Uint8Array([1, ...Buffer.from(formatInvitation(invitation).slice(PREFIX.length), 'base64url').subarray(2, -4)]);
}

export const target: FuzzTarget = {
  about: 'invitations, the line and what is in it',
  covers: ['protocol/invitation.ts', 'protocol/invitation-body.ts'],
  kind: 'bytes',
  maxBytes: 1100,
  seeds: [bodyOf(invitationOf(undefined)), formatInvitation(invitationOf(undefined)), 'postern2:AAAA', 'post', ' postern1:é'],
  dictionary: ['postern1:', 'example.org', '192.0.2.1', '::1', '\u001b[2J', Uint8Array.of(6, 0, 22, 0, 22)],
  generate: (random) => {
    const sound = invitationOf(random);
    return random.oneIn(4) ? new TextEncoder().encode(formatInvitation(sound)) : bodyOf(sound);
  },
  run,
  mustReach: ['no-invitation', 'other-version', 'cut-short', 'mistyped', 'unsound', 'read', 'read with a key'],
};
