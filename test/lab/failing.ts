// System calls of a running process that fail for as long as a test wants: strace attaches and injects the error; the process and its children
// see what they would see if the kernel had refused. Which calls stand for a firewall that refuses depends on the backend.
import { copyFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { backendName, showInstead } from './backend.ts';
import { Running, runNow } from './process.ts';
import { scratchFolder } from './scratch.ts';

export type Failure = {
  readonly calls: readonly string[];
  readonly error: string;
  /** Only the n-th call of each thread; default: all of them. */
  readonly when?: number;
};

/** Why no error can be injected here, or undefined. For `test(…, { skip })`. */
export function injectionMissing(): string | undefined {
  const tried = runNow(['strace', '-qq', '-o', '/dev/null', '-e', 'inject=getcwd:error=EIO', 'echo', 'works']);
  return tried.includes('works') ? undefined : 'strace cannot inject errors here (a container without ptrace?)';
}

/** The calls by which the daemon, or the tools that it runs, change or read the firewall. */
export function firewallCalls(): readonly string[] {
  const netlink = ['sendto', 'sendmsg'];
  return backendName() === 'iptables-legacy' ? [...netlink, 'setsockopt'] : netlink;
}

/** Words to put in front of a command that shall fail from its first call on. */
export function failingFromTheStart(failure: Failure): readonly string[] {
  return ['strace', '-qq', '-f', '-o', '/dev/null', ...injection(failure)];
}

/** Comes back when the fault is there; call the result to end it. */
export async function failing(pid: number, failure: Failure): Promise<() => Promise<void>> {
  const strace = new Running(['strace', '-f', '-o', '/dev/null', ...injection(failure), '-p', String(pid)]);
  await strace.waitForOutput(/Process \d+ attached/);
  return async () => {
    await strace.stop();
  };
}

/** A program of the host that fails once, with what it would say, each time that the result is called; otherwise it is the program. For this process and its children. */
export function failingOnce(program: string, says: string): () => void {
  const folder = scratchFolder('failing');
  const [real, wrapper, order] = [join(folder, basename(program)), join(folder, 'wrapper'), join(folder, 'order')];
  copyFileSync(program, real);
  writeFileSync(wrapper, `#!/bin/sh\nif rm ${order} 2>/dev/null; then echo '${says}' >&2; exit 1; fi\nexec ${real} "$@"\n`, {
    mode: 0o755,
  });
  showInstead([[wrapper, program]]);
  return () => writeFileSync(order, '');
}

function injection({ calls, error, when }: Failure): readonly string[] {
  const names = calls.join(',');
  return ['-e', `trace=${names}`, '-e', `inject=${names}:error=${error}${when === undefined ? '' : `:when=${when}`}`];
}
