// What a refusal of the kernel means for the administrator: a stable code, one sentence, a cure. Decides nothing else.
import { KernelError, NativeMissingError } from '../../netlink/socket.ts';
import { FirewallError } from '../firewall.ts';
import { AnswerLostError } from './conversation.ts';

type Meaning = { readonly code: string; readonly text: string; readonly cure: string };

const NOT_SUPPORTED: Meaning = {
  code: 'KERNEL_TOO_OLD',
  text: 'this kernel cannot do what the gate needs',
  cure: 'use Linux 5.10 or later with nf_tables, and see `posternd check`',
};

const MEANING: Readonly<Record<string, Meaning>> = {
  EPERM: { code: 'NO_PERMISSION', text: 'not permitted to change the firewall', cure: 'run as root or with CAP_NET_ADMIN' },
  ENFILE: { code: 'SET_FULL', text: 'a set of the gate is full', cure: 'revoke grants, or wait until some have ended' },
  ENOENT: { code: 'GATE_MISSING', text: 'the gate is not there, or not the one that was installed', cure: 'run `posternd gate up`' },
  EOPNOTSUPP: NOT_SUPPORTED,
  EPROTONOSUPPORT: NOT_SUPPORTED,
  EAFNOSUPPORT: NOT_SUPPORTED,
  EINVAL: NOT_SUPPORTED,
  ENOBUFS: { code: 'ANSWER_LOST', text: 'the answer of the kernel was lost', cure: 'read what stands, and try again' },
  ENOMEM: { code: 'NO_MEMORY', text: 'the kernel has no memory for it', cure: 'free memory on this host' },
};

/** `doing` completes "could not …". */
export function firewallError(error: unknown, doing: string): FirewallError {
  if (error instanceof FirewallError) return error;
  if (error instanceof AnswerLostError)
    return new FirewallError('ANSWER_LOST', `could not ${doing}: ${error.message}`, 'read what stands, and try again', error);
  if (error instanceof NativeMissingError) return new FirewallError(error.code, error.message, error.cure, error);
  if (!(error instanceof KernelError)) throw error;
  const meaning = MEANING[error.code] ?? { code: 'KERNEL', text: 'the kernel refused', cure: 'see the kernel log (`dmesg`)' };
  return new FirewallError(meaning.code, `could not ${doing}: ${meaning.text} (${error.message})`, meaning.cure, error);
}

/** The table belongs to another process that lives. */
export function gateHeld(table: string, holder: string): FirewallError {
  return new FirewallError(
    'GATE_HELD',
    `the gate (table inet ${table}) is held by another process${holder}`,
    'stop the other posternd first, or give this one another `table`',
  );
}
