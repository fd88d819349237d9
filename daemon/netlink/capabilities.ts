// Who gets our capabilities: nobody by accident. A child inherits ambient ones, so they are cleared at start and lent to a firewall tool only.
import { readFileSync } from 'node:fs';
import { libc } from './libc.ts';

// From linux/prctl.h and linux/capability.h; see prctl(2), capabilities(7).
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAP_NET_ADMIN = 12;
const CAP_NET_RAW = 13;

/** Whether this process may change the firewall: root, or CAP_NET_ADMIN among its effective capabilities (proc(5), CapEff). */
export function hasNetAdmin(): boolean {
  return isEffective(CAP_NET_ADMIN);
}

/** Whether this process may open raw sockets. */
export function hasNetRaw(): boolean {
  return isEffective(CAP_NET_RAW);
}

function isEffective(capability: number): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  return effective !== undefined && (BigInt(`0x${effective}`) & (1n << BigInt(capability))) !== 0n;
}

/** Call once at start, in the main thread: no child gets more than we give it by the modes of a file (setuid programs, sudo). For good. */
export function forbidNewPrivileges(): void {
  libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/** Call once at start, in the main thread: children are forked from it and get what it has. Threads of the pool fork nothing. */
export function clearAmbientCapabilities(): void {
  libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/**
 * Starts a child with CAP_NET_ADMIN, and with CAP_NET_RAW if we may (iptables opens a raw socket to ask for its sets): `start` must fork before it returns, as `child_process.spawn` does. Where raising is refused (no
 * systemd unit gave us an inheritable capability) the child's own error will say so. A child of root needs no lending.
 */
export function lendNetAdmin<T>(start: () => T): T {
  if (process.geteuid?.() === 0) return start();
  for (const capability of [CAP_NET_ADMIN, CAP_NET_RAW]) libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  try {
    return start();
  } finally {
    clearAmbientCapabilities();
  }
}
