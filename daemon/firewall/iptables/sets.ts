// Entries as elements of ipset sets, whose kernel ends them: the text that ipset reads and prints. Pure.
//
//   grant, ending, cut   hash:ip,port      who may (or may not any more) come to which port
//   live                 hash:ip,port,ip   peer, its port, our address: connections from before the gate
import type { Family } from '../../../protocol/address.ts';
import { parseAddress } from '../../../protocol/address.ts';
import { type MonotonicMs, monotonicMs } from '../../clock.ts';
import { type Entry, familyOf } from './entries.ts';
import { type Names, SET_KINDS, type SetKind } from './names.ts';

// Fixed by ipset: a longer timeout is refused.
export const LONGEST_TIMEOUT_S = 2_147_483;
// Tunable
/** How many openings of one kind and family can stand, and how many of them can be cut. */
export const GRANT_CAPACITY = 262_144;
const SMALL_SIZE = 65_536;
/** What an element lives for when nobody says: it can never become permanent by mistake. */
const DEFAULT_TIMEOUT_S = 30;
/** Between a decision and its turn at the kernel, on a loaded machine. */
const MOMENT_MS = 250;

/** What a set can hold; a source port together with a port is too much for every type of set. */
export function hasSet(entry: Entry): entry is Entry & { readonly kind: SetKind } {
  return entry.kind !== 'bound' && entry.kind !== 'bound-ending';
}

export function createLines(names: Names, families: readonly Family[], capacity: number): readonly string[] {
  return families.flatMap((family) =>
    SET_KINDS.map((kind) => {
      const type = kind === 'live' ? 'hash:ip,port,ip' : 'hash:ip,port';
      const size = kind === 'live' ? SMALL_SIZE : capacity;
      const inet = family === 4 ? 'inet' : 'inet6';
      return `create ${names.set(kind, family)} ${type} family ${inet} timeout ${DEFAULT_TIMEOUT_S} maxelem ${size}`;
    }),
  );
}

export function destroyLines(names: Names): readonly string[] {
  return setNames(names).map((name) => `destroy ${name}`);
}

export function setNames(names: Names): readonly string[] {
  return ([4, 6] as const).flatMap((family) => SET_KINDS.map((kind) => names.set(kind, family)));
}

/**
 * This time from now, whatever stood before (`-exist` sets it anew, shorter or longer); undefined when less than a second is left. ipset counts
 * whole seconds: what came a moment late gets its full time, any other fraction is cut off.
 */
export function addLine(names: Names, entry: Entry & { readonly kind: SetKind }, now: MonotonicMs): string | undefined {
  const seconds = Math.floor((entry.deadlineMs - now + MOMENT_MS) / 1000);
  if (!(seconds >= 1)) return undefined;
  return `add ${names.set(entry.kind, familyOf(entry))} ${member(entry)} timeout ${Math.min(seconds, LONGEST_TIMEOUT_S)}`;
}

export function removeLine(names: Names, entry: Entry & { readonly kind: SetKind }): string {
  return `del ${names.set(entry.kind, familyOf(entry))} ${member(entry)}`;
}

function member({ kind, peer, protocol, port, sourcePort, local }: Entry): string {
  return kind === 'live' ? `${peer.text},${protocol}:${sourcePort},${local?.text ?? ''}` : `${peer.text},${protocol}:${port}`;
}

/** Reads what `ipset list -t` prints: how many elements each set has. Old kernels do not say. */
export function readCounts(text: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  let name = '';
  for (const line of text.split('\n')) {
    name = /^(?:ipset> )*Name: (\S+)$/.exec(line)?.[1] ?? name;
    const count = /^Number of entries: (\d+)$/.exec(line)?.[1];
    if (count !== undefined) counts.set(name, Number(count));
  }
  return counts;
}

/**
 * For `ipset restore`: when it cannot speak to the kernel at all it ends with 0 all the same and without a word (7.17). So its last line makes it print the
 * name of a set that is there then: what is missing from the output was not done, nor was anything before it.
 */
export function provable(lines: readonly string[]): { readonly text: string; readonly proof: string | undefined } {
  const proof = lines.findLast((line) => !line.startsWith('destroy '))?.split(' ')[1];
  return { text: [...lines, ...(proof === undefined ? [] : [`list -name ${proof}`]), ''].join('\n'), proof };
}

/** Reads what `ipset save` prints, entries of grants and cuts only: nobody asks for the others. */
export function readElements(names: Names, text: string, now: MonotonicMs): readonly Entry[] {
  const kinds = new Map(
    ([4, 6] as const).flatMap((family) => (['grant', 'ending', 'cut'] as const).map((kind) => [names.set(kind, family), kind] as const)),
  );
  return text.split('\n').flatMap((line) => {
    const match = /^(?:ipset> )*add (\S+) ([0-9a-f.:]+),(tcp|udp):(\d+) timeout (\d+)/.exec(line);
    const kind = kinds.get(match?.[1] ?? '');
    const peer = parseAddress(match?.[2] ?? '');
    if (match === null || kind === undefined || !peer.ok) return [];
    const deadlineMs = monotonicMs(now + Number(match[5]) * 1000);
    const protocol = match[3] === 'udp' ? 'udp' : 'tcp';
    return [{ kind, peer: peer.value, protocol, port: Number(match[4]), sourcePort: 0, local: undefined, deadlineMs } as const];
  });
}
