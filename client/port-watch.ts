// Watches one TCP port of one address for the moment in which it opens. Sends nothing but SYNs, and closes what it opened at once.
import { connect, type Socket } from 'node:net';
import type { IpAddress } from '../protocol/address.ts';

/** What the port answered last. `silent`: nothing, as a dropped SYN does. */
export type Seen = 'open' | 'refused' | 'silent' | 'unreachable';

// Tunable. A dropped SYN is repeated by the kernel only after a second, so new connections are tried much sooner.
const FIRST_INTERVAL_MS = 1;
const LAST_INTERVAL_MS = 250;
// A connection that needed longer than this repeated its SYN, so it says nothing about the moment in which it began.
const FIRST_SYN_MS = 900;
// From one certain port only one connection at a time can be tried: each must live long enough for a slow path.
const LAST_INTERVAL_OF_ONE_MS = 1000;

/** Lives until `close`, which must be called. */
export class PortWatch {
  readonly port: number;
  /** Resolves with the monotonic time of the first connection that was accepted after `hurry`. Never rejects. */
  readonly opened: Promise<number>;
  readonly #address: IpAddress;
  readonly #from: IpAddress | undefined;
  readonly #sourcePort: number;
  readonly #take: ((socket: Socket) => void) | undefined;
  readonly #monotonicMs: () => number;
  readonly #pending = new Set<Socket>();
  readonly #resolveOpened: (atMs: number) => void;
  #before: Seen = 'silent';
  #after: Seen = 'silent';
  #localTrouble: string | undefined;
  #intervalMs = FIRST_INTERVAL_MS;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: {
    readonly address: IpAddress;
    readonly port: number;
    /** The local address to connect from, when it is not the system's choice. */
    readonly from: IpAddress | undefined;
    /** The local port to connect from, 0 = any. */
    readonly sourcePort: number;
    readonly monotonicMs: () => number;
    /** Takes over the first connection that is accepted, whenever it began, instead of seeing it closed. */
    readonly take?: ((socket: Socket) => void) | undefined;
  }) {
    this.#address = options.address;
    this.#from = options.from;
    this.#sourcePort = options.sourcePort;
    this.#take = options.take;
    this.port = options.port;
    this.#monotonicMs = options.monotonicMs;
    let resolveOpened: (atMs: number) => void = () => undefined;
    this.opened = new Promise((resolve) => {
      resolveOpened = resolve;
    });
    this.#resolveOpened = resolveOpened;
  }

  /** What one connection found that began before the knock. */
  get before(): Seen {
    return this.#before;
  }

  /** What the connections since the knock found. */
  get after(): Seen {
    return this.#after;
  }

  /** The system's error, when this machine itself could not connect from where it was told to. */
  get localTrouble(): string | undefined {
    return this.#localTrouble;
  }

  /**
   * Begins one connection whose answer tells whether the port was open already. To be called before the knock leaves. Resolves with the answer, if one
   * comes; never rejects.
   */
  async lookBefore(): Promise<void> {
    const startedMs = this.#monotonicMs();
    await new Promise<void>((resolve) => {
      // From any port: it says whether the port is open to everybody, and must not stand in the way of the connections after the knock.
      this.#try(0, (seen) => {
        if (this.#monotonicMs() - startedMs < FIRST_SYN_MS) this.#before = seen;
        resolve();
      });
    });
  }

  /** A knock has just left: tries at once and then at growing intervals. */
  hurry(): void {
    clearTimeout(this.#timer);
    this.#intervalMs = FIRST_INTERVAL_MS;
    this.#schedule();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#giveUpPending();
  }

  #schedule(): void {
    if (this.#closed || this.#after === 'open') return;
    this.#timer = setTimeout(() => {
      this.#try(this.#sourcePort, (seen) => this.#settle(seen));
      this.#intervalMs = Math.min(this.#intervalMs * 2, this.#sourcePort === 0 ? LAST_INTERVAL_MS : LAST_INTERVAL_OF_ONE_MS);
      this.#schedule();
    }, this.#intervalMs);
  }

  #settle(seen: Seen): void {
    if (this.#after === 'open') return;
    this.#after = seen;
    if (seen !== 'open') return;
    this.#resolveOpened(this.#monotonicMs());
    // The losers go at once: their SYN-ACKs are then answered by a reset, and the service behind the port never sees them.
    this.close();
  }

  #try(localPort: number, settle: (seen: Seen) => void): void {
    if (localPort !== 0) this.#giveUpPending();
    const socket = connect({
      host: this.#address.text,
      port: this.port,
      allowHalfOpen: this.#take !== undefined,
      ...(localPort === 0 ? {} : { localPort }),
      ...(this.#from === undefined ? {} : { localAddress: this.#from.text }),
    });
    this.#pending.add(socket);
    const finish = (seen: Seen) => {
      this.#pending.delete(socket);
      if (seen === 'open' && this.#take !== undefined && !this.#closed) {
        socket.off('error', onError);
        this.#take(socket);
        settle(seen);
        return this.close();
      }
      // A reset leaves no TIME_WAIT behind, so that the user can connect from this very port at once.
      if (seen === 'open' && localPort !== 0) socket.resetAndDestroy();
      else socket.destroy();
      if (!this.#closed) settle(seen);
    };
    const onError = (error: NodeJS.ErrnoException) => {
      if (isLocal(error)) this.#localTrouble = error.code;
      finish(seenByError(error.code));
    };
    socket.once('connect', () => finish('open'));
    socket.once('error', onError);
  }

  #giveUpPending(): void {
    for (const socket of this.#pending) socket.destroy();
    this.#pending.clear();
  }
}

/** Whether one new connection is accepted within the time. For `knock close`, which hopes that it is not. */
export async function isPortOpen(address: IpAddress, port: number, from: IpAddress | undefined, waitMs: number): Promise<Seen> {
  return await new Promise((resolve) => {
    const socket = connect({ host: address.text, port, ...(from === undefined ? {} : { localAddress: from.text }) });
    const finish = (seen: Seen) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(seen);
    };
    const timer = setTimeout(() => finish('silent'), waitMs);
    socket.once('connect', () => finish('open'));
    socket.once('error', (error: NodeJS.ErrnoException) => finish(seenByError(error.code)));
  });
}

function seenByError(code: string | undefined): Seen {
  if (code === 'ECONNREFUSED' || code === 'ECONNRESET') return 'refused';
  return code === 'ETIMEDOUT' ? 'silent' : 'unreachable';
}

/** Errors of this machine that say nothing about the other one. */
function isLocal(error: NodeJS.ErrnoException): boolean {
  // EACCES of a connect may be a router's word (ICMPv6 "administratively prohibited"); that of a bind is this system's.
  return error.syscall === 'bind' || error.code === 'EADDRINUSE' || error.code === 'EADDRNOTAVAIL';
}
