// The lines of the journal of grants: what each may hold, and how a grant becomes one and comes back. Reads and writes no file. A hundred
// thousand lines name ten thousand people: what they have in common is in memory once.
import { z } from 'zod';
import { type IpAddress, parseAddress } from '../../protocol/address.ts';
import { unixMs } from '../../protocol/brand.ts';
import { formatPortRange, type PortRange, parsePortRange } from '../../protocol/ports.ts';
import { type MonotonicMs, monotonicMs } from '../clock.ts';
import { GRANT_KINDS } from '../firewall/firewall.ts';
import { type Hooks, NO_HOOKS } from '../hooks/hook.ts';
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

/** What a line says. */
export type Told =
  | { readonly kind: 'put'; readonly grant: Grant }
  | { readonly kind: 'drop'; readonly id: string }
  | { readonly kind: 'close'; readonly mark: CloseMark };

/** Reads lines. Lives as long as the reading of one journal. */
export class LineReader {
  readonly #texts = new Map<string, string>();
  readonly #addresses = new Map<string, IpAddress | undefined>();
  readonly #ports = new Map<string, readonly PortRange[] | undefined>();

  /** Undefined: nothing that we write. Each kind of line is known by its first word: to try them all would take ten times as long. */
  read(line: unknown): Told | undefined {
    if (typeof line !== 'object' || line === null) return undefined;
    if ('put' in line) return this.#put(line);
    if ('drop' in line) {
      const { success, data } = Drop.safeParse(line);
      return success ? { kind: 'drop', id: data.drop } : undefined;
    }
    const { success, data } = Close.safeParse(line);
    if (!success) return undefined;
    return { kind: 'close', mark: { key: data.key, address: data.close, sentAtMs: data.sentAtMs, atMs: monotonicMs(data.atMs) } };
  }

  #put(line: object): Told | undefined {
    const { success, data } = Put.safeParse(line);
    if (!success || data.sentAtMs < 0 || data.grantedAtMs < 0) return undefined;
    const address = once(this.#addresses, data.address, addressOf);
    const ports = once(this.#ports, JSON.stringify(data.ports), () => portsOf(data.ports));
    if (address === undefined || ports === undefined) return undefined;
    const grant = {
      id: data.put,
      client: this.#same(data.client),
      key: this.#same(data.key),
      address,
      label: this.#same(data.label),
      ports,
      kind: data.kind,
      sourcePort: data.sourcePort,
      sentAtMs: unixMs(data.sentAtMs),
      grantedAtMs: unixMs(data.grantedAtMs),
      deadlineMs: monotonicMs(data.deadlineMs),
      hooks: hooksOf(data.hooks),
    };
    return { kind: 'put', grant: data.spent === true ? { ...grant, spent: true } : grant };
  }

  #same(text: string): string {
    return once(this.#texts, text, () => text);
  }
}

function once<T>(known: Map<string, T>, text: string, make: (text: string) => T): T {
  const made = known.get(text) ?? make(text);
  known.set(text, made);
  return made;
}

function addressOf(text: string): IpAddress | undefined {
  const address = parseAddress(text);
  return address.ok ? address.value : undefined;
}

function portsOf(texts: readonly string[]): readonly PortRange[] | undefined {
  const good = texts.map(parsePortRange).flatMap((range) => (range.ok ? [range.value] : []));
  return good.length === texts.length ? good : undefined;
}

function hooksOf(hooks: z.output<typeof Put>['hooks']): Hooks {
  return hooks === undefined ? NO_HOOKS : { onOpen: hooks.onOpen, onClose: hooks.onClose };
}
