// What the kernel itself says of the gate, read by nft in one go: the elements that let somebody in, the tags, the counters.
// As text: the JSON of nft 1.0.6 breaks off in the middle for some of these tables, with exit code 0. With iptables: iptables-view.ts.
import { isNftables } from '../lab/backend.ts';
import type { Host } from '../lab/host.ts';
import { readIptables } from './iptables-view.ts';
import type { Span } from './model.ts';

/** Sets that let in: with and without a source port. */
const OPENING_SETS = ['grants', 'ending', 'bound', 'boundending', 'once', 'onceending'] as const;
export type OpeningSet = (typeof OPENING_SETS)[number];

export type KernelView = {
  /** `grants 10.77.1.2 tcp 8022`, with a source port `bound 10.77.1.2 tcp 4444 8022`: and how many milliseconds are left, as exactly as it is told. */
  readonly openings: ReadonlyMap<string, Span>;
  readonly tags: ReadonlySet<bigint>;
  /** Datagrams to the knock port that the sieve has seen. */
  readonly heard: number;
};

/** Undefined: there is no gate. */
export async function readKernel(server: Host): Promise<KernelView | undefined> {
  if (!isNftables()) return readIptables(server);
  const { code, stdout } = await server.exec(['nft', 'list', 'table', 'inet', 'postern'], { mayFail: true });
  return code === 0 ? kernelViewOf(stdout) : undefined;
}

function kernelViewOf(listing: string): KernelView {
  const openings = new Map<string, Span>();
  let tags: ReadonlySet<bigint> = new Set();
  for (const [, name = '', body = ''] of listing.matchAll(/^\tset (\w+) \{\n(.*?)^\t\}/gms)) {
    const elements = (/elements = \{(.*?)\}/s.exec(body)?.[1] ?? '')
      .split(',')
      .map((element) => element.trim())
      .filter(Boolean);
    const base = OPENING_SETS.find((set) => name === `${set}4` || name === `${set}6`);
    if (name === 'tags') tags = new Set(elements.map((element) => BigInt(element.split(' ')[0] ?? '')));
    if (base === undefined) continue;
    for (const element of elements) {
      const key = /^\S+(?: \. \S+)*/.exec(element)?.[0].replaceAll(' . ', ' ');
      const leftMs = milliseconds(/ expires (\S+)/.exec(element)?.[1]);
      openings.set(`${base} ${key}`, { from: leftMs, to: leftMs });
    }
  }
  const counters = listing.matchAll(/^\tcounter (?:knocks|junk) \{\n\t\tpackets (\d+)/gm);
  return { openings, tags, heard: [...counters].reduce((sum, [, packets]) => sum + Number(packets), 0) };
}

const UNITS_MS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 };

/** `1h59m3s20ms`. Without an end: for ever. */
function milliseconds(text: string | undefined): number {
  if (text === undefined) return Number.POSITIVE_INFINITY;
  return [...text.matchAll(/(\d+)(ms|[dhms])/g)].reduce(
    (sum, [, count, unit = '']) => sum + Number(count) * (UNITS_MS[unit] ?? Number.NaN),
    0,
  );
}
