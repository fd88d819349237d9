// Walks through the lines of an audit log and finds each one that was changed, removed, moved or put in, and each signature that does not hold.
// Reads no file. What it cannot find by itself, a cut at the end, is found by heads that somebody else has kept.
import { z } from 'zod';
import { GENESIS, type Head, readBytes, sha256 } from './chain.ts';
import type { RawLine } from './parts.ts';
import { checkProof, KeyRing } from './proofs.ts';

export type Finding = {
  /** `note`: nothing is wrong, but it should be known. */
  readonly severity: 'broken' | 'note';
  /** `audit.jsonl:17`, or empty when it is about the whole. */
  readonly at: string;
  readonly message: string;
};

/** A head that somebody has kept; `n` if that is known. */
export type KeptHead = { readonly hash: string; readonly n: number | undefined };

export type Verified = {
  readonly lines: number;
  readonly signatures: number;
  readonly head: Head | undefined;
  readonly first: { readonly n: number; readonly time: string } | undefined;
  readonly last: { readonly n: number; readonly time: string } | undefined;
  /** Names as the lines have them, by fingerprint. */
  readonly clients: ReadonlyMap<string, ReadonlySet<string>>;
  readonly servers: ReadonlySet<string>;
  readonly findings: readonly Finding[];
};

const Fields = z.looseObject({ time: z.string(), event: z.string() });
type Fields = z.infer<typeof Fields>;

/** Looks like a line of ours, whatever its hash says. */
const SHAPE = /^\{"n":([1-9][0-9]{0,14}),.*,"prev":"[0-9a-f]{64}","hash":"([0-9a-f]{64})"\}$/s;
/** Tunable: nobody reads more, and a wrong file would fill the screen. */
const MOST_FINDINGS = 100;

type Unread = {
  readonly at: string;
  readonly chunks: Buffer[];
  isEnded: boolean;
  readonly changed: { readonly n: number; readonly hash: string } | undefined;
};

export class ChainCheck {
  readonly #findings: Finding[] = [];
  readonly #wanted: Map<string, number | undefined>;
  readonly #clients = new Map<string, Set<string>>();
  readonly #servers = new Set<string>();
  readonly #keys = new KeyRing();
  readonly #signatures = new Map<string, { readonly at: string; readonly event: string }>();
  #last: (Head & { readonly at: string }) | undefined;
  #first: { readonly n: number; readonly time: string } | undefined;
  #lastTime = '';
  #lines = 0;
  #unread: Unread | undefined;

  constructor(kept: readonly KeptHead[]) {
    this.#wanted = new Map(kept.map(({ hash, n }) => [hash, n]));
  }

  /** The next line, in the order in which they were written. */
  next(file: string, raw: RawLine): void {
    const at = `${file}:${raw.number}`;
    const text = raw.bytes.toString('utf8');
    const read = readBytes(raw.bytes);
    if (!read.ok) {
      this.#setAside(at, raw, text, read.why === 'hash');
      return;
    }
    const fields = fieldsOf(text);
    this.#settleUnread(fields);
    this.#lines += 1;
    // What stands where it does not belong is one finding, not two.
    if (this.#link(at, read.line, fields)) this.#prove(at, fields);
  }

  /** When there are no more lines. */
  end(): Verified {
    if (this.#unread !== undefined) this.#settleUnread(undefined, true);
    for (const [hash, n] of this.#wanted) {
      // A head from the time of files that are not here any more.
      if (n !== undefined && this.#first !== undefined && n < this.#first.n) continue;
      const which = n === undefined ? `the line with the hash ${hash}` : `line ${n} with the hash ${hash}`;
      this.#broken('', `${which} is not in the log: its end was cut off, or everything from there on was written anew`);
    }
    const last = this.#last === undefined ? undefined : { n: this.#last.n, time: this.#lastTime };
    return {
      lines: this.#lines,
      signatures: this.#signatures.size,
      head: this.#last,
      first: this.#first,
      last,
      clients: this.#clients,
      servers: this.#servers,
      findings: this.#findings,
    };
  }

  #link(at: string, line: Head & { readonly prev: string }, fields: Fields | undefined): boolean {
    const { n, hash, prev } = line;
    this.#wanted.delete(hash);
    const last = this.#last;
    if (last !== undefined && n <= last.n) {
      this.#broken(
        at,
        n === last.n && hash === last.hash
          ? `line ${n} stands here twice`
          : `line ${n} stands behind line ${last.n}: it was moved, put in or repeated`,
      );
      return false;
    }
    if (last === undefined) {
      this.#first = { n, time: fields?.time ?? '' };
      if (n > 1) this.#note(at, `the log begins with line ${n} here: what was before is in files that are not here`);
      else if (prev !== GENESIS.hash) this.#broken(at, 'the first line of all does not begin a chain: it was changed');
    } else if (n > last.n + 1) {
      const lines = n === last.n + 2 ? `line ${last.n + 1} is` : `lines ${last.n + 1} to ${n - 1} are`;
      this.#broken(at, `${lines} missing before this one (${last.at} is line ${last.n})`);
    } else if (prev !== last.hash) {
      this.#broken(last.at, `line ${last.n} was changed and its hash made anew: line ${n} (${at}) still holds another one`);
    }
    this.#last = { n, hash, at };
    this.#lastTime = fields?.time ?? this.#lastTime;
    return true;
  }

  #prove(at: string, fields: Fields | undefined): void {
    if (fields === undefined) {
      this.#broken(at, 'this line has no time or event: posternd did not write it');
      return;
    }
    const { event } = fields;
    const proof = checkProof(event, fields['knock'], fields['by'], this.#keys);
    if (proof === undefined) return;
    if (!proof.ok) {
      this.#broken(at, proof.why);
      return;
    }
    const { client, server, signature } = proof;
    const before = this.#signatures.get(signature);
    // A close can end more grants than go into one decision.
    if (before !== undefined && (event === 'granted' || before.event === 'granted'))
      this.#broken(at, `the signature is the one of ${before.at}: each knock is decided once`);
    this.#signatures.set(signature, { at, event });
    const names = this.#clients.get(client) ?? new Set();
    this.#clients.set(client, names.add(String(fields['client'])));
    this.#servers.add(server);
  }

  /** No whole line: what it is, the next whole line tells. */
  #setAside(at: string, { bytes, isEnded }: RawLine, text: string, isChanged: boolean): void {
    const [, n = '', hash = ''] = isChanged ? (SHAPE.exec(text) ?? []) : [];
    if (this.#unread !== undefined && this.#unread.changed === undefined && !isChanged) {
      this.#unread.chunks.push(Buffer.from('\n'), bytes);
      this.#unread.isEnded = isEnded;
      return;
    }
    this.#settleUnread(undefined);
    this.#unread = { at, chunks: [bytes], isEnded, changed: isChanged ? { n: Number(n), hash } : undefined };
  }

  #settleUnread(next: Fields | undefined, isEnd = false): void {
    const unread = this.#unread;
    if (unread === undefined) return;
    this.#unread = undefined;
    const { at, chunks, changed, isEnded } = unread;
    if (changed !== undefined) {
      this.#broken(at, `line ${changed.n} was changed: its hash does not fit`);
      // As it says of itself, so that one changed line is one finding.
      if (this.#last === undefined || changed.n > this.#last.n) this.#last = { ...changed, at };
      this.#first ??= { n: changed.n, time: '' };
      return;
    }
    const bytes = Buffer.concat(chunks);
    const isNamed = next?.event === 'damaged' && next['sha256'] === sha256(bytes);
    const isFragment = chunks.length === 1;
    if (isFragment && isNamed)
      this.#note(at, `a half-written line (${bytes.length} bytes), which the next line names: the daemon was killed or the power failed`);
    else if (isFragment && isEnd && !isEnded)
      this.#note(at, `the last line is not whole (${bytes.length} bytes): it is being written, or the daemon was killed`);
    else this.#broken(at, `${bytes.length} bytes that are no line of the audit log`);
  }

  #broken(at: string, message: string): void {
    if (this.#findings.length === MOST_FINDINGS) this.#findings.push({ severity: 'broken', at: '', message: 'more of this is not listed' });
    if (this.#findings.length < MOST_FINDINGS) this.#findings.push({ severity: 'broken', at, message });
  }

  #note(at: string, message: string): void {
    if (this.#findings.length < MOST_FINDINGS) this.#findings.push({ severity: 'note', at, message });
  }
}

function fieldsOf(text: string): Fields | undefined {
  try {
    const fields = Fields.safeParse(JSON.parse(text));
    return fields.success ? fields.data : undefined;
  } catch {
    return undefined;
  }
}
