// The gate in iptables, ip6tables and ipset, for hosts where nf_tables cannot be used. The same Firewall as the nftables backend, without a sieve
// and without one-shots; docs/decisions says what stands where and why.
import type { Family } from '../../../protocol/address.ts';
import { type Clock, systemClock } from '../../clock.ts';
import { periodically } from '../../periodically.ts';
import { admitsOnce, type Firewall, FirewallError } from '../firewall.ts';
import { endConnections } from '../nftables/live-connections.ts';
import { IptablesGate } from './gate.ts';
import { type Guard, startGuard } from './guard.ts';
import { nameProblem, namesOf } from './names.ts';
import { GRANT_CAPACITY } from './sets.ts';
import { standInFor } from './stand-in.ts';
import { findTools, type Tools, type Variant } from './tools.ts';
import { watchMangle } from './watch.ts';

export type IptablesOptions = {
  /** The beginning of the names of all chains and sets. */
  readonly table: string;
  /** For the lock file of iptables-legacy, when we are not root. */
  readonly runtimeFolder: string;
  readonly onTrouble?: (text: string) => void;
  readonly clock?: Clock;
  /** How many openings of one kind and family the sets can hold. */
  readonly capacity?: number;
  /** Only to remove the rules that the other iptables of this host still has. */
  readonly flavor?: Variant;
};

// Tunable
const SWEEP_MS = 5000;
/** Node's timers overflow at 24.8 days. */
const LONGEST_TIMER_MS = 2_000_000_000;

/** Looks what the host has; changes nothing yet. Throws FirewallError: UNUSABLE where this backend cannot run. */
export async function openIptables(options: IptablesOptions): Promise<Firewall & { readonly tools: Tools }> {
  const { table, runtimeFolder } = options;
  const clock = options.clock ?? systemClock;
  const onTrouble = options.onTrouble ?? (() => undefined);
  const wrong = nameProblem(table);
  if (wrong !== undefined) throw new FirewallError('UNUSABLE', `the table name ${table} ${wrong.what}`, wrong.cure);
  const names = namesOf(table);
  const tools = await findTools({ names, runtimeFolder, capacity: options.capacity ?? GRANT_CAPACITY, flavor: options.flavor });
  const gate = new IptablesGate(names, tools, clock, onTrouble);
  let suspicion: (() => void) | undefined;
  let stopWatching: (() => Promise<void>) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let guard: Guard | undefined;
  let toldOfIpv6 = false;
  let leaving = false;
  const report = (error: unknown): void => onTrouble(error instanceof Error ? error.message : 'the grants could not be swept');
  const standIn = standInFor(
    table,
    { layout: () => (leaving ? undefined : gate.layout()), held: () => gate.held(), intact: () => gate.intact() },
    onTrouble,
  );
  const intact = async (): Promise<boolean> => {
    const stands = await gate.intact();
    if (!stands) await standIn.raise();
    return stands;
  };
  /** What is gone for certain: closed by one transaction while the programs that mend it start. */
  const mend = async (families: readonly Family[]): Promise<void> => {
    await Promise.all([standIn.raise(), gate.mend(families)]);
  };
  const sweep = (): void => void gate.sweep().then(setTimer, report);
  const endSweeping = periodically(SWEEP_MS, regularSweep, report);

  function regularSweep(): Promise<void> {
    const lacking = tools.lacksIpv6() && gate.layout() !== undefined;
    if (lacking) {
      if (!toldOfIpv6) onTrouble('IPv6 was switched on, and the gate does not stand there yet');
      suspicion?.();
    }
    toldOfIpv6 = lacking;
    return gate.sweep().then(setTimer);
  }

  /** Rules end on time to the millisecond while we live. */
  function setTimer(): void {
    clearTimeout(timer);
    const next = gate.nextDeadlineMs();
    if (next !== undefined) timer = setTimeout(sweep, Math.min(LONGEST_TIMER_MS, Math.max(0, next - clock.monotonic()))).unref();
  }

  function dismissGuard(): void {
    guard?.dismiss();
    guard = undefined;
  }

  async function keepWatch(): Promise<void> {
    await stopWatching?.();
    stopWatching = undefined;
    const layout = gate.layout();
    if (suspicion === undefined || layout === undefined) return;
    const looked = { intact, mend, entryCount: (family: Family) => gate.entryCount(family) };
    stopWatching = watchMangle(tools.families, layout, looked, suspicion);
    await standIn.prepare();
  }

  return {
    tools,
    name: 'iptables',
    install: async (layout, openings, { passing = false } = {}) => {
      const once = openings.some(({ opening }) => admitsOnce(opening.kind));
      if (once) onTrouble('one-shot grants that stood are closed: they need nftables');
      const rejectedBefore = gate.layout()?.refuse;
      if (passing) guard ??= startGuard(table, runtimeFolder, onTrouble);
      const result = await gate.install(layout, openings);
      await standIn.renew();
      if (!passing) dismissGuard();
      setTimer();
      if (stopWatching === undefined || rejectedBefore !== layout.refuse) await keepWatch();
      return result;
    },
    intact,
    watch: (onSuspicion) => {
      suspicion = onSuspicion;
      void keepWatch();
    },
    open: async (openings) => {
      await gate.open(openings);
      await standIn.open(openings);
      setTimer();
    },
    close: async (openings, cut) => {
      try {
        await gate.close(openings, cut);
        setTimer();
      } finally {
        await standIn.close(openings, cut);
        if (cut) await endConnections(openings, onTrouble);
      }
    },
    standing: (kinds) => gate.standing(kinds),
    // There is no sieve: each datagram that is as long as a knock is handed over, and the daemon knows which tags are good.
    arm: async () => undefined,
    disarm: async () => undefined,
    disarmAll: async () => undefined,
    counters: () => gate.counters(),
    remove: async () => {
      leaving = true;
      try {
        await standIn.lower();
        await gate.remove();
      } finally {
        leaving = false;
      }
      dismissGuard();
      setTimer();
    },
    release: async () => {
      clearTimeout(timer);
      endSweeping();
      await stopWatching?.();
      await standIn.release();
    },
  };
}
