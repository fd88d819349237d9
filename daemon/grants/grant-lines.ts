// The lines of the journal of grants: what each may hold, and how a grant becomes one and comes back. Reads and writes no file.
import { z } from 'zod';
import { parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { formatPortRange, parsePortRange } from '../../protocol/ports.ts';
import { type MonotonicMs, monotonicMs } from '../clock.ts';
import { GRANT_KINDS } from '../firewall/firewall.ts';
import type { Grant } from './grant-book.ts';

export const Header = z.strictObject({ version: z.literal(1), boot: z.string() });
const Argv = z.tuple([z.string()], z.string()).readonly();
const Put = z.strictObject({
  put: z.string().regex(/^g[1-9]\d*$/),
  client: z.string(),
  key: z.string(),
  address: z.string(),
  label: z.string(),
  ports: z.array(z.string()),
  kind: z.enum(GRANT_KINDS),
  sourcePort: z.number().int().min(0).max(65_535),
  sentAtMs: z.number().int(),
  grantedAtMs: z.number().int(),
  deadlineMs: z.number(),
  hooks: z.strictObject({ onOpen: Argv.optional(), onClose: Argv.optional() }).optional(),
  spent: z.literal(true).optional(),
});
const Drop = z.strictObject({ drop: z.string() });
/** An accepted close: an open that was sent before it must not reopen the door, not even after a restart. */
const Close = z.strictObject({ close: z.string(), key: z.string(), sentAtMs: z.number().int(), atMs: z.number() });
export const Line = z.union([Put, Drop, Close]);

export type CloseMark = {
  readonly key: string;
  readonly address: string;
  readonly sentAtMs: number;
  /** When it was accepted. */
  readonly atMs: MonotonicMs;
};
export function lineOf(grant: Grant): z.input<typeof Put> {
  const { id, address, ports, hooks, ...rest } = grant;
  const line = { put: id, address: address.text, ports: ports.map(formatPortRange), ...rest };
  return hooks.onOpen === undefined && hooks.onClose === undefined ? line : { ...line, hooks };
}

export function lineOfClose(mark: CloseMark): z.input<typeof Close> {
  return { close: mark.address, key: mark.key, sentAtMs: mark.sentAtMs, atMs: mark.atMs };
}

export function closeOf(line: z.output<typeof Close>): CloseMark {
  return { key: line.key, address: line.close, sentAtMs: line.sentAtMs, atMs: monotonicMs(line.atMs) };
}

export function grantOf(line: z.output<typeof Put>): Grant | undefined {
  const { put: id, address: addressText, ports: portTexts, sentAtMs, grantedAtMs, deadlineMs, hooks, ...rest } = line;
  const address = parseAddress(addressText);
  const ports = portTexts.map(parsePortRange);
  if (!address.ok || sentAtMs < 0 || grantedAtMs < 0) return undefined;
  const good = ports.flatMap((range) => (range.ok ? [range.value] : []));
  if (good.length !== ports.length) return undefined;
  return {
    id,
    ...rest,
    address: address.value,
    ports: good,
    sentAtMs: unixMs(sentAtMs),
    grantedAtMs: unixMs(grantedAtMs),
    deadlineMs: monotonicMs(deadlineMs),
    hooks: { onOpen: hooks?.onOpen, onClose: hooks?.onClose },
  };
}
