// The few libc calls that netlink and our capabilities need, through koffi. Loaded on first use: importing this file loads no native code.
import { createRequire } from 'node:module';
import { constants } from 'node:os';

type SyncCall = (...args: readonly unknown[]) => number;
type AsyncCall = SyncCall & {
  readonly async: (...args: readonly unknown[]) => void;
};

/** A failed system call. `code` is the kernel's name for it (EPERM), stable; the message names the call. */
export class KernelError extends Error {
  readonly errno: number;
  readonly code: string;
  readonly syscall: string;
  constructor(errno: number, syscall: string, detail = '') {
    const code = errnoName(errno);
    super(`${syscall}: ${code}${detail === '' ? '' : ` (${detail})`}`);
    this.name = 'KernelError';
    this.errno = errno;
    this.code = code;
    this.syscall = syscall;
  }
}

/** koffi is an optional dependency: without it there is no way to speak netlink, or to keep our capabilities from hooks. */
export class NativeMissingError extends Error {
  readonly code = 'NATIVE_MISSING';
  readonly cure = 'run `npm install koffi`';
  constructor(cause: unknown) {
    super('the native module "koffi" cannot be loaded, and without it posternd cannot speak to the kernel', { cause });
    this.name = 'NativeMissingError';
  }
}

/** `ENOBUFS` for 105. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

const NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno)
    .map(([name, value]): [number, string] => [value, name])
    // EWOULDBLOCK and EOPNOTSUPP share their numbers with EAGAIN and ENOTSUP: the last name given here wins.
    .concat([
      [constants.errno.EAGAIN, 'EAGAIN'],
      [constants.errno.EOPNOTSUPP, 'EOPNOTSUPP'],
    ]),
);

export type Libc = {
  readonly socket: SyncCall;
  readonly bind: SyncCall;
  readonly getsockname: SyncCall;
  readonly setsockopt: SyncCall;
  readonly getsockopt: SyncCall;
  readonly sendto: AsyncCall;
  readonly recvfrom: AsyncCall;
  readonly close: SyncCall;
  readonly fcntl: SyncCall;
  readonly flock: SyncCall;
  readonly prctl: SyncCall;
  /** glibc alone has it. */
  readonly mallopt: SyncCall | undefined;
  /** Where these bytes lie: for a structure that holds a pointer. Keep them referenced until the kernel has read them. */
  readonly addressOf: (bytes: Uint8Array) => bigint;
  /** errno of the call that has just returned: read it before anything else happens (koffi restores it for async callbacks). */
  readonly errno: () => number;
};

let loaded: Libc | undefined;

export function libc(): Libc {
  loaded ??= loadLibc();
  return loaded;
}

type Koffi = {
  readonly load: (path: string | null) => { readonly func: (name: string, result: string, args: readonly string[]) => AsyncCall };
  readonly address: (bytes: Uint8Array) => bigint;
  readonly errno: () => number;
};

function loadLibc(): Libc {
  let koffi: Koffi;
  try {
    koffi = createRequire(import.meta.url)('koffi') as Koffi;
  } catch (cause) {
    throw new NativeMissingError(cause);
  }
  // null is the process itself, whose libc is the one that Node runs with (glibc or musl).
  const self = koffi.load(null);
  return {
    socket: self.func('socket', 'int', ['int', 'int', 'int']),
    bind: self.func('bind', 'int', ['int', 'void *', 'uint32_t']),
    getsockname: self.func('getsockname', 'int', ['int', 'void *', 'void *']),
    setsockopt: self.func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint32_t']),
    getsockopt: self.func('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']),
    sendto: self.func('sendto', 'intptr_t', ['int', 'void *', 'size_t', 'int', 'void *', 'uint32_t']),
    recvfrom: self.func('recvfrom', 'intptr_t', ['int', 'void *', 'size_t', 'int', 'void *', 'void *']),
    close: self.func('close', 'int', ['int']),
    // Variadic in C; a register holds the third argument all the same where Linux runs.
    fcntl: self.func('fcntl', 'int', ['int', 'int', 'long']),
    flock: self.func('flock', 'int', ['int', 'int']),
    prctl: self.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong']),
    mallopt: ifThere(() => self.func('mallopt', 'int', ['int', 'int'])),
    addressOf: (bytes) => koffi.address(bytes),
    errno: () => koffi.errno(),
  };
}

function ifThere<T>(find: () => T): T | undefined {
  try {
    return find();
  } catch {
    return undefined;
  }
}
