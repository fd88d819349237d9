// Who is at the other end of a UNIX socket: what the kernel noted when it connected (SO_PEERCRED, unix(7)). Nobody can lie about it.
import { endianness } from 'node:os';
import { libc, NativeMissingError } from './libc.ts';

// From the kernel's headers (asm-generic/socket.h).
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid. */
const UCRED_BYTES = 12;
const UID_AT = 4;

/** The user's number; undefined where it cannot be known. */
export function peerUser(fd: number): number | undefined {
  const ucred = new Uint8Array(UCRED_BYTES);
  const length = new Uint8Array(new Uint32Array([UCRED_BYTES]).buffer);
  try {
    if (libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred, length) !== 0) return undefined;
  } catch (error) {
    if (error instanceof NativeMissingError) return undefined;
    throw error;
  }
  return new DataView(ucred.buffer).getUint32(UID_AT, endianness() === 'LE');
}
