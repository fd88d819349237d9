// The argument of SO_ATTACH_FILTER: a structure with a pointer, which JavaScript alone cannot make. Knows nothing of what the program does.
import { endianness } from 'node:os';
import { libc } from './libc.ts';

// Fixed by asm-generic/socket.h, linux/filter.h.
export const SOL_SOCKET = 1;
export const SO_ATTACH_FILTER = 26;
const INSTRUCTION_BYTES = 8;

const LITTLE = endianness() === 'LE';

/**
 * struct sock_fprog of 64-bit systems, for `program`, an array of struct sock_filter. The kernel copies the program when the option is set:
 * keep `program` referenced until then. Throws NativeMissingError when koffi is not installed.
 */
export function filterOption(program: Uint8Array): Uint8Array {
  const option = new Uint8Array(16);
  const view = new DataView(option.buffer);
  view.setUint16(0, program.length / INSTRUCTION_BYTES, LITTLE);
  view.setBigUint64(8, libc().addressOf(program), LITTLE);
  return option;
}
