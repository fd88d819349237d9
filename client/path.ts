// One UDP socket to one target: learns this machine's address towards it, and sends one datagram. Knows nothing of what they say.
// Each knock leaves from a socket of its own: GRO merges datagrams of one flow, and nothing should tie two knocks together.
import { createSocket, type Socket } from 'node:dgram';
import { type IpAddress, parseAddress } from '../protocol/address.ts';

/** A connected socket. The kernel has chosen a route and a local address; nothing has been sent. */
export type Path = {
  readonly local: IpAddress;
  readonly localPort: number;
  readonly send: (datagram: Uint8Array) => Promise<void>;
  /** The error that came back from the network after sending (an ICMP message), if any did. */
  readonly trouble: () => string | undefined;
  /** Calls back with each datagram that the target sends back. Nobody answers a knock; other questions of the client have answers. */
  readonly onDatagram: (heard: (datagram: Uint8Array) => void) => void;
  /** Calls back with what `trouble` then says. */
  readonly onTrouble: (heard: (code: string) => void) => void;
  readonly close: () => void;
};

/** Rejects with the system's error (`code`: ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL …) when there is no way there. */
export async function openPath(target: IpAddress, port: number, from: IpAddress | undefined): Promise<Path> {
  // Literal addresses need no resolver: without this, node loads one for each socket.
  const lookup = (name: string, _options: unknown, done: (error: null, address: string, family: number) => void) =>
    done(null, name, target.family);
  const socket = createSocket({ type: target.family === 4 ? 'udp4' : 'udp6', lookup });
  let trouble: string | undefined;
  try {
    if (from !== undefined) await settled(socket, (done) => socket.bind({ address: from.text, port: 0, exclusive: true }, done));
    await settled(socket, (done) => socket.connect(port, target.text, done));
  } catch (cause) {
    socket.close();
    throw cause;
  }
  let tell: (code: string) => void = () => undefined;
  socket.on('error', (error: NodeJS.ErrnoException) => {
    trouble = error.code ?? 'unknown error';
    tell(trouble);
  });
  const { address, port: localPort } = socket.address();
  const local = parseAddress(address.split('%', 1)[0] ?? '');
  if (!local.ok) {
    socket.close();
    throw new TypeError(local.why);
  }
  return {
    local: local.value,
    localPort,
    send: async (datagram) => await sent(socket, datagram),
    trouble: () => trouble,
    onDatagram: (heard) => {
      socket.on('message', (datagram) => heard(datagram));
    },
    onTrouble: (heard) => {
      tell = heard;
    },
    close: () => socket.close(),
  };
}

async function settled(socket: Socket, start: (done: (error?: unknown) => void) => void): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    // The callback of connect gets the error too; bind's does not.
    start((error?: unknown) => {
      socket.off('error', reject);
      if (error instanceof Error) reject(error);
      else resolve();
    });
  });
}

async function sent(socket: Socket, datagram: Uint8Array): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.send(datagram, (error) => (error === null || error === undefined ? resolve() : reject(error)));
  });
}
