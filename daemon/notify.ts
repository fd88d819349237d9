// Tells systemd how the service does (sd_notify(3)): READY=1, RELOADING=1, STOPPING=1, WATCHDOG=1. Silent where systemd did not start us.
import { endianness } from 'node:os';
import { libc } from './netlink/libc.ts';

// From the kernel's headers (linux/socket.h).
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MAX_PATH_BYTES = 107;

export type Notify = {
  /** Lines of sd_notify(3). Failures are not told: nobody could act on them, and systemd's own time-out will. */
  readonly tell: (lines: string) => void;
  /** How often systemd wants to hear WATCHDOG=1, in milliseconds; undefined: never. */
  readonly watchdogMs: number | undefined;
  readonly close: () => void;
};

/** Takes NOTIFY_SOCKET and WATCHDOG_USEC out of the environment, so that no child inherits them. */
export function openNotify(environment: NodeJS.ProcessEnv, pid: number): Notify {
  const path = environment['NOTIFY_SOCKET'];
  const watchdogUs = Number(environment['WATCHDOG_USEC'] ?? 0);
  const watchdogPid = Number(environment['WATCHDOG_PID'] ?? pid);
  delete environment['NOTIFY_SOCKET'];
  delete environment['WATCHDOG_USEC'];
  delete environment['WATCHDOG_PID'];
  const silent: Notify = { tell: () => undefined, watchdogMs: undefined, close: () => undefined };
  if (path === undefined || !/^[/@]/.test(path) || Buffer.byteLength(path) > MAX_PATH_BYTES) return silent;
  const fd = libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return silent;
  const address = socketAddress(path);
  return {
    tell: (lines) => {
      const bytes = Buffer.from(lines);
      libc().sendto(fd, bytes, bytes.length, 0, address, address.length);
    },
    watchdogMs: watchdogUs > 0 && watchdogPid === pid ? watchdogUs / 1000 : undefined,
    close: () => {
      libc().close(fd);
    },
  };
}

/** struct sockaddr_un; an abstract name begins with a zero byte where systemd writes `@`. */
function socketAddress(path: string): Uint8Array {
  const name = Buffer.from(path);
  if (path.startsWith('@')) name[0] = 0;
  const bytes = new Uint8Array(2 + name.length + (path.startsWith('@') ? 0 : 1));
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, endianness() === 'LE');
  bytes.set(name, 2);
  return bytes;
}
