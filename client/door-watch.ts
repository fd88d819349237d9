// The connections that are tried at a host's ports, at each of its addresses, before a knock and after it. Knows nothing of knocks.
import type { Socket } from 'node:net';
import type { IpAddress } from '../protocol/address.ts';
import { localAddressFor } from './local-address.ts';
import { PortWatch } from './port-watch.ts';

/** Who wants the connection itself, not the news that one is possible. */
export type Taker = (socket: Socket) => void;

export type WatchedAddress = { readonly address: IpAddress; readonly watches: readonly PortWatch[] };

export type DoorWatchOptions = {
  readonly targets: readonly IpAddress[];
  readonly ports: readonly number[];
  /** Addresses of this machine to connect from, at most one for each family; none: the system's choice. */
  readonly from: readonly IpAddress[];
  /** 0 = any. */
  readonly sourcePort: number;
  readonly monotonicMs: () => number;
  /** The first connection that is accepted, at whichever address, is not closed but handed over; `won` then says that there is one. */
  readonly take?: Taker | undefined;
};

/** Lives until `close`, which must be called. */
export class DoorWatch {
  readonly doors: readonly WatchedAddress[];
  readonly #won = new AbortController();
  readonly #looks: Promise<void>[] = [];

  constructor({ targets, ports, from, sourcePort, monotonicMs, take }: DoorWatchOptions) {
    const takeFirst = take === undefined ? undefined : (socket: Socket) => this.#takeFirst(take, socket);
    this.doors = targets.map((address) => ({
      address,
      watches: ports.map(
        (port) => new PortWatch({ address, port, from: localAddressFor(from, address.family), sourcePort, monotonicMs, take: takeFirst }),
      ),
    }));
  }

  /** Aborted when nothing more is to be tried: somebody has the connection, or all that was wanted is open. */
  get won(): AbortSignal {
    return this.#won.signal;
  }

  end(): void {
    this.#won.abort();
  }

  /** Tries each port once. Resolves when the first SYNs have left, well ahead of what is computed next, and what has been answered by then is known. */
  async lookBefore(): Promise<void> {
    for (const { watches } of this.doors) for (const watch of watches) this.#looks.push(watch.lookBefore());
    // A turn of the event loop in which they leave, and one that begins with what came back.
    for (let left = 2; left > 0 && !this.won.aborted; left -= 1) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Waits until all that was tried before is answered, or one is open: gives whether one is. */
  async answered(waitMs: number): Promise<boolean> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      const finish = () => {
        clearTimeout(timer);
        resolve();
      };
      this.won.addEventListener('abort', finish);
      if (this.won.aborted) finish();
      void Promise.all(this.#looks).then(finish);
    });
    return this.won.aborted;
  }

  close(): void {
    for (const { watches } of this.doors) for (const watch of watches) watch.close();
  }

  /** Two addresses may open at the same moment: one connection is wanted. */
  #takeFirst(take: Taker, socket: Socket): void {
    if (this.won.aborted) {
      socket.resetAndDestroy();
      return;
    }
    this.end();
    take(socket);
  }
}
