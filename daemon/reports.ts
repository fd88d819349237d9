// What the daemon says of itself over the control socket, built from its parts. Reads only.
import { formatPortRange } from '../protocol/ports.ts';
import type { MonotonicMs } from './clock.ts';
import type { GrantLine } from './control/messages.ts';
import { LEFT_OUT } from './control/pieces.ts';
import { type Grant, isByHand } from './grants/grant-book.ts';

export function grantLine(grant: Grant, now: MonotonicMs): GrantLine {
  return {
    id: grant.id,
    client: grant.client,
    by: isByHand(grant) ? 'administrator' : 'knock',
    address: grant.address.text,
    service: grant.label,
    ports: grant.ports.map(formatPortRange),
    kind: grant.kind,
    source_port: grant.sourcePort === 0 ? null : grant.sourcePort,
    granted_at: new Date(grant.grantedAtMs).toISOString(),
    remaining_seconds: Math.max(0, Math.round((grant.deadlineMs - now) / 100) / 10),
  };
}

/** Those of them that live, in the same order. Walked as it is read: a listing in slices, also past a hundred thousand that are over. */
export function* grantLines(grants: Iterable<Grant>, now: MonotonicMs): Generator<GrantLine | typeof LEFT_OUT, void> {
  for (const grant of grants) yield grant.deadlineMs > now ? grantLine(grant, now) : LEFT_OUT;
}
