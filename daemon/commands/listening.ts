// What listens on this host now, from /proc alone: the candidates that `init` shows. It changes nothing and connects to nothing.
import type { IpAddress } from '../../protocol/address.ts';
import type { Protocol } from '../../protocol/ports.ts';
import { ownersOf } from '../ports/owners.ts';
import { readTables } from '../ports/sockets.ts';

export type Listening = {
  readonly protocol: Protocol;
  readonly port: number;
  readonly address: IpAddress;
  /** The program's short name, if this user may see it. */
  readonly program: string | undefined;
};

/** Every listening TCP socket and every UDP socket that takes from anyone, of this network namespace. */
export async function listeningSockets(): Promise<readonly Listening[]> {
  const sockets = await readTables();
  const { byInode } = await ownersOf(new Set(sockets.map(({ inode }) => inode)));
  return sockets.map(({ protocol, port, address, inode }) => ({ protocol, port, address, program: byInode.get(inode)?.[0]?.name }));
}
