// Clients and allow entries in words and as JSON, the same wherever they are shown. Pure.
import type { UnixMs } from '../../protocol/brand.ts';
import { formatDuration } from '../../protocol/duration.ts';
import { formatPortRange } from '../../protocol/ports.ts';
import type { AllowEntry, Client } from '../rules/rulebook.ts';

/** Whether a client can knock now, and if not, the first reason. */
export function standing(client: Client, now: UnixMs): 'enabled' | 'disabled' | 'expired' | 'no key' | 'nothing allowed' {
  if (!client.enabled) return 'disabled';
  if (client.expiresAtMs !== undefined && client.expiresAtMs <= now) return 'expired';
  if (!client.keys.some((key) => key.expiresAtMs === undefined || key.expiresAtMs > now)) return 'no key';
  return client.allow.length === 0 ? 'nothing allowed' : 'enabled';
}

/** Each service that the client may open, once: by the entry that decides about it. */
export function servicesOf(client: Client): readonly string[] {
  return [...new Set(client.allow.flatMap(({ services }) => services.map(({ name }) => name)))];
}

/** Under which conditions an entry gives what it gives, in the order in which they are asked. */
export function conditionsOf(entry: AllowEntry): readonly string[] {
  const { byDefault, from, when, ttlSeconds, maxTtlSeconds, once, sessions, requireSource, onBehalf } = entry;
  const most = maxTtlSeconds === ttlSeconds ? '' : `, at most ${formatDuration(maxTtlSeconds)}`;
  return [
    `for ${formatDuration(ttlSeconds)}${most}`,
    ...(byDefault ? [] : ['only when asked for']),
    ...(from === undefined ? [] : [`from ${from.map(({ text }) => text).join(', ')}`]),
    ...(when === undefined ? [] : [`when ${when.cron.map((cron) => `"${cron}"`).join(' or ')} (${when.timezone})`]),
    ...(once ? ['one connection'] : []),
    ...(sessions === 'end' ? ['connections end with the grant'] : []),
    ...(requireSource ? ['only knocks bound to their source'] : []),
    ...(onBehalf ? ['for others too'] : []),
  ];
}

/** An entry for `--json`. */
export function entryJson(entry: AllowEntry) {
  return {
    services: entry.services.map(({ name, ports }) => ({ name, ports: ports.map(formatPortRange) })),
    default: entry.byDefault,
    from: entry.from?.map(({ text }) => text) ?? null,
    when: entry.when?.cron ?? null,
    timezone: entry.when?.timezone ?? null,
    ttl_seconds: entry.ttlSeconds,
    max_ttl_seconds: entry.maxTtlSeconds,
    once: entry.once,
    sessions: entry.sessions,
    require_source: entry.requireSource,
    on_behalf: entry.onBehalf,
    file: entry.place.file,
    line: entry.place.line,
  };
}

/** A client for `--json`. */
export function clientJson(client: Client, now: UnixMs) {
  return {
    name: client.name,
    state: standing(client, now),
    enabled: client.enabled,
    expires: client.expiresAtMs === undefined ? null : new Date(client.expiresAtMs).toISOString(),
    keys: client.keys.map((key) => ({
      fingerprint: key.fingerprint,
      expires: key.expiresAtMs === undefined ? null : new Date(key.expiresAtMs).toISOString(),
      from: key.from?.map(({ text }) => text) ?? null,
    })),
    psk: client.presharedKeys.length > 0,
    slots: client.slots,
    services: servicesOf(client),
    file: client.place.file,
    line: client.place.line,
  };
}
