// The gate as one nf_tables table, spoken to over netlink alone: no child process, no libnftables, nothing that a foreign table can crash.
// Where the kernel can (6.9), the table belongs to our socket and outlives us (flags OWNER and PERSIST).
import { type Firewall, FirewallError, type GateLayout, ONE_SHOT_KINDS, openingKey, type TimedOpening } from '../firewall.ts';
import { type Carried, closeRequests, type EncodedOpenings, encodeOpenings, installRequests, openRequests } from './changes.ts';
import { type Conversation, converse, RefusedError } from './conversation.ts';
import { firewallError, gateHeld } from './errors.ts';
import { NFT_TABLE_F_OWNER, NFT_TABLE_F_PERSIST } from './kernel.ts';
import { endConnections, liveConnections } from './live-connections.ts';
import { allAtOnce, encodeMany, FEW_OPENINGS, inParts } from './many-openings.ts';
import { fingerprint, readCounters, readElements, readOpenings, readTable } from './reading.ts';
import { addElements, deleteTable, flushSet, newTable, type Request, removeElements } from './requests.ts';
import {
  admittedEndingSet,
  admittedKeyBytes,
  admittedKeyParts,
  admittedSet,
  cutKeyParts,
  cutSet,
  keyBytes,
  LIVE_TIMEOUT_MS,
  TAG_SET,
  VERSIONS,
} from './sets.ts';
import { watchTable } from './watch.ts';

export type NftablesOptions = {
  /** Name of the table in the inet family. */
  readonly table: string;
  /** Something that did not stop us but that an administrator should know. */
  readonly onTrouble?: (text: string) => void;
  /**
   * `plain`: no flags, as on kernels before 6.9, which `auto` falls back to by itself. `passing`: always goes with this process, where the caller
   * has found out that the kernel can.
   */
  readonly ownership?: 'auto' | 'plain' | 'passing';
};

// Tunable
/** A batch of tags holds up a grant by less than a millisecond. */
const TAGS_IN_BATCH = 1000;
/** The packet path may consume an element between the two steps of its removal: the transaction is refused whole, and made again. */
const ATTEMPTS = 5;

/** Opens the conversation with the kernel; changes nothing yet. Throws FirewallError. */
export async function openNftables(options: NftablesOptions): Promise<Firewall> {
  const { table } = options;
  const onTrouble = options.onTrouble ?? (() => undefined);
  const conversation = openConversation();
  let installed: string | undefined;
  /** The connections that were let on by our first gate (P30f). */
  let older: ReadonlySet<string> = new Set();
  let owns: boolean | undefined;
  let suspicion: (() => void) | undefined;
  let stopWatching: (() => Promise<void>) | undefined;

  /** EPERM has two meanings: no capability, or a table that another process has taken meanwhile. */
  const explain = (error: unknown, doing: string): FirewallError => {
    const explained = firewallError(error, doing);
    if (explained.code !== 'NO_PERMISSION') return explained;
    try {
      refuseWhenHeld(conversation, table);
    } catch (held) {
      if (held instanceof FirewallError) return held;
    }
    return explained;
  };
  const attempt = <T>(doing: string, action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw explain(error, doing);
    }
  };
  const attemptAsync = async (doing: string, action: () => Promise<void>): Promise<void> => {
    try {
      await action();
    } catch (error) {
      throw explain(error, doing);
    }
  };

  /** Owned alone (5.12) the table goes when our socket closes, however we end; with PERSIST (6.9) it stays. */
  const flagsFor = async (passing: boolean): Promise<number> => {
    if (options.ownership === 'plain') return 0;
    if (options.ownership === 'passing') return NFT_TABLE_F_OWNER;
    try {
      owns ??= await canOwn(conversation, table);
      if (!passing) return owns ? NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST : 0;
      return owns || (await canOwn(conversation, table, NFT_TABLE_F_OWNER)) ? NFT_TABLE_F_OWNER : 0;
    } catch (error) {
      throw explain(error, 'put up the gate');
    }
  };

  const keepWatch = (): void => {
    // An owned table cannot be changed by others, and events about our own tags would only cost time.
    if (suspicion === undefined || stopWatching !== undefined || installed === undefined || isOurs(conversation, table)) return;
    stopWatching = watchTable(table, conversation.portId, suspicion);
  };

  return {
    name: 'nftables',
    install: async (layout, openings, { passing = false } = {}) => {
      const sinceMs = performance.now();
      attempt('put up the gate', () => refuseWhenHeld(conversation, table));
      const flags = await flagsFor(passing);
      const fresh = attempt('put up the gate', () => readTable(conversation, table) === undefined);
      const { early, late, after } = openings.length <= FEW_OPENINGS ? allAtOnce(openings) : await inParts(openings, fresh);
      const request = (encode: (passedMs: number) => EncodedOpenings): readonly Request[] => {
        // After a flush those that conntrack knows go on by themselves. Who slipped in meanwhile gets no element that would let it in again.
        const carried = fresh ? liveOnes(layout, installed === undefined ? undefined : older) : takeOver(conversation, table);
        if (installed === undefined) older = new Set(VERSIONS.flatMap((version) => admittedIn(carried, version)));
        // Asking the kernel for all this takes long on a busy machine: what remains of the openings is what remains now.
        const passedMs = performance.now() - sinceMs;
        const unspent = encodeOpenings(table, aged(standingStill(conversation, table, late), passedMs));
        return installRequests(table, flags, layout, joined(encode(passedMs), unspent), carried);
      };
      if (early.length <= FEW_OPENINGS)
        attempt('put up the gate', () => conversation.transact(request((passedMs) => encodeOpenings(table, aged(early, passedMs)))));
      else {
        const encoded = await encodeMany(table, early, sinceMs);
        await attemptAsync('put up the gate', () => conversation.transactAsync(request(() => encoded)));
      }
      installed = attempt('read the gate', () => fingerprint(conversation, table));
      attempt('watch the gate', keepWatch);
      for (const some of (await encodeMany(table, after, sinceMs)).requests)
        await attemptAsync('open', () => conversation.transactAsync([some]));
      return { fresh };
    },
    intact: async () => installed !== undefined && attempt('read the gate', () => fingerprint(conversation, table)) === installed,
    watch: (onSuspicion) => {
      suspicion = onSuspicion;
      attempt('watch the gate', keepWatch);
    },
    open: (openings) => {
      attempt('open', () => transact(conversation, openRequests(table, openings)));
      return undefined;
    },
    close: async (openings, cut) => {
      try {
        attempt('close', () => transact(conversation, closeRequests(table, openings, cut)));
      } finally {
        // Also without a gate: who is thrown out goes.
        if (cut) await endConnections(openings, onTrouble);
      }
    },
    standing: async (kinds) => attempt('read the grants', () => readOpenings(conversation, table, kinds)),
    arm: async (tags, timeoutMs) => {
      for (const batch of inBatches(tags)) {
        const elements = batch.map((key) => ({ key, timeoutMs }));
        await attemptAsync('arm tags', () => conversation.transactAsync(addElements(table, TAG_SET, elements)));
      }
    },
    disarm: async (tags) => {
      for (const batch of inBatches(tags)) {
        await attemptAsync('disarm tags', () => transactAsync(conversation, removeElements(table, TAG_SET, batch)));
      }
    },
    disarmAll: () => attemptAsync('disarm tags', () => conversation.transactAsync([flushSet(table, TAG_SET)])),
    counters: async () => attempt('read the counters', () => readCounters(conversation, table)),
    remove: async () => {
      attempt('remove the gate', () => {
        refuseWhenHeld(conversation, table);
        conversation.transact([newTable(table), deleteTable(table)]);
      });
      installed = undefined;
    },
    release: async () => {
      await stopWatching?.();
      await conversation.close();
    },
  };
}

/** P30f: connections that were there before the gate may have no conntrack entry, and would look new. `only`: of these, as `admittedIn` names them. */
function liveOnes(layout: GateLayout, only: ReadonlySet<string> | undefined): Carried {
  const flows = liveConnections(layout.protect).map((flow) => ({ version: flow.peer.family, key: admittedKeyBytes(flow) }));
  const wanted = flows.filter(({ key }) => only?.has(hex(key)) !== false);
  return {
    elements: new Map(
      VERSIONS.map((version) => [
        admittedSet(version),
        wanted.filter((flow) => flow.version === version).map(({ key }) => ({ key, timeoutMs: LIVE_TIMEOUT_MS })),
      ]),
    ),
    counters: { knocks: 0, junk: 0, refused: 0, ended: 0 },
  };
}

function admittedIn({ elements }: Carried, version: 4 | 6): readonly string[] {
  return (elements.get(admittedSet(version)) ?? []).map(({ key }) => hex(key));
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

/** What the table that is replaced knows and the daemon does not: admitted and cut connections, counters. */
function takeOver(conversation: Conversation, table: string): Carried {
  const keep = (set: string, length: number) =>
    [set, readElements(conversation, table, set).filter(({ key, timeoutMs }) => key.length === length && (timeoutMs ?? 0) > 0)] as const;
  return {
    elements: new Map(
      VERSIONS.flatMap((version) => [
        keep(admittedSet(version), keyBytes(admittedKeyParts(version))),
        keep(admittedEndingSet(version), keyBytes(admittedKeyParts(version))),
        keep(cutSet(version), keyBytes(cutKeyParts(version))),
      ]),
    ),
    counters: readCounters(conversation, table),
  };
}

/** Those that stand in the kernel to this moment. */
function standingStill(conversation: Conversation, table: string, openings: readonly TimedOpening[]): readonly TimedOpening[] {
  if (openings.length === 0) return [];
  const standing = new Set(readOpenings(conversation, table, ONE_SHOT_KINDS).map(({ opening }) => openingKey(opening)));
  return openings.filter(({ opening }) => standing.has(openingKey(opening)));
}

function aged(openings: readonly TimedOpening[], passedMs: number): readonly TimedOpening[] {
  return openings.map(({ opening, remainingMs }) => ({ opening, remainingMs: remainingMs - passedMs }));
}

function joined(some: EncodedOpenings, others: EncodedOpenings): EncodedOpenings {
  // A hundred thousand names are not copied for nothing.
  if (others.requests.length === 0) return some;
  return { requests: [...some.requests, ...others.requests], cutNames: new Set([...some.cutNames, ...others.cutNames]) };
}

function isOurs(conversation: Conversation, table: string): boolean {
  return readTable(conversation, table)?.owner === conversation.portId;
}

function refuseWhenHeld(conversation: Conversation, table: string): void {
  const owner = readTable(conversation, table)?.owner;
  if (owner !== undefined && owner !== conversation.portId) throw gateHeld(table, ` (netlink port ${owner})`);
}

/** Whether the kernel has these flags, found by a transaction that is refused in any case (8 ms, on a thread), so that nothing changes. */
export async function canOwn(conversation: Conversation, table: string, flags = NFT_TABLE_F_OWNER | NFT_TABLE_F_PERSIST): Promise<boolean> {
  const probe = `${table}-probe`;
  try {
    await conversation.transactAsync([newTable(probe, flags), deleteTable(`${probe}-absent`)]);
  } catch (error) {
    if (!(error instanceof RefusedError)) throw error;
    if (error.code === 'EPERM') throw error;
    return error.at === 1;
  }
  throw new FirewallError('KERNEL', 'the kernel accepted the deletion of a table that is not there', 'report this');
}

function transact(conversation: Conversation, requests: readonly Request[]): void {
  for (let round = 1; ; round += 1) {
    try {
      conversation.transact(requests);
      return;
    } catch (error) {
      if (!consumedMeanwhile(error) || round === ATTEMPTS) throw error;
    }
  }
}

async function transactAsync(conversation: Conversation, requests: readonly Request[]): Promise<void> {
  for (let round = 1; ; round += 1) {
    try {
      await conversation.transactAsync(requests);
      return;
    } catch (error) {
      if (!consumedMeanwhile(error) || round === ATTEMPTS) throw error;
    }
  }
}

function consumedMeanwhile(error: unknown): boolean {
  return error instanceof RefusedError && error.code === 'ENOENT';
}

function* inBatches(tags: readonly Uint8Array[]): Generator<readonly Uint8Array[]> {
  for (let from = 0; from < tags.length; from += TAGS_IN_BATCH) yield tags.slice(from, from + TAGS_IN_BATCH);
}

function openConversation(): Conversation {
  try {
    return converse();
  } catch (error) {
    throw firewallError(error, 'speak to nf_tables');
  }
}
