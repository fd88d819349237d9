// Merging of port ranges and networks, so that no two elements of a ruleset overlap. Pure.
import { contains, type Family, type Network } from '../../protocol/address.ts';
import type { PortRange } from '../../protocol/ports.ts';

/** Sorted by protocol and port; ranges that overlap or touch become one. */
export function mergeRanges(ranges: readonly PortRange[]): readonly PortRange[] {
  const sorted = [...ranges].sort((a, b) =>
    a.protocol === b.protocol ? a.first - b.first || a.last - b.last : a.protocol < b.protocol ? -1 : 1,
  );
  const out: PortRange[] = [];
  for (const range of sorted) {
    const last = out.at(-1);
    if (last !== undefined && last.protocol === range.protocol && range.first <= last.last + 1) {
      out[out.length - 1] = { ...last, last: Math.max(last.last, range.last) };
    } else out.push(range);
  }
  return out;
}

/** Whether every port of `inner` stands in one of `outer`. */
export function coveredBy(outer: readonly PortRange[], inner: PortRange): boolean {
  return mergeRanges(outer).some((range) => range.protocol === inner.protocol && range.first <= inner.first && inner.last <= range.last);
}

export function overlap(a: PortRange, b: PortRange): boolean {
  return a.protocol === b.protocol && a.first <= b.last && b.first <= a.last;
}

export function countPorts(ranges: readonly PortRange[]): number {
  return mergeRanges(ranges).reduce((sum, range) => sum + range.last - range.first + 1, 0);
}

/** Without the networks that another one holds already; the order stays. */
export function withoutContained<T extends Network>(networks: readonly T[]): readonly T[] {
  return networks.filter(
    (inner, at) =>
      !networks.some(
        (outer, other) =>
          other !== at && outer.prefix <= inner.prefix && contains(outer, inner.address) && (outer.prefix < inner.prefix || other < at),
      ),
  );
}

export function networksOverlap(a: Network, b: Network): boolean {
  return a.prefix <= b.prefix ? contains(a, b.address) : contains(b, a.address);
}

/** Whether networks of which none holds another are a whole family together, as 0.0.0.0/1 and 128.0.0.0/1 are. */
export function coversAll(networks: readonly Network[], family: Family): boolean {
  // Powers of two: the sum is exact as long as it matters.
  return networks.filter(({ address }) => address.family === family).reduce((sum, { prefix }) => sum + 2 ** -prefix, 0) >= 1;
}
