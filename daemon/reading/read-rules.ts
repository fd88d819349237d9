// Reads the rules and pairs everybody in them, here or, when there are many, on a thread of its own: the event loop never stands still
// for it, and what the parser needed goes with the thread. Decides nothing about what is in the rules.
import { once } from 'node:events';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { SecretKey } from '../../protocol/identity.ts';
import { CommandError } from '../command-error.ts';
import { type Peer, pairPeers } from '../open/peers.ts';
import type { Problem } from '../problem.ts';
import { loadRuleBook, type RulesConfig } from '../rules/load.ts';
import { sizeOfRules } from '../rules/rule-files.ts';
import type { RuleBook } from '../rules/rulebook.ts';
import { type Order, type Parcel, Unpacking } from './parcels.ts';

// Tunable
/** Some fifty clients: 10 ms of the event loop, four times that without V8's compiler. A thread costs 150 ms and, while it lives, 60 MiB. */
const MANY_BYTES = 8 * 1024;
/** 10,000 clients in one file need 250 MiB. Rules that need more than this fail to load; they do not take the daemon along. */
const MOST_MIB = 1024;

/** `book` undefined: something is wrong, and `problems` name it. */
export type ReadRules = {
  readonly book: RuleBook | undefined;
  readonly problems: readonly Problem[];
  readonly peers: ReadonlyMap<string, Peer>;
};

/** `known` are peers of an earlier reading: their pairings are not computed again. */
export async function readRules(
  config: RulesConfig,
  secrets: readonly SecretKey[],
  known: ReadonlyMap<string, Peer>,
  manyBytes = MANY_BYTES,
): Promise<ReadRules> {
  if ((await sizeOfRules(config.rules)) >= manyBytes) return readOnThread(config, secrets, known);
  const { book, problems } = await loadRuleBook(config);
  return { book, problems, peers: book === undefined ? new Map() : await pairPeers(book, secrets, known) };
}

async function readOnThread(config: RulesConfig, secrets: readonly SecretKey[], known: ReadonlyMap<string, Peer>): Promise<ReadRules> {
  const { rules, services, defaultTtlSeconds, protect, trusted, maxGrants } = config;
  const order: Order = {
    config: { rules, services, defaultTtlSeconds, protect, trusted, maxGrants },
    seeds: secrets.map(({ seed }) => seed),
    known: new Set(known.keys()),
  };
  const worker = new Worker(new URL(`./thread${extname(import.meta.url)}`, import.meta.url), {
    workerData: order,
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: MOST_MIB },
  });
  const unpacking = new Unpacking(secrets, known);
  try {
    for (let parcel = await next(worker); parcel.kind !== 'end'; parcel = await next(worker)) unpacking.take(parcel);
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error) || error.code !== 'ERR_WORKER_OUT_OF_MEMORY') throw error;
    throw new CommandError(2, `the rules below ${rules} need more than ${MOST_MIB} MiB of memory to read: make them smaller`);
  } finally {
    await worker.terminate();
  }
  const { book, problems, peers } = unpacking;
  return { book, problems, peers };
}

/** Asks for a parcel. Rejects when the thread ends without one. */
async function next(worker: Worker): Promise<Parcel> {
  worker.postMessage('next');
  const ended = new AbortController();
  const onExit = (): void => ended.abort(new Error('the thread that reads the rules ended'));
  worker.once('exit', onExit);
  try {
    const [parcel] = (await once(worker, 'message', { signal: ended.signal })) as [Parcel];
    return parcel;
  } finally {
    worker.off('exit', onExit);
  }
}
