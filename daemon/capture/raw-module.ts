// The npm package raw-socket as we use it: found or not, and one raw socket of it. It needs a compiler to install, so it may be missing.
import type { EventEmitter } from 'node:events';
import { createRequire } from 'node:module';
import { CaptureError } from './capture.ts';

/**
 * Emits `message` with the bytes (in a buffer that is used again) and the source address, `error`, `close`. Whoever opens one must hold it:
 * the module closes what the garbage collector finds (see docs/decisions/070-raw-capture.md).
 */
export type RawSocket = EventEmitter & {
  /** With a length, `value` is passed as it is, else as a C int. */
  readonly setOption: (level: number, option: number, value: number | Uint8Array, length?: number) => void;
  readonly close: () => void;
};

export type RawModule = {
  readonly createSocket: (options: { readonly addressFamily: 1 | 2; readonly protocol: number; readonly bufferSize: number }) => RawSocket;
};

/** Throws CaptureError with what to install. */
export function loadRawModule(): RawModule {
  try {
    return createRequire(import.meta.url)('raw-socket') as RawModule;
  } catch (cause) {
    throw new CaptureError(
      'unsupported',
      'capture: raw needs the npm package raw-socket, which is not there: install a compiler (Debian: apt-get install g++ make python3) and run "npm install raw-socket" in Postern\'s folder, or set capture: nflog or udp',
      cause,
    );
  }
}
