// Hears of changes to the tables that the gate stands in. Where iptables is the form for nf_tables the kernel tells of each; iptables-legacy tells
// nobody, so there the gate is looked at four times a second. Observing only.
import type { GateLayout } from '../firewall.ts';
import { watchTable } from '../nftables/watch.ts';
import type { FamilyTools } from './tools.ts';

// Tunable
const LOOK_EVERY_MS = 250;
/** One load is many events: the first one counts at once, the rest together. */
const CALM_MS = 100;
/** Every netlink port is somebody else's: our changes are made by child processes. */
const NO_PORT_OF_OURS = -1;

type Looked = { readonly intact: () => Promise<boolean> };

/** Calls `onSuspicion` when somebody may have changed the gate. Returns what ends it. */
export function watchMangle(
  families: readonly FamilyTools[],
  layout: GateLayout,
  gate: Looked,
  onSuspicion: () => void,
): () => Promise<void> {
  const events = families.some(({ variant }) => variant === 'nf_tables') ? watchEvents(layout, onSuspicion) : undefined;
  const needsLooks = events === undefined || families.some(({ variant }) => variant === 'legacy');
  const looks = needsLooks ? lookOften(gate, onSuspicion) : undefined;
  return async () => {
    looks?.();
    await events?.();
  };
}

/** Undefined where the events cannot be had. */
function watchEvents(layout: GateLayout, onSuspicion: () => void): (() => Promise<void>) | undefined {
  const calm = calmly(onSuspicion);
  const tables = layout.refuse === 'reject' ? ['mangle', 'filter', 'security'] : ['mangle'];
  const watches: (() => Promise<void>)[] = [];
  try {
    for (const table of tables) watches.push(watchTable(table, NO_PORT_OF_OURS, calm.call));
  } catch {
    for (const stop of watches) void stop();
    return undefined;
  }
  return async () => {
    calm.end();
    await Promise.all(watches.map((stop) => stop()));
  };
}

function lookOften(gate: Looked, onSuspicion: () => void): () => void {
  let looking = false;
  const look = async (): Promise<void> => {
    if (looking) return;
    looking = true;
    // What cannot be read is no proof: whoever repairs looks again.
    if (!(await gate.intact().catch(() => false))) onSuspicion();
    looking = false;
  };
  const timer = setInterval(() => void look(), LOOK_EVERY_MS).unref();
  return () => clearInterval(timer);
}

function calmly(call: () => void): { readonly call: () => void; readonly end: () => void } {
  let timer: NodeJS.Timeout | undefined;
  let again = false;
  const begin = (): void => {
    call();
    timer = setTimeout(() => {
      timer = undefined;
      if (again) {
        again = false;
        begin();
      }
    }, CALM_MS).unref();
  };
  return {
    call: () => {
      if (timer === undefined) begin();
      else again = true;
    },
    end: () => clearTimeout(timer),
  };
}
