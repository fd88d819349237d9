// Hears of changes to the tables that the gate stands in. Where iptables is the form for nf_tables the kernel tells of each; iptables-legacy tells
// nobody, so there its size is asked for all the time, and the gate is looked at each second.
import type { Family } from '../../../protocol/address.ts';
import { gaugeLegacyTable, type TableGauge } from '../../netlink/legacy-table.ts';
import type { GateLayout } from '../firewall.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6 } from '../nftables/kernel.ts';
import { watchTable } from '../nftables/watch.ts';
import type { FamilyTools } from './tools.ts';

// Tunable
/** A look takes 1 % of a core, done once a second. */
const LOOK_EVERY_MS = 250;
const LOOK_BESIDE_SIZES_MS = 1000;
/** One load is many events: the first one counts at once, the rest together. */
const CALM_MS = 100;
/** A deleted table is told at the end of its rules: what is gone for certain is mended before somebody looks. */
const REST_OF_EVENTS_MS = 3;
/** How long a flushed gate of iptables-legacy may go unnoticed. */
const SIZE_EVERY_MS = 25;
/** Every netlink port is somebody else's: our changes are made by child processes. */
const NO_PORT_OF_OURS = -1;
const PROTOCOL = { 4: NFPROTO_IPV4, 6: NFPROTO_IPV6 } as const;

type Looked = {
  readonly intact: () => Promise<boolean>;
  readonly mend: (families: readonly Family[]) => Promise<void>;
  readonly entryCount: (family: Family) => number;
};

/**
 * Calls `onSuspicion` when somebody may have changed the gate. Rules that are gone for certain are put back before that: reading what is there and
 * writing it again takes several programs one after the other, and the gate stands open meanwhile. Returns what ends it.
 */
export function watchMangle(
  families: readonly FamilyTools[],
  layout: GateLayout,
  gate: Looked,
  onSuspicion: () => void,
): () => Promise<void> {
  const { mend, suspect } = mending(gate, onSuspicion);
  const events = families.some(({ variant }) => variant === 'nf_tables') ? watchEvents(families, layout, mend, suspect) : undefined;
  const legacy = families.filter(({ variant }) => variant === 'legacy').map(({ family }) => family);
  const sizes = legacy.length > 0 ? watchSizes(legacy, gate, mend, suspect) : undefined;
  const everyMs = sizes === undefined ? LOOK_EVERY_MS : LOOK_BESIDE_SIZES_MS;
  const looks = events === undefined || legacy.length > 0 ? lookOften(gate, suspect, everyMs) : undefined;
  return async () => {
    looks?.();
    sizes?.();
    await events?.();
  };
}

type Mender = { readonly mend: (family: Family) => void; readonly suspect: () => void };

/** Mends one flush after the other, both families in one breath as they were flushed; who looks after the gate is told when that is done. */
function mending(gate: Looked, onSuspicion: () => void): Mender {
  const gone = new Set<Family>();
  let busy = false;
  const work = async (): Promise<void> => {
    while (gone.size > 0) {
      const families = [...gone];
      gone.clear();
      // What cannot be mended is loaded anew by who is told.
      await gate.mend(families).catch(() => undefined);
    }
    busy = false;
    onSuspicion();
  };
  return {
    mend: (family) => {
      gone.add(family);
      if (busy) return;
      busy = true;
      setImmediate(() => void work());
    },
    suspect: () => {
      if (!busy) onSuspicion();
    },
  };
}

/** Undefined where the events cannot be had. */
function watchEvents(
  families: readonly FamilyTools[],
  layout: GateLayout,
  mend: (family: Family) => void,
  onSuspicion: () => void,
): (() => Promise<void>) | undefined {
  const calm = calmly(onSuspicion);
  const onGone = (protocol: number): void => {
    const gone = families.find(({ family, variant }) => variant === 'nf_tables' && PROTOCOL[family] === protocol);
    if (gone !== undefined) mend(gone.family);
  };
  const tables = layout.refuse === 'reject' ? ['mangle', 'filter', 'security'] : ['mangle'];
  const watches: (() => Promise<void>)[] = [];
  try {
    for (const table of tables) watches.push(watchTable(table, NO_PORT_OF_OURS, calm.call, table === 'mangle' ? onGone : undefined));
  } catch {
    for (const stop of watches) void stop();
    return undefined;
  }
  return async () => {
    calm.end();
    await Promise.all(watches.map((stop) => stop()));
  };
}

function lookOften(gate: Looked, onSuspicion: () => void, everyMs: number): () => void {
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    // What cannot be read is no proof: whoever repairs looks again.
    if (!(await gate.intact().catch(() => false))) onSuspicion();
    looking = false;
  };
  const timer = setInterval(() => void look(), everyMs).unref();
  return () => clearInterval(timer);
}

/** iptables-legacy tells nobody of changes, but its tables have a size, which costs a few microseconds to ask for. Undefined where it is not told. */
function watchSizes(
  families: readonly Family[],
  gate: Looked,
  mend: (family: Family) => void,
  onSuspicion: () => void,
): (() => void) | undefined {
  let gauge: TableGauge;
  try {
    gauge = gaugeLegacyTable('mangle');
  } catch {
    return undefined;
  }
  if (families.some((family) => gauge.read(family) === undefined)) {
    gauge.close();
    return undefined;
  }
  const last = new Map<Family, string>();
  const look = (): void => {
    for (const family of families) {
      const size = gauge.read(family);
      if (size === undefined) continue;
      const now = `${size.entries} ${size.bytes}`;
      const before = last.get(family);
      last.set(family, now);
      if (before === now) continue;
      // Also at the first look: whoever flushes between the load and that look leaves a size that never changes again.
      const isFlushed = size.entries < gate.entryCount(family);
      if (isFlushed) mend(family);
      if (isFlushed || before !== undefined) onSuspicion();
    }
  };
  const timer = setInterval(look, SIZE_EVERY_MS).unref();
  return () => {
    clearInterval(timer);
    gauge.close();
  };
}

function calmly(call: () => void): { readonly call: () => void; readonly end: () => void } {
  let timer: NodeJS.Timeout | undefined;
  let again = false;
  const begin = (): void => {
    again = false;
    call();
    timer = setTimeout(() => {
      timer = undefined;
      if (again) begin();
    }, CALM_MS).unref();
  };
  return {
    call: () => {
      if (timer === undefined) timer = setTimeout(begin, REST_OF_EVENTS_MS).unref();
      else again = true;
    },
    end: () => clearTimeout(timer),
  };
}
