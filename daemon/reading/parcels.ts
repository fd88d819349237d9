// How rules and peers travel from the thread that read them to the one that knocks wait for: in parcels that are unpacked in a millisecond.
// Pure. Everything in a RuleBook is plain data: what a structured clone changes (classes, functions) must not stand there.
import type { PublicKey, SecretKey } from '../../protocol/identity.ts';
import type { Pairing } from '../../protocol/pairing.ts';
import { type Peer, peersOf } from '../open/peers.ts';
import type { Problem } from '../problem.ts';
import type { RulesConfig } from '../rules/load.ts';
import type { AllowEntry, Client, RuleBook } from '../rules/rulebook.ts';

/** What the thread is started with. `known`: peers whose pairing the other side has already. */
export type Order = {
  readonly config: RulesConfig;
  readonly seeds: readonly Uint8Array[];
  readonly known: ReadonlySet<string>;
};

type PackedClient = Omit<Client, 'allow'> & {
  /** Positions in the list of the first parcel. */
  readonly allow: readonly number[];
  /** Of each peer of this client, in the order of `peersOf`; undefined: known. */
  readonly pairings: readonly (Pick<Pairing, 'tagKey' | 'sealKey'> | undefined)[];
};

export type Parcel =
  | { readonly kind: 'start'; readonly allow: readonly AllowEntry[]; readonly problems: readonly Problem[]; readonly whole: boolean }
  | { readonly kind: 'clients'; readonly clients: readonly PackedClient[] }
  | { readonly kind: 'end' };

// Tunable: half a millisecond to unpack.
const CLIENTS_IN_PARCEL = 50;

/** `book` undefined: the rules are wrong, and `problems` say how. */
export function* parcels(
  book: RuleBook | undefined,
  problems: readonly Problem[],
  secrets: readonly SecretKey[],
  fresh: ReadonlyMap<string, Pairing>,
): Generator<Parcel, void> {
  const clients = book?.clients ?? [];
  const numbers = new Map<AllowEntry, number>();
  for (const entry of clients.flatMap(({ allow }) => allow)) if (!numbers.has(entry)) numbers.set(entry, numbers.size);
  yield { kind: 'start', allow: [...numbers.keys()], problems, whole: book !== undefined };
  for (let from = 0; from < clients.length; from += CLIENTS_IN_PARCEL) {
    const packed = clients.slice(from, from + CLIENTS_IN_PARCEL).map((client) => ({
      ...client,
      allow: client.allow.map((entry) => numbers.get(entry) ?? -1),
      pairings: peersOf(client, secrets).map(({ id }) => {
        const pairing = fresh.get(id);
        return pairing === undefined ? undefined : { tagKey: pairing.tagKey, sealKey: pairing.sealKey };
      }),
    }));
    yield { kind: 'clients', clients: inOneBuffer(packed) };
  }
  yield { kind: 'end' };
}

/** Puts rules and peers together again. Lives as long as one reading. */
export class Unpacking {
  readonly problems: Problem[] = [];
  readonly clients: Client[] = [];
  readonly peers = new Map<string, Peer>();
  readonly #secrets: readonly SecretKey[];
  readonly #known: ReadonlyMap<string, Peer>;
  #entries: readonly AllowEntry[] = [];
  #whole = false;
  /** Each list once: the clients of one file share theirs. */
  readonly #lists = new Map<string, readonly AllowEntry[]>();
  readonly #files = new Map<string, string>();

  constructor(secrets: readonly SecretKey[], known: ReadonlyMap<string, Peer>) {
    this.#secrets = secrets;
    this.#known = known;
  }

  get book(): RuleBook | undefined {
    return this.#whole ? { clients: this.clients } : undefined;
  }

  take(parcel: Parcel): void {
    if (parcel.kind === 'start') {
      this.#entries = parcel.allow;
      this.#whole = parcel.whole;
      // One by one: as arguments a hundred thousand are too many.
      for (const problem of parcel.problems) this.problems.push(problem);
    } else if (parcel.kind === 'clients') for (const packed of parcel.clients) this.#unpack(packed);
  }

  #unpack({ pairings, allow, ...rest }: PackedClient): void {
    const place = { ...rest.place, file: this.#oneOf(rest.place.file) };
    const client: Client = { ...rest, place, allow: this.#listOf(allow) };
    this.clients.push(client);
    for (const [at, { id, key, server }] of peersOf(client, this.#secrets).entries()) {
      const keys = pairings[at];
      const pairing = keys === undefined ? this.#known.get(id)?.pairing : { client: key.publicKey, server, ...keys };
      if (pairing === undefined) throw new Error('a pairing got lost between two threads');
      this.peers.set(id, { id, client, key, server, pairing });
    }
  }

  #listOf(numbers: readonly number[]): readonly AllowEntry[] {
    const name = numbers.join(' ');
    let list = this.#lists.get(name);
    if (list === undefined) {
      list = numbers.flatMap((number) => this.#entries[number] ?? []);
      this.#lists.set(name, list);
    }
    return list;
  }

  #oneOf(file: string): string {
    const known = this.#files.get(file);
    if (known !== undefined) return known;
    this.#files.set(file, file);
    return file;
  }
}

/** Thirty thousand small buffers weigh ten times what is in them: the bytes of a parcel travel, and stay, in one. */
function inOneBuffer(clients: readonly PackedClient[]): readonly PackedClient[] {
  const found = clients.flatMap((client) => [
    ...client.keys.map(({ publicKey }) => publicKey),
    ...client.presharedKeys,
    ...client.pairings.flatMap((keys) => (keys === undefined ? [] : [keys.tagKey, keys.sealKey])),
  ]);
  const all = new Uint8Array(found.reduce((sum, { length }) => sum + length, 0));
  let used = 0;
  const moved = (bytes: Uint8Array): Uint8Array => {
    all.set(bytes, used);
    used += bytes.length;
    return all.subarray(used - bytes.length, used);
  };
  return clients.map((client) => ({
    ...client,
    // The same bytes at another place: what checkPublicKey proved of them holds.
    keys: client.keys.map((key) => ({ ...key, publicKey: moved(key.publicKey) as PublicKey })),
    presharedKeys: client.presharedKeys.map(moved),
    pairings: client.pairings.map((keys) =>
      keys === undefined ? undefined : { tagKey: moved(keys.tagKey), sealKey: moved(keys.sealKey) },
    ),
  }));
}
