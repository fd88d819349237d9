// Refuses what the gate would refuse while others flush the rules that it stands in, until they have let them be for a while: a table of nf_tables
// that belongs to this process, so that nobody else can flush it, and that goes with it. Nothing where the kernel has no such tables (before 5.12).
import type { Firewall, GateLayout, Opening, Sieve, TimedOpening } from '../firewall.ts';
import { converse } from '../nftables/conversation.ts';
import { NFT_TABLE_F_OWNER } from '../nftables/kernel.ts';
import { canOwn, openNftables } from '../nftables/nftables.ts';

export type StandIn = {
  /** Finds out whether this kernel can. Until then, and where it cannot, nothing else does anything. */
  readonly prepare: () => Promise<void>;
  /** Somebody flushed: up, and it stays for a while after the last call. Done when it stands. Never rejects. */
  readonly raise: () => Promise<void>;
  /** Other rules, or other openings than those it was told of. */
  readonly renew: () => Promise<void>;
  readonly open: (openings: readonly TimedOpening[]) => Promise<void>;
  readonly close: (openings: readonly Opening[], cut: boolean) => Promise<void>;
  /** Down at once, whoever flushes. */
  readonly lower: () => Promise<void>;
  readonly release: () => Promise<void>;
};

/** What it stands in for. */
export type Absent = {
  /** Undefined: there is no gate that could be flushed. */
  readonly layout: () => GateLayout | undefined;
  readonly held: () => { readonly open: readonly TimedOpening[]; readonly cut: readonly Opening[] };
  readonly intact: () => Promise<boolean>;
};

/** Tunable: a gate that stood for so long was not flushed in a loop. */
const QUIET_MS = 2000;

export function standInFor(table: string, gate: Absent, onTrouble: (text: string) => void): StandIn {
  const name = `${table}-standin`;
  let queue: Promise<unknown> = Promise.resolve();
  let firewall: Firewall | undefined;
  let isUp = false;
  let timer: NodeJS.Timeout | undefined;

  const inTurn = (doing: string, work: () => Promise<unknown>): Promise<void> => {
    queue = queue.then(work).catch((error: unknown) => {
      onTrouble(`table inet ${name} could not ${doing}: ${error instanceof Error ? error.message : 'unknown'}`);
    });
    return queue.then(() => undefined);
  };

  const install = async (): Promise<void> => {
    const layout = gate.layout();
    if (firewall === undefined || layout === undefined || !isUp) return;
    const { open, cut } = gate.held();
    await firewall.install({ ...layout, sieve: listening(layout.sieve), tagCapacity: 0 }, open);
    if (cut.length > 0) await firewall.close(cut, true);
  };

  const lower = (): Promise<void> => {
    clearTimeout(timer);
    if (!isUp) return queue.then(() => undefined);
    isUp = false;
    return inTurn('be removed', async () => firewall?.remove());
  };

  const restFor = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // What cannot be read is no proof.
      void gate.intact().then((stands) => (stands ? lower() : restFor()), restFor);
    }, QUIET_MS).unref();
  };

  return {
    prepare: async () => {
      if (firewall !== undefined || !(await isPossible(name))) return;
      firewall ??= await openNftables({ table: name, ownership: 'passing', onTrouble });
    },
    raise: () => {
      if (isUp) {
        restFor();
        return queue.then(() => undefined);
      }
      if (firewall === undefined || gate.layout() === undefined) return Promise.resolve();
      restFor();
      isUp = true;
      onTrouble(
        `somebody changed the rules that the gate stands in: table inet ${name} keeps the ports closed for as long as that goes on`,
      );
      return inTurn('be put up', install);
    },
    renew: () => (isUp ? inTurn('be put up', install) : Promise.resolve()),
    open: (openings) => (isUp ? inTurn('open', async () => isUp && firewall?.open(openings)) : Promise.resolve()),
    close: (openings, cut) => (isUp ? inTurn('close', async () => isUp && firewall?.close(openings, cut)) : Promise.resolve()),
    lower,
    release: async () => {
      clearTimeout(timer);
      await queue;
      // Its table goes with the socket.
      await firewall?.release();
      firewall = undefined;
    },
  };
}

/** Without PERSIST: what nobody else can remove must not outlive us. Where the flag is not known the table would. */
async function isPossible(name: string): Promise<boolean> {
  try {
    const conversation = converse();
    try {
      return await canOwn(conversation, name, NFT_TABLE_F_OWNER);
    } finally {
      await conversation.close();
    }
  } catch {
    return false;
  }
}

/** No tags are armed here, as with iptables. */
function listening(sieve: Sieve): Sieve {
  return sieve.kind === 'log' ? { ...sieve, kind: 'log-all' } : { kind: 'none' };
}
