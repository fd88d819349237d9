// A hook as a rule names it: a program and its arguments, in which {client} and the like stand for what happened. Pure; starts nothing.
import { formatDuration } from '../../protocol/duration.ts';
import { formatPortRange, type PortRange } from '../../protocol/ports.ts';

/** The program's absolute path, then its arguments. Never a line for a shell. */
export type Hook = readonly [program: string, ...args: readonly string[]];

/** What an allow entry wants to be told; a grant carries it to its end, whatever the rules say by then. */
export type Hooks = { readonly onOpen: Hook | undefined; readonly onClose: Hook | undefined };

export const NO_HOOKS: Hooks = { onOpen: undefined, onClose: undefined };

/** What can be told. Each value is one of ours or was checked when the rules were loaded: nothing here was written by an unknown sender. */
export type HookFacts = {
  readonly event: 'open' | 'closed' | 'revoked' | 'ended';
  readonly grant: string;
  readonly client: string;
  readonly address: string;
  readonly service: string;
  readonly ports: readonly PortRange[];
  /** What is left of it; 0 when it is over. */
  readonly lifetimeSeconds: number;
};

const VALUES: Readonly<Record<string, (facts: HookFacts) => string>> = {
  event: ({ event }) => event,
  grant: ({ grant }) => grant,
  client: ({ client }) => client,
  address: ({ address }) => address,
  service: ({ service }) => service,
  /** 22, or 9000-9010, or 51820,51821 */
  port: ({ ports }) => ports.map(({ first, last }) => (first === last ? `${first}` : `${first}-${last}`)).join(','),
  /** tcp/22, or udp/51820,tcp/51821 */
  ports: ({ ports }) => ports.map(formatPortRange).join(','),
  lifetime: ({ lifetimeSeconds }) => formatDuration(lifetimeSeconds),
};

export const PLACEHOLDERS: readonly string[] = Object.keys(VALUES);

/** A word in braces. Anything else in braces, a JSON text for one, is left as it is. */
const PLACEHOLDER = /\{([a-z_]+)\}/g;

/** Names in braces that stand for nothing. */
export function unknownPlaceholders(args: readonly string[]): readonly string[] {
  return args.flatMap((arg) => [...arg.matchAll(PLACEHOLDER)].map(([, name = '']) => name)).filter((name) => !Object.hasOwn(VALUES, name));
}

/** Each argument stays one argument, whatever is put into it (P33). The program itself is never made up. */
export function fillHook([program, ...args]: Hook, facts: HookFacts): readonly string[] {
  return [program, ...args.map((arg) => arg.replaceAll(PLACEHOLDER, (whole, name: string) => VALUES[name]?.(facts) ?? whole))];
}
