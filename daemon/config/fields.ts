// The kinds of values that both files use, each with its check and its JSON Schema: durations, ports, networks, names, paths.
// A field says what a value is; what names refer to is settled later, when everything has been read.
import { z } from 'zod';
import { type Network, parseNetwork } from '../../protocol/address.ts';
import type { Parsed } from '../../protocol/brand.ts';
import { parseDuration } from '../../protocol/duration.ts';
import { SERVICE_NAME } from '../../protocol/knock.ts';
import { type PortRange, parsePortRange } from '../../protocol/ports.ts';
import { quoted } from '../problem.ts';

/** What `services:` and `protect:` list: ports themselves, or a name for some. */
export type PortsOrName = { readonly kind: 'ports'; readonly ports: PortRange } | { readonly kind: 'name'; readonly name: string };

/** Text with a check of our own: `check` gives the value, or why not. */
export function text<T>(check: (raw: string) => Parsed<T>, pattern?: string) {
  const field = z.string().transform((raw, context) => {
    const result = check(raw);
    if (result.ok) return result.value;
    const [message = '', ...cure] = result.why.split(' :: ');
    context.issues.push({ code: 'custom', message, input: raw, params: { cure: cure.join('') } });
    return z.NEVER;
  });
  return pattern === undefined ? field : field.meta({ pattern });
}

/** `why` with its cure, for `text`. */
export function wrong(message: string, cure: string): { readonly ok: false; readonly why: string } {
  return { ok: false, why: `${message} :: ${cure}` };
}

export function right<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

/** A duration in whole seconds between two bounds, both included. */
export function duration(leastSeconds: number, mostSeconds: number, bounds: string) {
  return text((raw) => {
    const seconds = parseDuration(raw);
    if (!seconds.ok) return seconds;
    if (seconds.value < leastSeconds || seconds.value > mostSeconds)
      return wrong(`${quoted(raw)} is not ${bounds}`, 'correct the duration');
    return seconds;
  }, '^(0|[1-9][0-9]{0,8})[smhd]$');
}

/** A list, or one of its elements alone. */
export function oneOrMore<T extends z.ZodType>(element: T, most: number) {
  return z
    .union([element, z.array(element).min(1).max(most)])
    .transform((value) => (Array.isArray(value) ? value : [value]) as z.output<T>[]);
}

export const portNumber = z.int().min(1).max(65535);

/** YAML takes an entry of a list that stands further in than the one above as more of its text. */
function oneEntry<T>(parse: (raw: string) => Parsed<T>): (raw: string) => Parsed<T> {
  return (raw) =>
    /\s-\s/.test(raw)
      ? wrong(`several lines were read as one entry: ${quoted(raw)}`, 'let all - of a list stand in one column')
      : parse(raw);
}

export const portRange = text(oneEntry(parsePortRange), '^(tcp|udp)/[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$');

export const portsOrName = text<PortsOrName>(
  oneEntry<PortsOrName>((raw) => {
    if (SERVICE_NAME.test(raw) && !/^\d+(?:-\d+)?$/.test(raw)) return right({ kind: 'name', name: raw });
    const range = parsePortRange(raw);
    if (range.ok) return right({ kind: 'ports', ports: range.value });
    if (/^\d+(?:-\d+)?$/.test(raw)) return wrong(`${quoted(raw)} does not say which protocol`, `write tcp/${raw} or udp/${raw}`);
    const swapped = /^(\d+(?:-\d+)?)\/(tcp|udp)$/i.exec(raw);
    if (swapped !== null) return wrong(`not a port: ${quoted(raw)}`, `did you mean "${swapped[2]?.toLowerCase()}/${swapped[1]}"?`);
    if (/^\d+:\d+$/.test(raw)) return wrong(`not a port: ${quoted(raw)}`, 'a range is written tcp/5000-5010');
    return raw.includes('/')
      ? range
      : wrong(`not a port or a service name: ${quoted(raw)}`, 'write tcp/22, udp/5000-5010 or a name of a-z, 0-9 and -');
  }),
  '^((tcp|udp)/[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?|[a-z0-9-]{1,32})$',
);

export const network = text(oneEntry<Network>(parseNetwork));

/** As an argument of a hook a name with a leading - would be an option (P33). */
export const serviceName = z
  .string()
  .regex(SERVICE_NAME, 'a service name is 1 to 32 of a-z, 0-9 and -')
  .regex(/^[^-]/, 'a service name does not begin with -');

/** A path that is not empty and holds nothing that a terminal would act on. `~` is a shell's business. */
export const path = text((raw) => {
  if (raw === '' || /\p{Cc}/u.test(raw) || raw.length > 4000) return wrong('not a path', 'write the path of a file or folder');
  if (raw.startsWith('~')) return wrong(`${quoted(raw)} is not expanded here`, 'write the whole path');
  return right(raw);
}, '^[^~\\u0000-\\u001f][^\\u0000-\\u001f]*$');

export type Interface = { readonly name: string; readonly optional: boolean };

/** A network interface's name, as the kernel takes it and as a ruleset can hold it without quoting; with a ? behind it, one that may be absent. */
export const interfaceField = text<Interface>((raw) => {
  const optional = raw.endsWith('?');
  const name = optional ? raw.slice(0, -1) : raw;
  if (name === 'lo') return wrong('lo is never gated', 'leave it out');
  if (!/^[A-Za-z0-9_@.:-]{1,15}$/.test(name) || name === '.' || name === '..' || name.startsWith('-')) {
    return wrong(`not the name of a network interface: ${quoted(raw)}`, 'see: ip link');
  }
  return right({ name, optional });
}, '^[A-Za-z0-9_@.:-]{1,15}[?]?$');
