// What the audit log says of each event, as the text of one JSON object. Pure. Junk is no event: whoever sends it would write our log.
import type { UnixMs } from '../../protocol/brand.ts';
import type { KnockBody } from '../../protocol/knock.ts';
import { formatPublicLine } from '../../protocol/openssh.ts';
import { decodeBody, type SignedKnock } from '../../protocol/packet.ts';
import { formatPortRange } from '../../protocol/ports.ts';
import type { Decision } from '../decision.ts';
import type { DaemonEvent } from '../events.ts';
import { type Grant, isByHand } from '../grants/grant-book.ts';
import { safeText } from '../safe-text.ts';

/** What the writer of the log says of the log itself. */
export type LogEvent =
  /** The first line of a file. `previousFile`: where the lines before this one were last seen. */
  | { readonly event: 'begin'; readonly previousFile: string | undefined; readonly why: BeginReason }
  /** The last line of the file was not whole: it stays, and this line names it. */
  | { readonly event: 'damaged'; readonly bytes: number; readonly sha256: string }
  | { readonly event: 'lost'; readonly count: number; readonly since: UnixMs; readonly until: UnixMs };

export type BeginReason = 'first' | 'size' | 'moved' | 'cut' | 'unreadable';

/** The entry for a decision, or undefined when nobody is proven to have asked for it and nobody ordered it. */
export function decisionEntry(decision: Decision, time: UnixMs): string | undefined {
  const { kind, client, address } = decision;
  const knock = decision.knock === undefined ? {} : { knock: knockFields(decision.knock) };
  if (kind === 'dropped') {
    if (decision.knock === undefined) return undefined;
    const { reason, detail } = decision;
    return entryText(time, 'refused', {
      client,
      address: address.text,
      reason,
      ...(detail === '' ? {} : { detail: safeText(detail) }),
      ...knock,
    });
  }
  const by = kind === 'closed' ? 'knock' : openedBy(decision.grants);
  const common = { client, address: address.text, services: decision.services, grants: decision.grants.map(({ id }) => id) };
  if (kind === 'granted') {
    const { lifetimeSeconds, prolonged } = decision;
    return entryText(time, kind, { ...common, by, lifetime_seconds: lifetimeSeconds, prolonged, ...knock });
  }
  return entryText(time, kind, { ...common, ...(kind === 'closed' ? {} : { opened_by: by }), why: safeText(decision.why), ...knock });
}

/** The entry for what happened to the daemon as a whole. */
export function eventEntry(event: DaemonEvent, time: UnixMs): string {
  const { kind, ...fields } = event;
  return entryText(time, kind, snakeKeys(fields));
}

/** The entry for what happened to the log itself. */
export function logEntry(event: LogEvent, time: UnixMs): string {
  switch (event.event) {
    case 'begin':
      return entryText(time, 'begin', { format: 1, previous_file: event.previousFile ?? null, why: event.why });
    case 'damaged':
      return entryText(time, 'damaged', { bytes: event.bytes, sha256: event.sha256 });
    default: {
      const [since, until] = [event.since, event.until].map((at) => new Date(at).toISOString());
      return entryText(time, 'lost', { count: event.count, since, until });
    }
  }
}

/** What a body says, in words; `verify` compares it with what was signed. */
export function askedFor(body: KnockBody): Readonly<Record<string, unknown>> {
  const { action, source, sourcePort, requests } = body;
  return {
    action: action.kind,
    ...(action.kind === 'open' ? { lifetime_seconds: action.lifetimeSeconds, once: action.once } : {}),
    services: requests.map((request) => (request.kind === 'service' ? request.name : formatPortRange(request.ports))),
    source: source.kind === 'bound' ? source.address.text : null,
    source_port: sourcePort === 0 ? null : sourcePort,
    sent_at: new Date(body.sentAtMs).toISOString(),
  };
}

function knockFields({ client, server, proof }: SignedKnock): Readonly<Record<string, unknown>> {
  const decoded = decodeBody(proof.bodyBytes);
  return {
    client_key: formatPublicLine(client, ''),
    server_key: formatPublicLine(server, ''),
    asked: decoded.ok ? askedFor(decoded.body) : null,
    tag: base64(proof.tag),
    nonce: base64(proof.nonce),
    body: base64(proof.bodyBytes),
    signature: base64(proof.signature),
  };
}

function openedBy(grants: readonly Grant[]): 'knock' | 'administrator' {
  return grants.some(isByHand) ? 'administrator' : 'knock';
}

function entryText(time: UnixMs, event: string, fields: object): string {
  return JSON.stringify({ time: new Date(time).toISOString(), event, ...fields });
}

function snakeKeys(fields: object): object {
  const entries = Object.entries(fields).map(([key, value]) => [
    key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    typeof value === 'string' ? safeText(value, 1000) : value,
  ]);
  return Object.fromEntries(entries);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}
