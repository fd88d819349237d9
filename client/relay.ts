// Passes bytes on between a connection and a pair of streams, both ways, until both sides have finished. Looks at no byte of them.
import { readSync } from 'node:fs';
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

export type RelayEnd =
  | { readonly kind: 'finished' }
  /** The connection broke: what the system said (ECONNRESET, ETIMEDOUT). */
  | { readonly kind: 'broken'; readonly code: string }
  /** Nobody reads the output any more. */
  | { readonly kind: 'deaf' };

/**
 * An end of the input becomes the connection's half-close and an end of the connection that of the output; the other direction goes
 * on meanwhile. Each side is read only as fast as the other takes it.
 */
export async function relay(
  socket: Socket,
  input: Readable,
  output: Writable,
  /** Makes the end of the output visible to whoever reads it. */
  closeOutput: () => void,
): Promise<RelayEnd> {
  return await new Promise((resolve) => {
    let [sent, received] = [false, false];
    const finish = (end: RelayEnd) => {
      input.unpipe(socket);
      socket.unpipe(output);
      if (end.kind !== 'finished') socket.destroy();
      resolve(end);
    };
    const finishBoth = () => {
      if (sent && received) finish({ kind: 'finished' });
    };
    socket.setNoDelay(true);
    // As ssh does with its own connection (TCPKeepAlive).
    socket.setKeepAlive(true);
    socket.once('finish', () => {
      sent = true;
      finishBoth();
    });
    output.once('finish', () => {
      received = true;
      closeOutput();
      finishBoth();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => finish({ kind: 'broken', code: error.code ?? error.message }));
    output.once('error', () => finish({ kind: 'deaf' }));
    // An input that fails has ended: the other side gets its half-close and may still answer.
    input.once('error', () => socket.end());
    input.pipe(socket);
    socket.once('end', () => {
      const trouble = hiddenTrouble(socket);
      if (trouble !== undefined) finish({ kind: 'broken', code: trouble });
      // `pipe` does not end standard output by itself.
      else output.end();
    });
    socket.pipe(output, { end: false });
  });
}

/**
 * The error that stands behind an end of the connection, if any. When a reset comes together with the last bytes, libuv reports an end
 * (uv__stream_io: POLLHUP after a partial read), and what is cut short would look whole. Asking the system once more tells both apart.
 */
function hiddenTrouble(socket: Socket): string | undefined {
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: number } };
  if (handle?.fd === undefined || handle.fd < 0) return undefined;
  try {
    readSync(handle.fd, Buffer.alloc(1));
    return undefined;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    return code === 'EAGAIN' ? undefined : code;
  }
}
