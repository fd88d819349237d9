// From bytes of anybody to a knock that a known client signed, that is fresh, and whose tag is spent. Decides nothing about what it may open.
import type { Brand, UnixMs } from '../../protocol/brand.ts';
import { type AuthenticKnock, openKnock, type SignedKnock, tagOfDatagram } from '../../protocol/packet.ts';
import { acceptedWindows } from '../../protocol/tags.ts';
import type { Datagram } from '../capture/capture.ts';
import type { Ledger } from '../ledger/ledger.ts';
import { type DropReason, drop, pass, type Step } from '../step.ts';
import type { Peer } from './peers.ts';
import type { TagBook } from './tag-book.ts';

/** Signed by a known client, in an accepted window, its tag marked used just now. Minted only by `openDatagram`. */
export type FreshKnock = Brand<
  { readonly body: AuthenticKnock; readonly peer: Peer; readonly signed: SignedKnock; readonly datagram: Datagram },
  'FreshKnock'
>;

export type OpenContext = {
  readonly peers: ReadonlyMap<string, Peer>;
  readonly tagBook: TagBook;
  readonly ledger: Ledger;
  readonly toleranceMs: number;
  /** One reading of the clock for the whole packet. */
  readonly now: UnixMs;
};

/** A drop that knows who knocked and what was signed, once that was proven. */
export type Opened = Step<FreshKnock> & { readonly peer?: Peer; readonly signed?: SignedKnock };

/** SPEC "What the server does", steps 2 to 6, cheapest first. Nothing changes before the signature holds. */
export function openDatagram(datagram: Datagram, context: OpenContext): Opened {
  const tag = tagOfDatagram(datagram.payload);
  if (tag === undefined) return drop('length');
  const meaning = context.tagBook.find(tag);
  const peer = meaning === undefined ? undefined : context.peers.get(meaning.peerId);
  if (meaning === undefined || peer === undefined) return drop('unknown-tag');
  const { window, slot } = meaning;
  const mark = { client: peer.key.publicKey, server: peer.server, window, slot };
  if (context.ledger.isUsed(mark)) return drop('replay');
  if (context.ledger.isBarred(window)) return drop('stale', 'its window was open when this host stopped uncleanly');
  const opened = openKnock(datagram.payload, peer.pairing, window);
  if (!opened.ok) return drop(opened.reason, opened.why);

  const signed = { client: peer.key.publicKey, server: peer.server, proof: opened.proof };

  // From here on the client is proven, and its tag is spent whatever comes: a refused knock stays refused (P15).
  const outcome = context.ledger.mark(mark);
  if (outcome === 'already-used') return drop('replay');
  if (outcome === 'window-closed') return drop('stale', 'its window was closed meanwhile');
  if (outcome === 'unwritable')
    return { ...drop('ledger-unwritable', 'neither the state nor the runtime folder can be written'), peer, signed };
  const late = freshness(window, context);
  if (late !== undefined) return { ...drop(late, describeSkew(opened.body.sentAtMs, context.now)), peer, signed };
  return pass({ body: opened.body, peer, signed, datagram } as FreshKnock);
}

/** P8: too old and too new. openKnock has proven that `sent at` lies in the tag's window. */
function freshness(window: number, context: OpenContext): DropReason | undefined {
  const accepted = acceptedWindows(context.now, context.toleranceMs);
  if (window > accepted.last) return 'clock-ahead';
  if (window < accepted.first) return 'stale';
  return undefined;
}

function describeSkew(sentAtMs: UnixMs, now: UnixMs): string {
  const seconds = Math.round((sentAtMs - now) / 1000);
  return seconds >= 0 ? `the client's clock is ${seconds} s ahead of this host's` : `sent ${-seconds} s ago by the client's clock`;
}
